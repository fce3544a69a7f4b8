"""PatchCore: a memory of normal patches, and how far a patch is from the nearest of them."""

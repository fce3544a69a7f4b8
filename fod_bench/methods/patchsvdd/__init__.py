"""PatchSVDD: patch embeddings trained from scratch, scored by their distance to the nearest patch of the training images."""

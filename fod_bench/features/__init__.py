"""Features of a frozen backbone as data: which weights, one pass over a category's images, and where they are kept."""

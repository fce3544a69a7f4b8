"""Features of a frozen backbone as data: which weights, one pass over a category's pictures, and where they are kept."""

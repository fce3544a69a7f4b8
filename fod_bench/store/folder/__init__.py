"""A store in a folder of the file system."""

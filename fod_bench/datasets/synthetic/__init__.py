"""Images that are drawn: textures and objects with local, global and logical defects."""

"""How tables are written: one file per format."""

"""How tables are written: one file per format, named in `registry.py`."""

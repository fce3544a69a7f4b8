"""The commands below `fod-bench`, and what all of them share."""

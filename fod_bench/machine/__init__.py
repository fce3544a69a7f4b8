"""The machine that a process runs on: its memory, cores, folders, and what a record tells of it."""

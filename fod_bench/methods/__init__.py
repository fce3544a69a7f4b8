"""Detectors behind one protocol, each in a folder of its own, and their registry."""

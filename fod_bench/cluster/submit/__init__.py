"""Handing a job to a cluster, which works on without the machine that it came from."""

"""What is going on in a store: runs, how far they are, who works where."""

from fod_bench.status.read import RunStatus, Status, StatusReader
from fod_bench.status.view import render

__all__ = ["RunStatus", "Status", "StatusReader", "render"]

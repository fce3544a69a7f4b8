"""What this process has moved to and from its stores, counted where it happens; for whoever watches a run."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Traffic(NamedTuple):
    """Counts since the process began."""

    read: int = 0
    """Bytes that came from a store. A set found in a node's cache, or a file that was checked before, is not read again."""
    written: int = 0
    """Bytes that were sent to a store, those of a write that failed or lost a race included."""
    retries: int = 0
    """Requests that were made again, as the store was out of reach, throttled or broke off."""


class _Counter:
    """For use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traffic = Traffic()

    def add(self, read: int = 0, written: int = 0, retries: int = 0) -> None:
        """Note that so much more has passed."""
        with self._lock:
            before = self._traffic
            self._traffic = Traffic(before.read + read, before.written + written, before.retries + retries)

    def so_far(self) -> Traffic:
        """The counts."""
        return self._traffic


traffic = _Counter()
"""Of this process."""

"""Keeps a store's index of records up to date beside a run, from a thread of its own, so that work never waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from fod_bench.errors import StoreError
from fod_bench.records.names import TRIALS, kind_of
from fod_bench.store import Store
from fod_bench.store.reading import describe

KEEP_SECONDS = 300.0
"""Time between two generations: until then readers look up in the store what has changed."""
MOST_READ = 10_000
"""Of so many trials at most an index is made without being asked for: each is read once for it."""


class IndexKeeper:
    """Context manager around a run; what is recorded when it ends well is in the index then. Whatever goes wrong fails no run."""

    def __init__(self, store: Store, note: Callable[[str], None]) -> None:
        """`note`: told in a line when the index cannot be kept, once."""
        self._store, self._note = store, note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_going, name="index", daemon=True)
        self._told, self._large = False, False

    def __enter__(self) -> IndexKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is None:  # who is interrupted does not wait for it: notes tell the next what has changed
            self._thread.join()
            self.keep()

    def keep(self) -> None:
        """One generation of what has changed, or a small store's first."""
        try:
            self._append()
        except StoreError as error:
            self._tell(str(error))
        except Exception as error:  # an index can be made anew at any time, what the run trains cannot
            self._tell(f"{describe(error)}; `fod-bench store index` makes it anew")

    def _append(self) -> None:
        from fod_bench.records.index.append import append_changes, refresh
        from fod_bench.records.index.generations import UnusableError

        try:
            append_changes(self._store)
        except UnusableError as unusable:
            if not self._large and self._is_small():
                refresh(self._store, anew=True)
            else:
                self._tell(f"{unusable}; `fod-bench store index` makes it anew")

    def _keep_going(self) -> None:
        while not self._ended.wait(KEEP_SECONDS):
            self.keep()

    def _is_small(self) -> bool:
        trials = 0
        for info in self._store.list(TRIALS):
            trials += kind_of(info.name) == "records"
            if trials > MOST_READ:
                self._large = True
                return False
        return True

    def _tell(self, why: str) -> None:
        if not self._told:
            self._note(f"index     of the records is not kept up to date: {why}")
        self._told = True

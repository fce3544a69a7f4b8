"""Writes the state of a run to the store every few seconds, from a thread of its own, so that work never waits for it.

Whoever watches the cluster is told at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from types import TracebackType

from fod_bench.errors import INTERRUPTED, StoreError
from fod_bench.records.names import state_name
from fod_bench.records.run import RunPlan
from fod_bench.records.state import FLUSH_SECONDS, DriverState, Ended
from fod_bench.runs.executor import Executor, Publishes
from fod_bench.runs.progress import Progress
from fod_bench.store import Store


class StateWriter:
    """Context manager around a run; the last state it writes says how the run ended."""

    def __init__(self, store: Store, run: RunPlan, driver: str, progress: Progress) -> None:
        self._store, self._run, self._driver, self._progress = store, run, driver, progress
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._ended = threading.Event()
        self._telling = threading.Lock()
        self._watched: Publishes | None = None
        self._thread = threading.Thread(target=self._keep_writing, name="state", daemon=True)

    def __enter__(self) -> StateWriter:
        self._write(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(FLUSH_SECONDS)
        interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", None) == INTERRUPTED
        self._write("done" if kind is None else "interrupted" if interrupted else "failed")

    @contextmanager
    def told_to(self, executor: Executor) -> Iterator[None]:
        """For as long as the block lasts, the executor publishes each state, if it can; the last one at the block's end."""
        self._watched = executor if isinstance(executor, Publishes) else None
        try:
            yield
            self._tell(self._state(None))
        finally:
            with self._telling:
                self._watched = None

    def _state(self, ended: Ended) -> DriverState:
        return self._progress.state(self._run, self._driver, self._started, ended)

    def _tell(self, state: DriverState) -> None:
        with self._telling:
            if self._watched is not None:
                self._watched.publish(state)

    def _keep_writing(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self._write(None)

    def _write(self, ended: Ended) -> None:
        state = self._state(ended)
        self._tell(state)
        try:
            self._store.put(state_name(self._run.run_id, self._driver), state.model_dump_json(indent=1).encode())
        except StoreError:
            return  # the next one tells as much; whether the store is there is for the work to find out

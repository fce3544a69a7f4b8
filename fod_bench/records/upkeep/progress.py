"""How far a long walk through a store is: a bar on a terminal, a line now and then in a pipe. On standard error."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fod_bench.text import format_bytes

_PLAIN_SECONDS = 15.0
"""Time between two lines in a pipe."""


class Meter:
    """Counts objects and bytes; a context manager, told by many threads."""

    def __init__(self, doing: str, console: Console) -> None:
        """`doing`: what is being done, e.g. `reading`."""
        self._doing, self._console = doing, console
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._task = self._bar.add_task(doing, total=None, said="") if self._bar else None
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._total: tuple[int, int] | None = None
        self.objects = 0
        self.bytes = 0

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, objects: int, size: int) -> None:
        """How many there will be, and their bytes."""
        self._total = objects, size

    def add(self, size: int, objects: int = 0) -> None:
        """So many bytes more, and so many objects that are done with."""
        with self._lock:
            self.objects += objects
            self.bytes += size
            said = f"{self.objects} objects, {format_bytes(self.bytes)}"
            if self._total:
                said = f"{self.objects} of {self._total[0]} objects, {format_bytes(self.bytes)} of {format_bytes(self._total[1])}"
            if self._bar is not None and self._task is not None:
                total = self._total[1] if self._total else None
                self._bar.update(self._task, completed=self.bytes, total=total, said=said)
            elif time.monotonic() - self._said >= _PLAIN_SECONDS:
                self._said = time.monotonic()
                self._console.print(f"{self._doing}   {said}", markup=False, highlight=False, soft_wrap=True)

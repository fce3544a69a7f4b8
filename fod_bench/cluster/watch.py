"""Noticing that Ray is gone, from a thread of its own: a call to it waits for a minute, then ends the process without a word."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fod_bench.errors import LostRayError
from fod_bench.machine.terminal import end_at_once

SAY_SECONDS = 15.0
"""Time between two lines about Ray not answering."""
_LOOK_SECONDS = 0.25
_STUCK_SECONDS = 5.0
"""Time that the main thread has to heed the loss, unless it waits inside Ray."""


@dataclass(frozen=True)
class Link:
    """A Ray to work on, and how one knows that it is still there."""

    arguments: dict[str, Any]
    """What `ray.init` needs to get there."""
    fault: Callable[[], str | None] = lambda: None
    """What is wrong with Ray at this moment; None when nothing is. Asked from a thread of its own."""
    patience: float = 0.0
    """Seconds that it may stay wrong before Ray counts as lost."""


class Watch:
    """A context manager; by `check` the main thread heeds what the other has found."""

    def __init__(self, link: Link, note: Callable[[str], None]) -> None:
        """`note` is told from time to time of what is wrong but may pass."""
        self._link, self._note = link, note
        self._over = threading.Event()
        self._wrong: str | None = None
        self._lost: LostRayError | None = None
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_STUCK_SECONDS)

    @property
    def answers(self) -> bool:
        """Whether Ray is there as far as is known; else its calls wait, `ray.shutdown` too."""
        return self._wrong is None

    def check(self) -> None:
        """Return when Ray answers, which it mostly does. Raises `LostRayError` when it is gone for good."""
        while not self.answers:
            if self._lost is not None:
                raise self._lost
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        since = said = time.monotonic()
        while not self._over.wait(_LOOK_SECONDS):
            before, self._wrong = self._wrong, self._link.fault()
            now = time.monotonic()
            if self._wrong is None or before is None:
                if before is not None and said > since:
                    self._note(f"again     Ray answers, after {now - since:.0f} s")
                since = said = now
            if self._wrong is not None and now - since >= self._link.patience:
                self._lose(LostRayError(self._wrong))
                return
            if now - said >= SAY_SECONDS and self._wrong is not None:
                self._note(
                    f"waiting   {self._wrong}, for {now - since:.0f} s; given up after {self._link.patience:.0f} s"
                )
                said = now

    def _lose(self, error: LostRayError) -> None:
        self._lost = error
        if not self._over.wait(_STUCK_SECONDS):
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h")  # a live display hides the cursor
            end_at_once(error)

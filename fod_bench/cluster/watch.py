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
from fod_bench.machine.log_lines import are_json, end_at_once

SAY_SECONDS = 15.0
"""Time between two lines about Ray not answering."""
LOOK_SECONDS = 0.25
"""Time between two looks at Ray."""
STUCK_SECONDS = 5.0
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


class Outage:
    """How long something has been wrong with Ray, what is said of it, and whether Ray counts as lost."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds that something may stay wrong."""
        self._patience = patience
        self._since: float | None = None
        self._said = 0.0
        self.over = False
        """Whether it was wrong for so long."""

    def found(self, wrong: str | None, now: float) -> str | None:
        """Take note of what is wrong at the moment `now`, None for nothing; the line that a person is told, if any."""
        if wrong is None:
            since, self._since = self._since, None
            return None if since is None or self._said == since else f"again     Ray answers, after {now - since:.0f} s"
        if self._since is None:
            self._since = self._said = now
        lasted = now - self._since
        self.over = lasted >= self._patience
        if self.over or now - self._said < SAY_SECONDS:
            return None
        self._said = now
        return f"waiting   {wrong}, for {lasted:.0f} s; given up after {self._patience:.0f} s"


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
        self._thread.join(STUCK_SECONDS)

    @property
    def answers(self) -> bool:
        """Whether Ray is there as far as is known; else its calls wait, `ray.shutdown` too."""
        return self._wrong is None

    def check(self) -> None:
        """Return when Ray answers, which it mostly does. Raises `LostRayError` when it is gone for good."""
        while not self.answers:
            if self._lost is not None:
                raise self._lost
            time.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        outage = Outage(self._link.patience)
        while not self._over.wait(LOOK_SECONDS):
            self._wrong = self._link.fault()
            line = outage.found(self._wrong, time.monotonic())
            if line is not None:
                self._note(line)
            if self._wrong is not None and outage.over:
                self._lose(LostRayError(self._wrong))
                return

    def _lose(self, error: LostRayError) -> None:
        self._lost = error
        if not self._over.wait(STUCK_SECONDS):
            if sys.stderr.isatty() and not are_json():
                sys.stderr.write("\x1b[?25h")  # a live display hides the cursor
            end_at_once(error)

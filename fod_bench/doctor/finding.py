"""One thing that was looked at, and looking within a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fod_bench.errors import FodBenchError

State = Literal["ok", "note", "missing"]
"""`note`: not needed, or not needed yet. `missing`: a run cannot do without."""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing, and how to get it where it is missing."""

    topic: str
    state: State
    said: str
    remedy: str = ""


def within(seconds: float, topic: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `check` finds, or that it found nothing in time. A fault that it raises is a finding as well."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except FodBenchError as error:
            lines = str(error).splitlines()
            found.append(Finding(topic, "missing", lines[0], " ".join(line.strip() for line in lines[1:])))
        except Exception as error:  # a library's own, such as a package that is broken
            found.append(Finding(topic, "missing", f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=run, name=f"look-at-{topic}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return [Finding(topic, "missing", f"no answer within {seconds:.0f} s", "look at the network and the disks")]
    return found

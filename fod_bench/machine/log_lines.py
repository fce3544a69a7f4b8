"""Messages of a command on standard error: text for a person, or one JSON object a line for programs.

docs/monitoring.md has the fields. Values of environment variables that a job takes in are hidden here, wherever they stand.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Literal, NoReturn, get_args

from fod_bench.errors import FodBenchError
from fod_bench.machine.terminal import say
from fod_bench.schema.hidden import hidden

LogFormat = Literal["text", "json"]
Level = Literal["info", "warning", "error"]
Event = Literal[
    "again",
    "damaged",
    "data",
    "done",
    "end",
    "error",
    "failed",
    "features",
    "images",
    "interrupted",
    "log",
    "metrics",
    "next",
    "note",
    "resources",
    "run",
    "running",
    "stopping",
    "waiting",
    "warning",
]
"""What a message is about. Most stand before its text, too, in a column of their own."""

_LEVELS: dict[str, Level] = {
    "again": "warning",
    "damaged": "warning",
    "interrupted": "warning",
    "stopping": "warning",
    "waiting": "warning",
    "warning": "warning",
    "log": "warning",
    "failed": "error",
    "error": "error",
}
_format: LogFormat = "text"


class _Handler(logging.Handler):
    """Writes what a library logs, and Python's warnings, as messages too."""

    def emit(self, record: logging.LogRecord) -> None:
        write("log", record.getMessage(), "error" if record.levelno >= logging.ERROR else "warning", logger=record.name)


_handler = _Handler(logging.WARNING)


def use(log_format: LogFormat) -> None:
    """From now on messages have this form."""
    global _format
    _format = log_format
    logging.captureWarnings(log_format == "json")
    if log_format == "json":
        logging.getLogger().addHandler(_handler)
    else:
        logging.getLogger().removeHandler(_handler)


def are_json() -> bool:
    """Whether programs read the messages."""
    return _format == "json"


def tell(event: Event, message: str, *, prefix: str = "", level: Level | None = None, **fields: Any) -> None:
    """A message in the form in use; as text it is `message` after `prefix`."""
    if are_json():
        write(event, message, level, **fields)
    else:
        say(hidden(prefix + message), err=True)


def write(event: Event, message: str, level: Level | None = None, **fields: Any) -> None:
    """A message as a line of JSON. Fields that are None are left out; `level` follows from the event."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    content = {"time": now, "level": level or _LEVELS.get(event, "info"), "event": event, "message": message} | fields
    with suppress(AttributeError):  # standard error may be closed
        sys.stderr.write(json.dumps(_shown(content)) + "\n")  # at once, as other threads write too


def end_at_once(error: FodBenchError) -> NoReturn:
    """Say what is wrong and exit without what others have registered for the end of the process."""
    with suppress(OSError, AttributeError):  # nobody may be reading any more, or the stream be closed
        sys.stdout.flush()
    with suppress(OSError, AttributeError):
        tell("error", str(error), prefix="fod-bench: ", exit_code=error.exit_code)
        sys.stderr.flush()
    os._exit(error.exit_code)


def split_heading(text: str) -> tuple[Event, str]:
    """The event that a text has before it, and the rest: `again     a worker did not start`, `warning: …`; else a note."""
    word, _, rest = text.partition(" ")
    event = word.removesuffix(":")
    if event in get_args(Event) and (word != event or text[:10].rstrip() == word):
        return event, rest.lstrip()  # type: ignore[return-value]  # it is one of them
    return "note", text


def _shown(value: Any) -> Any:
    """Plain data without hidden values and without what is None; a number that is not finite as text, which JSON has none for."""
    if isinstance(value, dict):
        return {hidden(str(key)): _shown(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        text = repr(value)
        return value if hidden(text) == text and value - value == 0 else hidden(text)
    return hidden(str(value))

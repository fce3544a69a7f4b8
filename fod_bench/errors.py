"""The errors a person is meant to read: what is wrong, where, and what would be right.

Everything raised on purpose derives from `FodBenchError`; the command line prints its text without a traceback and
exits with its `exit_code`. Any other exception is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or a termination signal has ended."""


def plain_message(details: Mapping[str, Any]) -> str:
    """What pydantic says of one fault, without its words for the kind of fault."""
    return (
        str(details["msg"])
        .removeprefix("Value error, ")
        .removeprefix("Assertion failed, ")
        .replace("Input should", "should")
    )


class FodBenchError(Exception):
    """A condition the user can put right. Exit code 1: the run could not start."""

    exit_code = 1


class UsageError(FodBenchError):
    """A command line that cannot be taken as it stands. Exit code 2."""

    exit_code = 2


class JobError(FodBenchError):
    """A job file that is refused: file, path of the key, what was expected, nearest valid name."""


class DatasetError(FodBenchError):
    """A data set folder, image or mask that cannot be used. Bytes of a file's name that are no UTF-8 are shown as `\\udcXX`."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode("utf-8", "backslashreplace").decode())


class WeightsError(FodBenchError):
    """Backbone weights that cannot be had or do not fit."""


class StoreError(FodBenchError):
    """A store that cannot be reached, read or written."""


class DamagedObjectError(StoreError):
    """A stored object whose bytes do not match its checksum."""


class BlockedObjectError(StoreError):
    """A stored object in whose place, or on the way to it, something else stands that only a person may move. The store works."""


class ClusterError(FodBenchError):
    """Ray could not be started or reached."""


class LostRayError(ClusterError):
    """Ray was there and is gone. It cannot be ended in an orderly way either: the process has to exit by `end_at_once`."""

    def __init__(self, fault: str, exit_code: int = 1) -> None:
        super().__init__(f"{fault}; to go on:\n  {command_again()}")
        self.exit_code = exit_code


class TrialError(FodBenchError):
    """A trial that failed by its own fault (bad data, no normal image); a retry would fail again."""


class DivergedError(TrialError):
    """Loss or scores stopped being finite: carries epoch and step in its text."""


def command_again() -> str:
    """The command as it was given, for messages that say how to go on."""
    return submitted_as("run") or shlex.join(["fod-bench", *sys.argv[1:]])


def submitted_as(name: str) -> str | None:
    """The command `name` on the job of this run as it is given where the job was submitted; None for a run that was not."""
    given, cluster = (os.environ.get(f"FOD_BENCH_{what}") for what in ("GIVEN", "CLUSTER"))
    if not given or not cluster:
        return None
    return (
        f"fod-bench submit {given} --cluster {shlex.quote(cluster)}" if name == "run" else f"fod-bench {name} {given}"
    )

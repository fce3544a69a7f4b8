"""What the commands on a store share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.machine.terminal import SafeConsole, say
from fod_bench.text import counted

if TYPE_CHECKING:
    from fod_bench.job import Job
    from fod_bench.records.run import RunPlan
    from fod_bench.store import Store

StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URI", help="Store; default: the one that jobs use by default.")
]


def runs_of(store: Store, job: Job, command: str) -> list[RunPlan]:
    """The plans of the runs of exactly this job, as `status JOB` finds them; `command` runs it. Raises `FodBenchError` for none."""
    from fod_bench.job.stored import RunJobs
    from fod_bench.records.run_reader import RunReader

    jobs, plans = RunJobs(store), RunReader(store).read(drivers=False).plans
    found = jobs.of_job(job, plans)
    if not found:
        raise FodBenchError(jobs.not_run(job, command, plans))
    return found


def checked(prefix: str) -> str:
    """The beginning of a name as the command line gives it. Raises `UsageError`."""
    from fod_bench.store.base import check_prefix

    try:
        return check_prefix(prefix)
    except ValueError as error:
        raise UsageError(f"PREFIX: {error}") from None


def object_count(count: int) -> str:
    """`1 object`, `2 objects`."""
    return counted(count, "object")


def aside(text: str) -> None:
    """A line beside the results."""
    say(text, err=True)


def stderr() -> SafeConsole:
    """Standard error, for a meter."""
    return SafeConsole(stderr=True)

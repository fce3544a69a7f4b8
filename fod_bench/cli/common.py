"""What the commands share: options, how a job is loaded, and how an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from fod_bench.cli.completion import job_names
from fod_bench.errors import INTERRUPTED, FodBenchError, LostRayError, UsageError, command_again, submitted_as
from fod_bench.machine import log_lines
from fod_bench.machine.log_lines import end_at_once, tell
from fod_bench.machine.terminal import accept_any_encoding, say
from fod_bench.schema.hidden import forget, hidden

if TYPE_CHECKING:
    from fod_bench.job import Job

_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

JobFile = Annotated[
    Path,
    typer.Argument(
        metavar="JOB", help="Job file, or the name of one that `fod-bench jobs` lists.", autocompletion=job_names
    ),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URI", help="Store to use instead of the job's own.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Set a key of the job file, e.g. settings.epochs=2; may be repeated."),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME|COST", help="What the run may take: 90min, 3h, 2d, or 50USD; the most valuable trainings first."
    ),
]
Prices = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Price list of machines; default: the one in clusters/prices.yaml.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and failures.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show tracebacks of errors.")]

SOME_FAILED = 3
"""Exit code of a command that did what it could, but not all."""

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into one message and an exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        accept_any_encoding()
        forget()
        log_lines.use("text")
        try:
            _run(command, *args, **kwargs)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):  # no more of them: it ends anyway, and should say so
                signal.signal(number, signal.SIG_IGN)
            interrupted()
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def interrupted() -> None:
    """Say that the command was interrupted, and how to go on."""
    tell("interrupted", f"interrupted; to go on:\n  {command_again()}", prefix="fod-bench: ", command=command_again())


def _run(command: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        command(*args, **kwargs)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except LostRayError as error:
        end_at_once(error)
    except FodBenchError as error:
        details = traceback.format_exc() if kwargs.get("verbose") else None
        if details is not None and not log_lines.are_json():
            say(hidden(details), err=True)
        tell("error", str(error), prefix="fod-bench: ", exit_code=error.exit_code, details=details)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:  # the reader of a pipe has gone: what is left to print is not wanted
        _print_no_more()
        raise typer.Exit(1) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_WRITTEN and error.filename is None:
            _print_no_more()
            tell("error", f"standard output cannot be written: {error.strerror}", prefix="fod-bench: ", exit_code=1)
        else:  # a fault of the program: its traceback says where
            tell("error", traceback.format_exc(), exit_code=1)
        raise typer.Exit(1) from None


def _print_no_more() -> None:
    """Have Python's last flush of standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load(job: Path, overrides: list[str] | None, store: str | None, *, keep_unset: bool = False) -> Job:
    """The job with what the command line changes; see `load_job` for `keep_unset`. Raises `JobError`, `UsageError`."""
    from fod_bench.job import load_job
    from fod_bench.job.shipped import named_job

    loaded = load_job(named_job(job), overrides or [], keep_unset=keep_unset)
    return loaded.with_store(store) if store else loaded


def run_command(job: Path, overrides: Sequence[str] | None, store: str | None, name: str = "run") -> str:
    """The command that runs a job as it was given here, to be pasted into a shell; or another command on it, by its `name`."""
    submitted = submitted_as(name)
    if submitted is not None:
        return submitted
    changes = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join(["fod-bench", name, str(job), *changes, *(["--store", store] if store else [])])


def check_tables(job: Job, names: Sequence[str]) -> None:
    """Raises `UsageError` for a table of the paper that is asked of a job which does not feed it; says which job does."""
    from fod_bench.paper.forms import PAPER_TABLES, feeding_jobs

    fed = [str(number) for number in job.fed_tables()]
    for name in names:
        if name in map(str, PAPER_TABLES) and name not in fed:
            feeds = f"feeds {', '.join(fed)}" if fed else "feeds none"
            raise UsageError(
                f"--table {name}: job {job.name!r} {feeds} of the paper's tables, as its `tables:` say; "
                f"{feeding_jobs(int(name))} feeds {name}, and a report without a job shows what any run in the store feeds"
            )


def default_store() -> str:
    """Address of the store of a job that names none."""
    from fod_bench.job import Job

    return str(Job.model_fields["store"].default)

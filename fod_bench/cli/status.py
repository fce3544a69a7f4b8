"""`fod-bench status`: what is going on in a store."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import Overrides, StoreOption, Verbose, default_store, guarded, load, run_command
from fod_bench.cli.completion import job_names
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import SafeConsole, say, show, unbroken
from fod_bench.schema.hidden import hidden

if TYPE_CHECKING:
    from fod_bench.runs.status import Status, StatusReader

WATCH_SECONDS = 2.0


@guarded
def status(
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB",
            help="Job file or name, to see the run of exactly this job in detail; default: every run.",
            autocompletion=job_names,
        ),
    ] = None,
    store: StoreOption = None,
    set_: Overrides = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again as it changes, until everything is done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for every change.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show what is running, done, waiting and failed, where, since when and how fast.

    Works from anywhere that reaches the store; needs neither the data nor the cluster.

    Example: `fod-bench status jobs/paper.yaml --watch`
    """
    from fod_bench.runs.status import StatusReader
    from fod_bench.store import open_existing

    if set_ and job is None:
        raise UsageError("--set changes a job file; give the JOB")
    loaded = load(job, set_, store) if job is not None else None
    command = run_command(job, set_, store) if job else ""
    remedy = f"`{command}` makes it, --store names another" if command else ""
    opened = open_existing(loaded.store if loaded else store or default_store(), remedy)
    reader = StatusReader(opened, loaded)
    if watch:
        last = _watch(reader, loaded is not None, as_json)
    else:
        last = reader.read()
        _show(last, loaded is not None, as_json)
    if not last.runs:
        say(hidden(reader.none(command)), err=True)


def _watch(reader: StatusReader, detailed: bool, as_json: bool) -> Status:
    """Show the status until nothing is left to wait for; the last one is returned."""
    from rich.live import Live

    from fod_bench.cli.status_view import render

    console = SafeConsole(highlight=False)
    if console.is_terminal and not as_json:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                status = reader.read()
                live.update(render(status, detailed), refresh=True)
                if status.settled:
                    return status
                time.sleep(WATCH_SECONDS)
    shown = ""
    while True:
        status = reader.read()
        text = _text(status, detailed or as_json)  # JSON has seconds in it that always change
        if text != shown:
            say(hidden(json.dumps(status.as_json())) if as_json else text + "\n")
            sys.stdout.flush()
            shown = text
        if status.settled:
            return status
        time.sleep(WATCH_SECONDS)


def _show(status: Status, detailed: bool, as_json: bool) -> None:
    if as_json:
        say(hidden(json.dumps(status.as_json(), indent=2)))
        return
    from fod_bench.cli.status_view import render

    show(render(status, detailed))


def _text(status: Status, detailed: bool) -> str:
    from fod_bench.cli.status_view import render

    return unbroken(render(status, detailed))

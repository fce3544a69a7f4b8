"""`fod-bench doctor`: what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fod_bench.cli.common import Overrides, StoreOption, Verbose, default_store, guarded, load
from fod_bench.cli.completion import job_names
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import say
from fod_bench.schema.hidden import hidden

_SIGNS = {"ok": "ok", "note": "note", "missing": "MISSING"}


@guarded
def doctor(
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB",
            help="Job file or name: what it needs is looked at. Default: what is there.",
            autocompletion=job_names,
        ),
    ] = None,
    store: StoreOption = None,
    set_: Overrides = None,
    start_ray: Annotated[
        bool, typer.Option("--start-ray", help="Start a Ray as a run does, and end it; takes half a minute.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Say what is there and how to get the rest: Python, packages, the machine, torch and GPUs, Ray, the store, weights, data.

    Changes nothing, and ends in bounded time without a network. With JOB it is what that job needs.

    Exit codes: 0 a run can begin, 1 something that it cannot do without is missing.

    Example: `fod-bench doctor jobs/quickstart.yaml`
    """
    from fod_bench.doctor import look

    if set_ and job is None:
        raise UsageError("--set changes a job file; give the JOB")
    loaded = load(job, set_, store) if job is not None else None
    uri = loaded.store if loaded is not None else store or default_store()
    found = []
    for finding in look(loaded, uri, _start_ray if start_ray else None):
        found.append(finding)
        if not as_json:
            remedy = f"\n{'':19}→ {finding.remedy}" if finding.remedy else ""
            say(hidden(f"{finding.topic:<9} {_SIGNS[finding.state]:<8} {finding.said}{remedy}"))
    missing = sorted({finding.topic for finding in found if finding.state == "missing"})
    if as_json:
        say(hidden(json.dumps({"missing": missing, "found": [asdict(finding) for finding in found]}, indent=2)))
    if missing:
        say(f"missing: {', '.join(missing)}", err=True)
        raise typer.Exit(1)
    if not as_json:
        say("nothing is missing" if loaded is None else f"{loaded.name} can run", err=True)


def _start_ray(note: Callable[[str], None]) -> AbstractContextManager[object]:
    from fod_bench.cluster.session import ray_session

    return ray_session(None, note=note)

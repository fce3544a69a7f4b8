"""`fod-bench store cp`: copies of a store, or of parts of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fod_bench.cli.common import Overrides, Verbose, guarded, load, run_command
from fod_bench.cli.store_common import aside, checked, object_count, runs_of, stderr
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.machine.terminal import say


@guarded
def cp(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Store to copy from.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Store to copy to.")],
    prefixes: Annotated[
        list[str] | None,
        typer.Argument(metavar="PREFIX", help="Only what has a name that begins so. Default: everything."),
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option("--job", metavar="JOB", help="Only what the runs of exactly this job, with its --set, need."),
    ] = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Copy sets, references, records with what belongs to them, and plans to another store; exit code 1 when any is damaged.

    What the target has is not copied again, so the same command goes on after an interruption. A target's own record stays.

    Example: `fod-bench store cp results/store 's3://bucket/fod?endpoint=https://host' --job jobs/paper.yaml`
    """
    from fod_bench.records.upkeep import Copied, Meter, copy_store
    from fod_bench.store import open_existing, open_store
    from fod_bench.store.probe import check_store
    from fod_bench.text import format_bytes

    if job is not None and prefixes:
        raise UsageError("give prefixes or --job, not both")
    if set_ and job is None:
        raise UsageError("--set changes a job file; give it with --job")
    begins = tuple(checked(prefix) for prefix in prefixes or ())
    opened, other = open_existing(source), open_store(target)
    if opened.uri == other.uri:
        raise UsageError(f"source and target are the same store, {opened.uri}")
    plans = None
    if job is not None:
        plans = tuple(runs_of(opened, load(job, set_, source), run_command(job, set_, source)))
    check_store(other)
    total, faults = Copied("all"), 0

    def tell(copied: Copied) -> None:
        nonlocal faults
        total.objects, total.bytes, total.there = (
            total.objects + copied.objects,
            total.bytes + copied.bytes,
            total.there + copied.there,
        )
        if copied.objects:
            say(f"{copied.name}  {object_count(copied.objects)}, {format_bytes(copied.bytes)}")
        for fault in copied.faults:
            faults += 1
            aside(f"left out  {fault}")

    with Meter("copying", stderr()) as meter:
        sets = copy_store(opened, other, prefixes=begins, plans=plans, meter=meter, copied=tell)
    if not sets:
        raise FodBenchError(
            f"nothing to copy in store {opened.uri}" + (f" under {', '.join(begins)}" if begins else "")
        )
    aside(
        f"{object_count(total.objects)}, {format_bytes(total.bytes)} copied; {total.there} were there; {faults} left out"
    )
    if faults:
        raise typer.Exit(1)

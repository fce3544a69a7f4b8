"""`fod-bench store gc`: what no run needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import Overrides, Verbose, default_store, guarded, load, run_command
from fod_bench.cli.store_common import StoreOption, aside, object_count, runs_of
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import say

if TYPE_CHECKING:
    from fod_bench.records.upkeep import Garbage, Heap


@guarded
def gc(
    jobs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="JOB", help="Keep only the runs of exactly these jobs, with --set. Default: every run in the store."
        ),
    ] = None,
    store: StoreOption = None,
    set_: Overrides = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it. Without this nothing is changed.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="SECONDS", min=0, help="Leave alone what is younger.")
    ] = 3600.0,
    verbose: Verbose = False,
) -> None:
    """List what no run needs, and with --delete remove it. What somebody is at work on is never touched.

    Example: `fod-bench store gc jobs/paper.yaml --delete`
    """
    from fod_bench.records.upkeep import find_garbage, remove_garbage
    from fod_bench.store import open_existing
    from fod_bench.text import format_bytes

    if set_ and not jobs:
        raise UsageError("--set changes a job file; give the JOB")
    loaded = {job: load(job, set_, store) for job in jobs or []}
    uris = {job.store for job in loaded.values()} or {store or default_store()}
    if len(uris) > 1:
        raise UsageError(f"the jobs use different stores ({', '.join(sorted(uris))}): name one with --store")
    opened = open_existing(uris.pop())
    runs = [plan for path, job in loaded.items() for plan in runs_of(opened, job, run_command(path, set_, store))]
    garbage = find_garbage(opened, {plan.run_id for plan in runs} if loaded else None, older_than)
    kept: list[str] = []
    if delete:
        gone: list[Heap] = []
        try:
            kept = remove_garbage(opened, garbage, gone.append)
        finally:
            _list(gone)
            aside(
                f"deleted {object_count(sum(len(heap.objects) for heap in gone))}, {format_bytes(sum(h.size for h in gone))}"
            )
    else:
        _list(garbage.heaps)
        for name in garbage.uploads:
            say(f"unfinished upload of {name}, older than a day")
        aside(f"{object_count(garbage.objects)}, {format_bytes(garbage.size)} can go; --delete deletes them")
    _left_alone(garbage, kept, older_than)


def _list(heaps: list[Heap]) -> None:
    """The heaps, under a heading for every kind and reason."""
    from fod_bench.text import format_bytes

    groups: dict[tuple[str, str], list[Heap]] = {}
    for heap in heaps:
        groups.setdefault((heap.name.split("/")[0], heap.why), []).append(heap)
    for (folder, why), group in groups.items():
        size, objects = sum(heap.size for heap in group), sum(len(heap.objects) for heap in group)
        say(f"{folder}: {why}: {object_count(objects)}, {format_bytes(size)}")
        for heap in group:
            say(f"  {format_bytes(heap.size):>10}  {heap.name}")


def _left_alone(garbage: Garbage, kept: list[str], older_than: float) -> None:
    for name in kept:
        aside(f"{name}: kept, somebody has come to need it")
    if garbage.young:
        aside(f"{garbage.young} more would go, but are younger than {older_than:g} s (--older-than)")
    for note in garbage.notes:
        aside(note)
    for info in garbage.unknown:
        aside(f"{info.name}: not an object of fod-bench; left alone")

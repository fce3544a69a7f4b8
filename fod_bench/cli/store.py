"""`fod-bench store`: what lies in a store, whether it is whole, what can go, and copies of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import Overrides, Verbose, default_store, guarded, load
from fod_bench.cli.typer_app import App
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.machine.terminal import SafeConsole, say
from fod_bench.schema.hidden import hidden

if TYPE_CHECKING:
    from fod_bench.records.upkeep import Garbage, Heap
    from fod_bench.store import ObjectInfo, Store

app = App(help="List a store, check it, tidy it up, or copy it.")

StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URI", help="Store; default: the one that jobs use by default.")
]
Prefix = Annotated[
    str, typer.Argument(metavar="PREFIX", help="Only objects whose name begins with it, e.g. features/ or trials/3f2a.")
]


@app.command()
@guarded
def ls(
    prefix: Prefix = "",
    store: StoreOption = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="One line for each object, without a PREFIX too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show what is there and how large: a line for each kind of object, or the objects of a PREFIX (size, time, name).

    Example: `fod-bench store ls features/ --store s3://bucket/fod`
    """
    from fod_bench.store import open_store

    opened = open_store(store or default_store())
    infos = opened.list(_checked(prefix))
    if prefix or long:
        shown = [{"name": info.name, "size": info.size, "modified": _time(info.modified)} for info in infos]
        if as_json:
            say(json.dumps(shown, indent=2))
        else:
            for entry in shown:
                say(f"{entry['size']:>14}  {entry['modified']}  {entry['name']}")
        if not shown:
            say(f"no object {prefix}… in store {opened.uri}", err=True)
        return
    _summary(opened, list(infos), as_json)


def _summary(store: Store, infos: list[ObjectInfo], as_json: bool) -> None:
    from rich.table import Table

    from fod_bench.records.names import KINDS, kind_of
    from fod_bench.records.upkeep import format_bytes

    sizes: dict[str, list[int]] = {kind: [] for kind in (*KINDS, "unknown")}
    for info in infos:
        sizes[kind_of(info.name) or "unknown"].append(info.size)
    kinds = {
        kind: {"objects": len(found), "bytes": sum(found)}
        for kind, found in sizes.items()
        if found or kind != "unknown"
    }
    total = {"objects": len(infos), "bytes": sum(info.size for info in infos)}
    if as_json:
        say(json.dumps({"store": store.uri, "kinds": kinds, **total}, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("")
    table.add_column("objects", justify="right")
    table.add_column("size", justify="right")
    for kind, counts in kinds.items():
        if counts["objects"]:
            table.add_row(kind, str(counts["objects"]), format_bytes(counts["bytes"]))
    table.add_row("all", str(total["objects"]), format_bytes(total["bytes"]))
    say(f"store {store.uri}")
    SafeConsole(highlight=False).print(table)


@app.command()
@guarded
def verify(
    prefix: Prefix = "",
    store: StoreOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="JOB", help="Read the images of this job instead, and compare with what is stored."
        ),
    ] = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Read every object and name each one that is damaged or has lost a part; exit code 1 when there is any.

    Changes nothing. `fod-bench run` makes anew what it needs and finds damaged.

    With --data every image and mask of the job's data sets is read, whatever is remembered of it. Named are files that changed
    unnoticed, which are noticed from now on, and features and records of the job that were made of other content.

    Example: `fod-bench store verify --store results/store`
    """
    if data is not None:
        if prefix:
            raise UsageError("give a PREFIX or --data, not both")
        _verify_data(data, set_, store)
        return
    if set_:
        raise UsageError("--set changes a job file; give it with --data")
    from fod_bench.records.upkeep import Meter, format_bytes, verify_store
    from fod_bench.store import open_store

    opened = open_store(store or default_store())
    with Meter("reading", _stderr()) as meter:
        verified = verify_store(opened, _checked(prefix), meter, say)
    faults = len(verified.faults)
    said = f"{faults} fault{'s' if faults > 1 else ''} found" if faults else "no fault found"
    say(f"{opened.uri}: {_objects(verified.objects)}, {format_bytes(verified.bytes)}: {said}", err=True)
    if faults:
        raise typer.Exit(1)


def _verify_data(path: Path, overrides: list[str] | None, store: str | None) -> None:
    from fod_bench.plan.verify_data import verify_data
    from fod_bench.store import open_store

    job = load(path, overrides, store)
    opened = open_store(job.store)
    verified = verify_data(job, opened, lambda fault: say(hidden(fault)))
    faults = len(verified.faults)
    said = f"{faults} difference{'s' if faults > 1 else ''} found" if faults else "no difference found"
    read = f"{verified.images} images in {verified.categories} categories read, with their masks"
    compared = f"{verified.compared} feature sets and records of job {job.name} compared"
    _aside(hidden(f"{opened.uri}: {read}; {compared}: {said}"))
    if faults:
        raise typer.Exit(1)


@app.command()
@guarded
def gc(
    jobs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="JOB…", help="Keep only the runs of these job files. Default: every run in the store."),
    ] = None,
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it. Without this nothing is changed.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="SECONDS", min=0, help="Leave alone what is younger.")
    ] = 3600.0,
    verbose: Verbose = False,
) -> None:
    """List what no run needs, and with --delete remove it. What somebody is at work on is never touched.

    Example: `fod-bench store gc jobs/paper.yaml --delete`
    """
    from fod_bench.records.upkeep import find_garbage, format_bytes, remove_garbage
    from fod_bench.store import open_store

    loaded = [load(job, None, store) for job in jobs or []]
    uris = {job.store for job in loaded} or {store or default_store()}
    if len(uris) > 1:
        raise UsageError(f"the jobs use different stores ({', '.join(sorted(uris))}): name one with --store")
    opened = open_store(uris.pop())
    garbage = find_garbage(opened, {job.name for job in loaded} if loaded else None, older_than)
    kept: list[str] = []
    if delete:
        gone: list[Heap] = []
        try:
            kept = remove_garbage(opened, garbage, gone.append)
        finally:
            _list(gone)
            _aside(
                f"deleted {_objects(sum(len(heap.objects) for heap in gone))}, {format_bytes(sum(h.size for h in gone))}"
            )
    else:
        _list(garbage.heaps)
        for name in garbage.uploads:
            say(f"unfinished upload of {name}, older than a day")
        _aside(f"{_objects(garbage.objects)}, {format_bytes(garbage.size)} can go; --delete deletes them")
    _left_alone(garbage, kept, older_than)


def _list(heaps: list[Heap]) -> None:
    """The heaps, under a heading for every kind and reason."""
    from fod_bench.records.upkeep import format_bytes

    groups: dict[tuple[str, str], list[Heap]] = {}
    for heap in heaps:
        groups.setdefault((heap.name.split("/")[0], heap.why), []).append(heap)
    for (folder, why), group in groups.items():
        size, objects = sum(heap.size for heap in group), sum(len(heap.objects) for heap in group)
        say(f"{folder}: {why}: {_objects(objects)}, {format_bytes(size)}")
        for heap in group:
            say(f"  {format_bytes(heap.size):>10}  {heap.name}")


def _left_alone(garbage: Garbage, kept: list[str], older_than: float) -> None:
    for name in kept:
        _aside(f"{name}: kept, somebody has come to need it")
    if garbage.young:
        _aside(f"{garbage.young} more would go, but are younger than {older_than:g} s (--older-than)")
    for note in garbage.notes:
        _aside(note)
    for info in garbage.unknown:
        _aside(f"{info.name}: not an object of fod-bench; left alone")


@app.command()
@guarded
def cp(
    source: Annotated[str, typer.Argument(help="Store to copy from.")],
    target: Annotated[str, typer.Argument(help="Store to copy to.")],
    prefixes: Annotated[
        list[str] | None,
        typer.Argument(metavar="PREFIX…", help="Only what has a name that begins so. Default: everything."),
    ] = None,
    job: Annotated[
        Path | None, typer.Option("--job", metavar="JOB", help="Only what the runs of this job file need.")
    ] = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Copy features, references, records with their weights, and plans from one store to another; exit code 1 when any is damaged.

    What the target has is not copied again, so the same command goes on after an interruption. A target's own record stays.

    Example: `fod-bench store cp results/store 's3://bucket/fod?endpoint=https://host' --job jobs/paper.yaml`
    """
    from fod_bench.records.run_reader import RunReader, no_run
    from fod_bench.records.upkeep import Copied, Meter, copy_store, format_bytes
    from fod_bench.store import open_store
    from fod_bench.store.probe import check_store

    if job is not None and prefixes:
        raise UsageError("give prefixes or --job, not both")
    if set_ and job is None:
        raise UsageError("--set changes a job file; give it with --job")
    begins = tuple(_checked(prefix) for prefix in prefixes or ())
    opened, other = open_store(source), open_store(target)
    if opened.uri == other.uri:
        raise UsageError(f"source and target are the same store, {opened.uri}")
    plans = None
    if job is not None:
        name, runs = load(job, set_, source).name, RunReader(opened).read()
        plans = tuple(plan for plan in runs.plans if plan.job == name)
        if not plans:
            raise FodBenchError(no_run(opened, name, [plan.job for plan in runs.plans]))
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
            say(f"{copied.name}  {_objects(copied.objects)}, {format_bytes(copied.bytes)}")
        for fault in copied.faults:
            faults += 1
            _aside(f"left out  {fault}")

    with Meter("copying", _stderr()) as meter:
        sets = copy_store(opened, other, prefixes=begins, plans=plans, meter=meter, copied=tell)
    if not sets:
        raise FodBenchError(
            f"nothing to copy in store {opened.uri}" + (f" under {', '.join(begins)}" if begins else "")
        )
    _aside(
        f"{_objects(total.objects)}, {format_bytes(total.bytes)} copied; {total.there} were there; {faults} left out"
    )
    if faults:
        raise typer.Exit(1)


def _checked(prefix: str) -> str:
    from fod_bench.store.base import check_prefix

    try:
        return check_prefix(prefix)
    except ValueError as error:
        raise UsageError(f"PREFIX: {error}") from None


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"


def _aside(text: str) -> None:
    say(text, err=True)


def _stderr() -> SafeConsole:
    return SafeConsole(stderr=True)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")

"""`fod-bench store`: what lies in a store, whether it is whole, what can go, and copies of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import Overrides, Verbose, default_store, guarded, load
from fod_bench.cli.store_common import StoreOption, aside, checked, object_count, stderr
from fod_bench.cli.store_copy import cp
from fod_bench.cli.store_garbage import gc
from fod_bench.cli.store_index import index
from fod_bench.cli.typer_app import App
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import SafeConsole, say
from fod_bench.schema.hidden import hidden

if TYPE_CHECKING:
    from fod_bench.store import ObjectInfo, Store

app = App(help="List a store, check it, tidy it up, or copy it.")

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
    from fod_bench.store import open_existing

    opened = open_existing(store or default_store())
    infos = opened.list(checked(prefix))
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
    from fod_bench.text import format_bytes

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
    from fod_bench.records.upkeep import Meter, verify_store
    from fod_bench.store import open_existing
    from fod_bench.text import format_bytes

    opened = open_existing(store or default_store())
    with Meter("reading", stderr()) as meter:
        verified = verify_store(opened, checked(prefix), meter, say)
    faults = len(verified.faults)
    said = f"{faults} fault{'s' if faults > 1 else ''} found" if faults else "no fault found"
    say(f"{opened.uri}: {object_count(verified.objects)}, {format_bytes(verified.bytes)}: {said}", err=True)
    if faults:
        raise typer.Exit(1)


def _verify_data(path: Path, overrides: list[str] | None, store: str | None) -> None:
    from fod_bench.plan.verify_data import verify_data
    from fod_bench.store import open_existing

    job = load(path, overrides, store)
    opened = open_existing(job.store)
    verified = verify_data(job, opened, lambda fault: say(hidden(fault)))
    faults = len(verified.faults)
    said = f"{faults} difference{'s' if faults > 1 else ''} found" if faults else "no difference found"
    read = f"{verified.images} images in {verified.categories} categories read, with their masks"
    compared = f"{verified.compared} feature sets and records of job {job.name} compared"
    aside(hidden(f"{opened.uri}: {read}; {compared}: {said}"))
    if faults:
        raise typer.Exit(1)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


app.command()(gc)
app.command()(index)
app.command()(cp)

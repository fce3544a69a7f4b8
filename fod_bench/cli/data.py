"""`fod-bench data`: checking a data set, writing a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fod_bench.cli.common import Verbose, guarded
from fod_bench.errors import UsageError

app = typer.Typer(help="Check a data set, or write a synthetic one.", no_args_is_help=True)

Categories = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Only this category; may be repeated. Default: all.")
]


@app.command()
@guarded
def check(
    root: Annotated[Path, typer.Argument(help="Folder that holds the categories.")],
    layout: Annotated[
        Literal["mvtec", "btad", "mvtec3d", "folder"], typer.Option(help="How the pictures lie on disk.")
    ] = "folder",
    categories: Categories = None,
    verbose: Verbose = False,
) -> None:
    """List everything that is wrong with a data set; exit code 1 when there is anything.

    Example: `fod-bench data check data/mvtec --layout mvtec`
    """
    from fod_bench.datasets import check as find_faults

    faults = find_faults(layout, root, categories or None)
    for fault in faults:
        typer.echo(fault)
    if faults:
        typer.echo(f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in {root}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{root}: no fault found", err=True)


@app.command()
@guarded
def synth(
    folder: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    categories: Categories = None,
    train: Annotated[int, typer.Option(help="Normal pictures to train on, per category.")] = 48,
    test_good: Annotated[int, typer.Option(help="Normal pictures to test on, per category.")] = 16,
    test_defect_per_type: Annotated[int, typer.Option(help="Defective pictures per type of defect.")] = 8,
    size: Annotated[int, typer.Option(help="Side of a picture in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the drawings.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Write a synthetic data set in MVTec AD's layout: textures and objects with local, global and logical defects.

    Example: `fod-bench data synth /tmp/pictures --categories weave --categories board --train 20`
    """
    from pydantic import ValidationError

    from fod_bench.datasets import SyntheticSettings, category_names, write_synthetic

    try:
        settings = SyntheticSettings(
            train=train, test_good=test_good, test_defect_per_type=test_defect_per_type, size=size, seed=seed
        )
    except ValidationError as error:
        wrong = "; ".join(f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']}" for e in error.errors())
        raise UsageError(wrong) from None
    names = categories or category_names("synthetic")
    write_synthetic(folder, settings, names)
    typer.echo(f"{folder}: wrote {', '.join(names)}", err=True)

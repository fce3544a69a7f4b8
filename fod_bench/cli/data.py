"""`fod-bench data`: checking a data set, writing a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fod_bench.cli.common import Verbose, guarded
from fod_bench.errors import UsageError

if TYPE_CHECKING:
    from fod_bench.datasets import Resize

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
    resize: Annotated[
        Literal["auto", "stretch", "crop"], typer.Option(help="How images will become squares: see a job's settings.")
    ] = "auto",
    image_size: Annotated[int, typer.Option(min=32, help="Side of the squares in pixels.")] = 256,
    resize_size: Annotated[
        int | None, typer.Option(min=32, help="What `crop` resizes the shorter side to; default: the image size.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """List everything that is wrong with a data set; exit code 1 when there is anything.

    Also named, but no fault, are defects that a centre crop leaves out of their images.

    Example: `fod-bench data check data/mvtec --layout mvtec`
    """
    from fod_bench.datasets import check as find_faults
    from fod_bench.datasets import resize_of

    if resize_size is not None and (resize != "crop" or resize_size < image_size):
        raise UsageError("--resize-size is for --resize crop, and at least --image-size")
    faults = find_faults(layout, root, categories or None)
    for fault in faults:
        typer.echo(fault)
    _tell_what_is_left_out(layout, root, categories, resize_of(layout, image_size, resize, resize_size))
    if faults:
        typer.echo(f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in {root}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{root}: no fault found", err=True)


def _tell_what_is_left_out(layout: str, root: Path, categories: list[str] | None, resize: Resize) -> None:
    from fod_bench.datasets import category_names, left_out, open_category
    from fod_bench.errors import DatasetError

    if resize.shorter_side is None:
        return
    for name in categories or category_names(layout, root):
        try:
            found = left_out(open_category(layout, root, name), resize)
        except DatasetError:  # one of the faults
            continue
        for how, images in (("wholly", found.wholly), ("partly", found.partly)):
            for image in images:
                typer.echo(f"{name}: {image}: the centre crop leaves its defect out {how}")
        if (summary := found.summary(name)) is not None:
            typer.echo(summary)


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

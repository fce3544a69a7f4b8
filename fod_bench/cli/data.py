"""`fod-bench data`: checking a data set, fetching a published one, bringing one into a bucket, writing a synthetic one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fod_bench.cli import fetch
from fod_bench.cli.common import INTERRUPTED, Verbose, guarded, interrupted
from fod_bench.cli.typer_app import App
from fod_bench.errors import UsageError, plain_message
from fod_bench.machine.terminal import say
from fod_bench.text import counted

if TYPE_CHECKING:
    from fod_bench.datasets import FolderSettings, Resize

app = App(help="Check a data set, fetch a published one, bring one into a bucket, or write a synthetic one.")
app.command(name="fetch")(fetch.fetch)

Categories = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Only this category; may be repeated. Default: all.")
]


@app.command()
@guarded
def check(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder that holds the categories.")],
    layout: Annotated[
        str, typer.Option(metavar="NAME", help="How the images lie on disk: `folder`, or a published set's layout.")
    ] = "folder",
    categories: Categories = None,
    good: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Folder of normal images, by name or pattern; may be repeated. Default: good."
        ),
    ] = None,
    bad: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The same of defective ones. Default: all others in test, or bad."),
    ] = None,
    masks: Annotated[
        Literal["required", "optional"],
        typer.Option(help="Whether every defective image needs a mask in a category that has some."),
    ] = "required",
    image_size: Annotated[
        int,
        typer.Option(metavar="NUMBER", min=1, help="Side of the squares in pixels, at which a defect must not vanish."),
    ] = 256,
    resize: Annotated[
        Literal["auto", "stretch", "crop"], typer.Option(help="How images will become squares: see a job's settings.")
    ] = "auto",
    resize_size: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, help="What `crop` resizes the shorter side to; default: the image size."),
    ] = None,
    max_pixels: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Pixels of the largest image that is read.")
    ] = 400_000_000,
    verbose: Verbose = False,
) -> None:
    """Say what a data set holds and list everything that is wrong with it; exit code 1 when there is anything.

    `--good`, `--bad`, `--masks` and `--max-pixels` are for layout `folder` and mean what the keys of a job's data set do.

    Also named, but no fault, are defects that a centre crop leaves out of their images.

    Example: `fod-bench data check data/mvtec --layout mvtec`
    """
    from fod_bench.datasets import FILE_LAYOUTS, FolderSettings, describe, resize_of
    from fod_bench.datasets import check as find_faults
    from fod_bench.schema.problems import unknown
    from fod_bench.store.address import is_bucket

    if is_bucket(folder):
        raise UsageError(f"{folder}: a folder is checked, before `fod-bench data push` brings it into a bucket")
    root = Path(folder)
    if layout not in FILE_LAYOUTS:
        raise UsageError(f"--layout: {unknown('layout', layout, FILE_LAYOUTS)}")
    if resize_size is not None and (resize != "crop" or resize_size < image_size):
        raise UsageError("--resize-size is for --resize crop, and at least --image-size")
    if layout != "folder" and (good or bad or masks == "optional"):
        raise UsageError(f"--good, --bad and --masks are for layout folder only, not {layout}")
    own = FolderSettings(
        good=tuple(good) if good else FolderSettings.good,
        bad=tuple(bad) if bad else None,
        masks=masks,
        max_pixels=max_pixels,
    )
    squares = resize_of(layout, image_size, resize, resize_size)
    try:
        for line in describe(layout, root, categories or None, own):
            say(line, err=True)
        faults = find_faults(layout, root, categories or None, own, squares)
    except KeyboardInterrupt:
        interrupted()
        os._exit(INTERRUPTED)  # at once: threads may be reading, and nothing was written
    for fault in faults:
        say(fault)
    _tell_what_is_left_out(layout, root, categories, own, squares)
    if faults:
        say(f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in {root}", err=True)
        raise typer.Exit(1)
    say(f"{root}: no fault found", err=True)


def _tell_what_is_left_out(
    layout: str, root: Path, categories: list[str] | None, own: FolderSettings, resize: Resize
) -> None:
    from fod_bench.datasets import category_names, left_out, open_category
    from fod_bench.errors import DatasetError

    if resize.shorter_side is None:
        return
    for name in categories or category_names(layout, root, own=own):
        try:
            found = left_out(open_category(layout, root, name, own=own), resize)
        except DatasetError:  # one of the faults
            continue
        for how, images in (("wholly", found.wholly), ("partly", found.partly)):
            for image in images:
                say(f"{name}: {image}: the centre crop leaves its defect out {how}")
        if (summary := found.summary(name)) is not None:
            say(summary)


@app.command()
@guarded
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Root of the data set, as a job names it.")],
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="Where it is to lie: s3://bucket/prefix.")],
    verbose: Verbose = False,
) -> None:
    """Bring a data set into a bucket, with the manifest by which jobs read it there: `root: s3://bucket/prefix`.

    What is there already is not sent again; the manifest comes last. Hidden files stay behind.

    Example: `fod-bench data push data/mvtec s3://bucket/data/mvtec`
    """
    from fod_bench.cli.store_common import stderr
    from fod_bench.datasets.push import push as push_folder
    from fod_bench.records.upkeep import Meter
    from fod_bench.text import format_bytes

    with Meter("sending", stderr()) as meter:
        pushed = push_folder(folder, bucket, lambda size: meter.add(size, 1))
    sent = pushed.files - pushed.there
    say(f"{counted(sent, 'file')}, {format_bytes(pushed.bytes)} sent, {pushed.there} were there; in a job:", err=True)
    say(f"root: {pushed.uri}")


@app.command()
@guarded
def manifest(
    root: Annotated[
        str, typer.Argument(metavar="FOLDER|BUCKET", help="Root of the data set: a folder, or s3://bucket/prefix.")
    ],
    verbose: Verbose = False,
) -> None:
    """Write the manifest of a data set, which a root in a bucket needs: path, size and SHA-256 of every file.

    Of a folder that another program copies into a bucket, or of what lies in one already.

    Example: `fod-bench data manifest data/mvtec && aws s3 sync data/mvtec s3://bucket/data/mvtec`
    """
    from fod_bench.datasets.push import write_bucket_manifest, write_manifest
    from fod_bench.store.address import is_bucket

    place, files = write_bucket_manifest(root) if is_bucket(root) else write_manifest(Path(root))
    say(f"{place}: {counted(files, 'file')}", err=True)


@app.command()
@guarded
def synth(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write; new or empty.")],
    categories: Categories = None,
    train: Annotated[int, typer.Option(metavar="NUMBER", help="Normal images to train on, per category.")] = 48,
    test_good: Annotated[int, typer.Option(metavar="NUMBER", help="Normal images to test on, per category.")] = 16,
    test_defect_per_type: Annotated[
        int, typer.Option(metavar="NUMBER", help="Defective images per type of defect.")
    ] = 8,
    size: Annotated[int, typer.Option(metavar="NUMBER", help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Seed of the drawings.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Write a synthetic data set in MVTec AD's layout: textures and objects with local, global and logical defects.

    Example: `fod-bench data synth /tmp/drawn --categories weave --categories board --train 20`
    """
    from pydantic import ValidationError

    from fod_bench.datasets import SyntheticSettings, category_names, write_synthetic

    try:
        settings = SyntheticSettings(
            train=train, test_good=test_good, test_defect_per_type=test_defect_per_type, size=size, seed=seed
        )
    except ValidationError as error:
        wrong = "; ".join(f"--{str(e['loc'][0]).replace('_', '-')}: {plain_message(e)}" for e in error.errors())
        raise UsageError(wrong) from None
    names = categories or category_names("synthetic")
    write_synthetic(folder, settings, names)
    say(f"{folder}: wrote {', '.join(names)}", err=True)

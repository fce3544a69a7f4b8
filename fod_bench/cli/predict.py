"""`fod-bench predict`: a finished trial on new images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fod_bench.cli.common import SOME_FAILED, Verbose, default_store, guarded
from fod_bench.cli.store_common import StoreOption
from fod_bench.errors import DatasetError, UsageError
from fod_bench.machine.terminal import say

if TYPE_CHECKING:
    from fod_bench.predict import Predictor

CellName = Annotated[
    str, typer.Argument(metavar="ROW/DATASET/CATEGORY", help="The trial, e.g. FOD/mvtec/bottle, as a report names it.")
]
RunOption = Annotated[
    str | None, typer.Option("--run", metavar="RUN_ID", help="Where several runs have other trials of that name.")
]
Seed = Annotated[int | None, typer.Option(metavar="NUMBER", help="Where the row was trained with several.")]
Epoch = Annotated[
    Literal["last", "best_image", "best_pixel"],
    typer.Option(help="Whose weights; the best ones were selected on the test images."),
]
WeightsFile = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="The backbone's weights, where the job's are not here.")
]


def map_formats() -> list[str]:
    """For the help."""
    from fod_bench.predict.outputs import MAP_FORMATS

    return list(MAP_FORMATS)


@guarded
def predict(
    cell: CellName,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES", help="Files, folders, patterns in quotes, or - for paths on standard input."),
    ],
    store: StoreOption = None,
    run_: RunOption = None,
    seed: Seed = None,
    epoch: Epoch = "last",
    threshold: Annotated[
        float | None, typer.Option(metavar="SCORE", help="An image with a higher score is anomalous.")
    ] = None,
    good: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Take the threshold from these normal images, which were not trained on."),
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of normal images below the threshold; default: 0.995.")
    ] = None,
    maps: Annotated[Path | None, typer.Option(metavar="DIR", help="Write score maps there.")] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", help="How maps are written; may be repeated. Default: overlay."),
    ] = None,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Write npy and tiff in the image's size, not the detector's.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace maps that are there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each image.")] = False,
    batch: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Images that are scored together; 1 answers each at once.")
    ] = 16,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where it is computed; auto is a GPU if there is one.")
    ] = "auto",
    weights: WeightsFile = None,
    max_pixels: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Pixels of the largest image that is read.")
    ] = 400_000_000,
    verbose: Verbose = False,
) -> None:
    """Score new images by a finished trial, and say which are anomalous.

    The threshold is by default the 0.995 quantile of the training images' scores. These the detector has seen: other normal images
    score higher, and more than 1 in 200 of them will be called anomalous. `--good` takes it from images that it has not seen.

    An image that cannot be read is reported and passed over.

    Exit codes: 0 every image was scored, 1 it could not start, 2 usage, 3 some images could not be read.

    Example: `fod-bench predict FOD/mvtec/bottle photos/ --maps maps`
    """
    from fod_bench.predict.inputs import STDIN, InputImage, images_from_lines, images_of
    from fod_bench.predict.outputs import MapFiles, json_line, require_formats, text_line
    from fod_bench.predict.prediction import Prediction, Unreadable

    formats = format_ or ["overlay"]
    require_formats(formats)
    if maps is None and (format_ or full_size or force):
        raise UsageError("--format, --full-size and --force are for maps; name a folder for them by --maps DIR")
    if threshold is not None and (good is not None or quantile is not None):
        raise UsageError("give a --threshold, or --good and --quantile from which it is taken, not both")
    streaming = images == [STDIN]
    if STDIN in images and not streaming:
        raise UsageError("- stands for paths on standard input, and goes with no other images")
    known = [] if streaming else images_of(images)
    files = MapFiles(maps, formats, full_size=full_size, force=force) if maps is not None else None
    if files is not None:
        files.expect(known)
    good_images = [image.path for image in images_of([good])] if good is not None else None

    predictor = _loaded(cell, store, run_, seed, epoch, device, weights)
    predictor.max_pixels = max_pixels
    _decide(predictor, threshold, good_images, good, quantile, drawn=files is not None)
    unread, waiting = 0, list[InputImage]()

    def paths() -> Iterator[str]:
        for image in images_from_lines(iter(sys.stdin.readline, "")) if streaming else known:
            waiting.append(image)
            yield image.path

    for found in predictor.try_each(paths(), batch, ahead=0 if streaming else 2):
        image, written = waiting.pop(0), list[Path]()
        if files is not None and isinstance(found, Prediction):
            try:
                written = files.write(image, found)
            except DatasetError as error:  # an overlay reads the image again
                found = Unreadable(found.name, str(error))
        unread += isinstance(found, Unreadable)
        if as_json:
            say(json_line(found, written))
        else:
            say(text_line(found), err=isinstance(found, Unreadable))
        sys.stdout.flush()
    if unread:
        say(f"fod-bench: {unread} image{'s' if unread > 1 else ''} could not be read", err=True)
        raise typer.Exit(SOME_FAILED)


def _loaded(
    cell: str, store: str | None, run: str | None, seed: int | None, epoch: str, device: str, weights: Path | None
) -> Predictor:
    from fod_bench.predict import load_detector

    return load_detector(
        cell,
        store or default_store(),
        epoch=epoch,
        seed=seed,
        run=run,
        device=device,  # type: ignore[arg-type]
        weights=weights,
    )


def _decide(
    predictor: Predictor,
    threshold: float | None,
    good_images: list[str] | None,
    good: str | None,
    quantile: float | None,
    drawn: bool,
) -> None:
    """Settle the threshold, and say what it is and where from."""
    from fod_bench.records.normal import QUANTILE

    caveat, share = "", QUANTILE if quantile is None else quantile
    if threshold is not None:
        predictor.threshold = threshold
        if drawn and not predictor.show_on_training_scale():
            say("maps      each on a scale of its own: the training images' scores cannot be had", err=True)
    elif good_images is not None:
        predictor.take_good_images(good_images, share, f"images of {good}")
    else:
        predictor.take_training_images(share)
        caveat = ": other normal images score higher, so expect more false alarms; --good FOLDER takes it from others"
    say(f"detector  {predictor.name}, {predictor.score_name}, epoch {predictor.epoch}, on {predictor.device}", err=True)
    say(f"threshold {predictor.threshold:.6g}, {predictor.threshold_from}{caveat}", err=True)

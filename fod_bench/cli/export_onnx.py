"""`fod-bench export onnx`: a finished trial as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fod_bench.cli.common import Verbose, default_store, guarded
from fod_bench.cli.predict import CellName, Epoch, RunOption, Seed, WeightsFile
from fod_bench.cli.store_common import StoreOption
from fod_bench.machine.terminal import say


@guarded
def onnx(
    cell: CellName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, e.g. bottle.onnx.")],
    store: StoreOption = None,
    run_: RunOption = None,
    seed: Seed = None,
    epoch: Epoch = "last",
    size: Annotated[
        Literal["any", "trained"],
        typer.Option("--input", help="Images of any height and width, or squares as the detector sees them."),
    ] = "any",
    weights: WeightsFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there already.")] = False,
    verbose: Verbose = False,
) -> None:
    """Write a trial's detector as ONNX: a batch of RGB images of uint8 in, scores and maps out.

    The file holds the backbone, and what the method has learned. It is run by onnxruntime before it is kept, and has to give what
    torch gives of squares and of images of another size, within a thousandth of the largest value. A method that cannot be
    written is refused, with the reason.

    Example: `fod-bench export onnx FOD/mvtec/bottle bottle.onnx`
    """
    from fod_bench.predict.find import find_trial
    from fod_bench.predict.onnx import export_onnx
    from fod_bench.store import open_existing

    found = find_trial(open_existing(store or default_store()), cell, run_, seed)
    made = export_onnx(found, file, epoch=epoch, any_size=size == "any", weights=weights, force=force)
    say(
        f"{made.path}: {made.size / 1e6:.1f} MB; as torch within {made.difference:.1e} of the largest value, on {made.images} "
        f"{made.checked_on}",
        err=True,
    )

"""`fod-bench figure`: the paper's figures, of a job's own results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fod_bench.cli.common import JobFile, Overrides, StoreOption, Verbose, guarded, load, run_command
from fod_bench.errors import UsageError
from fod_bench.machine.terminal import say

NUMBERS = (1, 3, 4, 5, 6)


@guarded
def figure(
    number: Annotated[int, typer.Argument(metavar="1|3|4|5|6", help="Number of the figure in the paper.")],
    job: JobFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for figure-NUMBER.png and so on; figure-lambda.png for 5.")
    ] = Path("figures"),
    format_: Annotated[
        list[str] | None, typer.Option("--format", help="png, pdf or svg; may be repeated. Default: png and pdf.")
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="ROW", help="A row whose maps are shown; may be repeated. Default: patch-only and full."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="End of a test image's path, e.g. bottle/test/crack/003.png; may be repeated."
        ),
    ] = None,
    patch: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="Figure 4: a patch, in pixels of the square that is seen; may be repeated."),
    ] = None,
    level: Annotated[
        int | None, typer.Option(metavar="STRIDE", help="Figure 4: feature level; default: the coarsest.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    store: StoreOption = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Draw a figure of the paper from a job's results.

    1, 3 and 6 show test images, their truth, and the maps of rows: patch-only and full, or the job's first. 4 shows what a normal
    and an abnormal patch are correlated with, in each layer and head. 5 shows AUROC against the loss weights, from Table 11.

    Images are taken by turns from each category and each kind of defect; of a kind the one whose score is in the middle.

    Example: `fod-bench figure 3 jobs/quickstart.yaml --out figures`
    """
    from fod_bench.predict.figures import draw_correlations, draw_maps, figure_paths
    from fod_bench.report import job_results, render_figures
    from fod_bench.store import open_existing

    if number not in NUMBERS:
        raise UsageError(
            f"figure {number} is not drawn: there are {', '.join(map(str, NUMBERS))}; 2 is a diagram of the model"
        )
    if number != 4 and (patch or level is not None):
        raise UsageError("--patch and --level are of figure 4")
    if number == 4 and len(row or []) + len(image or []) > 1 + bool(row and image):
        raise UsageError("figure 4 shows one image by one row; give one --row and one --image")
    if number == 5 and (row or image):
        raise UsageError("figure 5 shows numbers; it takes no --row and no --image")
    paths = figure_paths(out, "figure-lambda" if number == 5 else f"figure-{number}", format_ or ["png", "pdf"], force)
    loaded, command = load(job, set_, store), run_command(job, set_, store)
    opened = open_existing(loaded.store, f"`{command}` makes it, --store names another")
    results = job_results(opened, loaded, command)
    if number == 5:
        render_figures(results, ["lambda"], out, formats=[path.suffix[1:] for path in paths])
    elif number == 4:
        draw_correlations(
            opened, results, paths, row[0] if row else None, image[0] if image else None, patch or [], level
        )
    else:
        draw_maps(opened, results, number, paths, row or [], image or [])
    for path in paths:
        say(path, err=True)

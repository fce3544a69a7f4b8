"""Figures 1, 3 and 6: test images with their truth, and the maps of two or more rows beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fod_bench.errors import FodBenchError
from fod_bench.paper.figures import COMPARED, IMAGE_FIGURES
from fod_bench.predict.drawing import overlay
from fod_bench.predict.figures.choose import (
    TestImage,
    TrialMaps,
    chosen_images,
    chosen_rows,
    trials_of,
    usual_dataset,
)
from fod_bench.predict.figures.files import STYLE, save
from fod_bench.report.results import Results
from fod_bench.store import Store

_MOST = 3
"""Rows shown of a job that has none of the paper's."""
_SIDE = 1.25
"""Inches of a panel."""


def draw_maps(
    store: Store,
    results: Results,
    number: int,
    paths: Sequence[Path],
    rows: Sequence[str] = (),
    images: Sequence[str] = (),
) -> None:
    """Draw one of these figures of a job into files.

    Args:
        rows: whose maps are shown; by default the paper's patch-only and full ones, or the job's first.
        images: see `chosen_images`.

    Raises:
        UsageError: there is no such row or image.
        FodBenchError: no category has a record of every row, or its images are not here.
    """
    figure = IMAGE_FIGURES[number]
    shown = chosen_rows(results, rows, (names for _, names in COMPARED), _MOST)
    dataset = usual_dataset((cell for plan in results.plans for cell in plan.cells), figure.dataset)
    found = {row: trials_of(store, results, row, dataset) for row in shown}
    places = [place for place in found[shown[0]] if all(place in trials for trials in found.values())]
    if not places:
        raise FodBenchError(
            f"no category has a result of every row that is shown: {', '.join(shown)}; run the job first"
        )
    maps = {row: {place: TrialMaps(trials[place]) for place in places} for row, trials in found.items()}
    count = len(images) or figure.images
    chosen = chosen_images([maps[shown[-1]][place] for place in places], images, count)
    titles = [_title(row) for row in shown]
    save(_drawn([maps[row] for row in shown], titles, chosen, figure.across), paths)


def _title(row: str) -> str:
    """What a row is called: as the paper's figures do where they show it."""
    return next((name for name, rows in COMPARED if row in rows), row)


def _drawn(
    maps: Sequence[dict[Any, TrialMaps]], titles: Sequence[str], images: Sequence[TestImage], across: bool
) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.style import context

    headings = ["image", "truth", *titles]
    shape = (len(headings), len(images)) if across else (len(images), len(headings))
    with context(["default", STYLE]):
        drawing = Figure(figsize=(_SIDE * shape[1] + 0.3, _SIDE * shape[0] + 0.3))
        areas = drawing.subplots(*shape, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
        for number, image in enumerate(images):
            for place, panel in enumerate(_panels(maps, image)):
                area = areas[place, number] if across else areas[number, place]
                area.imshow(panel, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                area.set_xticks([])
                area.set_yticks([])
        for place, heading in enumerate(headings):
            _label(areas[place, 0] if across else areas[0, place], heading, beside=across)
        for number, image in enumerate(images):
            _label(areas[0, number] if across else areas[number, 0], _name(image), beside=not across)
    return drawing


def _panels(maps: Sequence[dict[Any, TrialMaps]], image: TestImage) -> list[np.ndarray[Any, Any]]:
    first = maps[0][image.place]
    pixels, truth = first.square(image.number), first.truth(image.number)
    masked = np.full((*pixels.size[::-1],), 128, np.uint8) if truth is None else truth * np.uint8(255)
    overlays = (overlay(pixels, own[image.place].map(image.number), own[image.place].scale) for own in maps)
    return [np.asarray(pixels), masked, *map(np.asarray, overlays)]


def _label(area: Any, text: str, *, beside: bool) -> None:
    if beside:
        area.set_ylabel(text)
    else:
        area.set_title(text, fontsize="medium", pad=3)


def _name(image: TestImage) -> str:
    return f"{image.category.name}\n{image.sample.defect}"

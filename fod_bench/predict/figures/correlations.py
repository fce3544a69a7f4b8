"""Figure 4: what chosen patches are correlated with, in every layer and head, laid over their image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.methods.base import Correlating
from fod_bench.paper.figures import COMPARED, CORRELATIONS_DATASET
from fod_bench.predict.drawing import coloured
from fod_bench.predict.figures.choose import TrialMaps, chosen_images, chosen_rows, trials_of, usual_dataset
from fod_bench.predict.figures.files import STYLE, save
from fod_bench.predict.load import predictor_of
from fod_bench.report.results import Results
from fod_bench.store import Store

_SIDE = 0.95
"""Inches of a panel."""


class Patch(NamedTuple):
    """A place of an image."""

    down: float
    across: float
    """Shares of the image's sides, below 1."""
    what: str
    """`normal`, `abnormal`, or how it was named."""


def draw_correlations(
    store: Store,
    results: Results,
    paths: Sequence[Path],
    row: str | None = None,
    image: str | None = None,
    patches: Sequence[str] = (),
    level: int | None = None,
) -> None:
    """Draw the figure of a job into files.

    Args:
        row: whose detector; by default the paper's full one, or the first that has correlations.
        image: see `chosen_images`.
        patches: `x,y`, in pixels of the square that the detector sees; by default one normal and one abnormal patch.
        level: stride of the feature level; by default the coarsest, whose patches cover most.

    Raises:
        UsageError: there is no such row, image, patch or level.
        FodBenchError: no trial has correlations, weights, or its images here.
    """
    usual = [names for _, names in COMPARED][-1:]
    rows = chosen_rows(results, [row] if row else [], usual, 1 << 16)
    layout = usual_dataset((cell for plan in results.plans for cell in plan.cells), CORRELATIONS_DATASET)
    for candidate in rows:
        trials = [TrialMaps(found) for found in trials_of(store, results, candidate, layout).values()]
        if not trials:
            continue
        predictor = predictor_of(trials[0].found, torch.device("cpu"))
        if isinstance(predictor.detector, Correlating):
            break
    else:
        raise FodBenchError(
            f"no result of {', '.join(rows[:6])} has correlations to show; run the job, or name a row by --row"
        )
    (chosen,) = chosen_images(trials, [image] if image else [], 1)
    one = next(trial for trial in trials if trial.category is chosen.category)
    if one is not trials[0]:
        predictor = predictor_of(one.found, torch.device("cpu"))
    detector = predictor.detector
    assert isinstance(detector, Correlating)
    pixels = one.square(chosen.number)
    places = [_named(text, one.resize.size) for text in patches] or _usual(one, chosen.number)
    batch = predictor.batch(np.array(pixels)[None])
    found = detector.correlations(batch, [(place.down, place.across) for place in places])
    save(_drawn(pixels, places, _of_level(found, level, one.found.name)), paths)


def _of_level(found: dict[str, Tensor], level: int | None, name: str) -> dict[str, Tensor]:
    """The kinds of one level, by the rest of their names."""
    if not found:
        raise FodBenchError(f"{name} has no correlations: it looks at each patch by itself")
    levels = sorted({int(kind.partition("/")[0]) for kind in found})
    if level not in (None, *levels):
        raise UsageError(f"--level: {name} has no level {level}; it has {', '.join(map(str, levels))}")
    wanted = levels[-1] if level is None else level
    return {kind.partition("/")[2]: rows for kind, rows in found.items() if int(kind.partition("/")[0]) == wanted}


def _named(text: str, size: int) -> Patch:
    try:
        across, down = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--patch: {text!r} is not `x,y` in pixels") from None
    if not (0 <= across < size and 0 <= down < size):
        raise UsageError(f"--patch: {text} is outside of the {size}×{size} pixels that the detector sees")
    return Patch(down / size, across / size, f"({across:g}, {down:g})")


def _usual(one: TrialMaps, number: int) -> list[Patch]:
    """The highest score within the defect and the lowest beside it; without a mask the highest and lowest of all."""
    values, truth = one.map(number), one.truth(number)
    defect = np.zeros_like(values, bool) if truth is None else truth > 0
    whole = np.ones_like(defect)
    inside, outside = (area if area.any() else whole for area in (defect, ~defect))
    normal = np.unravel_index(np.where(outside, values, np.inf).argmin(), values.shape)
    abnormal = np.unravel_index(np.where(inside, values, -np.inf).argmax(), values.shape)
    size = one.resize.size
    return [
        Patch(float(down) / size, float(across) / size, what)
        for (down, across), what in ((normal, "normal"), (abnormal, "abnormal"))
    ]


def _drawn(pixels: Image.Image, places: Sequence[Patch], found: dict[str, Tensor]) -> Any:
    """A block for every kind and patch: a line for each layer, a panel for each head, the image with its point before them."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    layers, heads = next(iter(found.values())).shape[:2]
    blocks = [(kind, place) for kind in found for place in range(len(places))]
    with context(["default", STYLE]):
        drawing = Figure(figsize=(_SIDE * (heads + 1) + 0.5, _SIDE * layers * len(blocks) + 0.3 * len(blocks)))
        parts = drawing.subfigures(len(blocks), 1, squeeze=False)[:, 0]
        for part, (kind, place) in zip(parts, blocks, strict=True):
            part.suptitle(f"{kind}-correlation of the {places[place].what} patch", fontsize="medium")
            areas = part.subplots(layers, heads + 1, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
            for layer in range(layers):
                _show(areas[layer, 0], np.asarray(pixels), places[place] if layer == 0 else None)
                areas[layer, 0].set_ylabel(f"layer {layer + 1}")
                for head in range(heads):
                    rows = found[kind][layer, head, place].numpy()
                    _show(areas[layer, head + 1], _laid_over(pixels, rows), places[place])
                    if layer == 0:
                        areas[layer, head + 1].set_title(f"head {head + 1}", fontsize="small", pad=2)
    return drawing


def _show(area: Any, panel: NDArray[Any], place: Patch | None) -> None:
    area.imshow(panel, interpolation="nearest")
    if place is not None:
        height, width = panel.shape[:2]
        area.plot(place.across * width, place.down * height, "o", color="red", markersize=2.5, markeredgewidth=0)
    area.set_xticks([])
    area.set_yticks([])


def _laid_over(pixels: Image.Image, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A correlation (H, W), from 0 to its largest value, over the image in grey."""
    grey = np.asarray(pixels.convert("L").convert("RGB"), np.float32)
    shares = np.asarray(Image.fromarray(rows / max(rows.max(), 1e-12)).resize(pixels.size, Image.Resampling.BILINEAR))
    opacity = (0.25 + 0.65 * np.sqrt(np.clip(shares, 0, 1)))[..., None]
    return np.round(grey * (1 - opacity) + coloured(np.clip(shares, 0, 1)) * opacity).astype(np.uint8)

"""The figures that a report can draw: Figure 5 of the paper, and the same for other parameters of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fod_bench.paper.forms import PARAMETERS

Scale = Literal["log", "linear", "names"]


@dataclass(frozen=True)
class Panel:
    """One plot of a figure."""

    parameter: str
    """Beginning of the rows' names, before `=`."""
    label: str
    scale: Scale


@dataclass(frozen=True)
class DrawnFigure:
    """A figure drawn from one table of the paper."""

    table: int
    title: str
    panels: tuple[Panel, ...]


COMPARED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("patch-only", ("Patch-only", "patch/none/none/rec")),
    ("full", ("FOD", "patch+intra+inter/entropy/mean/rec_div")),
)
"""The two maps of Figures 1, 3 and 6: what each is called, and names of the rows that give it."""


@dataclass(frozen=True)
class ImageFigure:
    """A figure of test images with their maps."""

    images: int
    """How many are shown."""
    across: bool
    """Whether an image is a column, or a row."""
    dataset: str
    """Layout of the data set that the paper shows; another is taken where a job has none of it."""


IMAGE_FIGURES = {
    1: ImageFigure(4, False, "mvtec"),
    3: ImageFigure(5, True, "mvtec"),
    6: ImageFigure(10, True, "mvtec3d"),
}

CORRELATIONS_DATASET = "mvtec3d"
"""Layout of the data set of Figure 4; as `ImageFigure.dataset`."""

FIGURES = {
    "lambda": DrawnFigure(
        11,
        "Loss weights λ1 and λ2 (the paper's Figure 5)",
        (Panel("lambda1", PARAMETERS["lambda1"], "log"), Panel("lambda2", PARAMETERS["lambda2"], "log")),
    ),
    "heads": DrawnFigure(12, "Heads of the attention", (Panel("heads", "number of heads", "linear"),)),
    "layers": DrawnFigure(13, "Layers of the network", (Panel("layers", "number of layers", "linear"),)),
    "levels": DrawnFigure(14, "Feature levels", (Panel("levels", "levels, by their reduction", "names"),)),
}

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

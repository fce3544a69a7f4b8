"""Figures of a paper that show images: maps side by side, and what patches are correlated with."""

from fod_bench.predict.figures.compare import draw_maps
from fod_bench.predict.figures.correlations import draw_correlations
from fod_bench.predict.figures.files import FORMATS, figure_paths

__all__ = ["FORMATS", "draw_correlations", "draw_maps", "figure_paths"]

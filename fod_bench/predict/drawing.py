"""Score maps over images: one scale, transparent where pixels are as usual, an edge where they are beyond normal ones."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from fod_bench.predict.prediction import Prediction

COLOURS = np.array(
    [
        (0, 0, 4),
        (40, 11, 84),
        (101, 21, 110),
        (159, 42, 99),
        (212, 72, 66),
        (245, 125, 21),
        (250, 193, 39),
        (252, 255, 164),
    ],
    np.float32,
)
"""Of the scale from its beginning to its end, evenly spaced: matplotlib's `inferno`, which rises in lightness throughout and is
told apart by everybody."""
_OPACITY = 0.75
"""Of the map where it is at the scale's end; 0 at its beginning."""
_EDGE = (0, 255, 255)
_SHOWN = 320
"""Pixels of the longer side of what a notebook shows."""


def relative(values: NDArray[np.floating], scale: tuple[float, float]) -> NDArray[np.float32]:
    """Values as shares of the scale, cut to [0, 1]; NaN stays."""
    low, high = scale
    span = high - low
    shares = (values - low) / span if span > 0 else np.zeros_like(values)
    return np.clip(shares, 0, 1).astype(np.float32)


def coloured(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (..., 3), 0 to 255, of shares in [0, 1]; NaN is the scale's beginning."""
    places = np.nan_to_num(shares) * (len(COLOURS) - 1)
    low = np.minimum(places.astype(np.intp), len(COLOURS) - 2)
    between = (places - low)[..., None]
    mixed: NDArray[np.float32] = COLOURS[low] * (1 - between) + COLOURS[low + 1] * between
    return mixed


def overlay(image: Image.Image, values: NDArray[np.floating], scale: tuple[float, float]) -> Image.Image:
    """An image with a map (height, width) of its size over it.

    The map is the more opaque the higher it is on its scale. A line goes along the middle of the scale, which is the highest that
    normal pixels reach (see `NormalScores.scale`).
    """
    shares = relative(values, scale)
    opacity = (_OPACITY * np.sqrt(np.nan_to_num(shares)))[..., None]
    pixels = np.asarray(image.convert("RGB"), np.float32)
    mixed = pixels * (1 - opacity) + coloured(shares) * opacity
    mixed[_edge(np.nan_to_num(shares) > 0.5, max(1, round(max(image.size) / 256)))] = _EDGE
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def _edge(inside: NDArray[np.bool_], thickness: int) -> NDArray[np.bool_]:
    """Pixels of an area at its border, so many deep; the image's own border is none."""
    from scipy.ndimage import binary_erosion

    kept: NDArray[np.bool_] = binary_erosion(inside, iterations=thickness, border_value=1)
    return inside & ~kept


def png(image: Image.Image) -> bytes:
    """A drawing as the content of a PNG file; equal drawings give equal bytes."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def verdict(prediction: Prediction) -> str:
    """Score and decision in words."""
    if prediction.threshold is None:
        return f"score {prediction.score:.4g}"
    word = "anomalous" if prediction.anomalous else "normal"
    return f"{word}: score {prediction.score:.4g}, threshold {prediction.threshold:.4g}"


def prediction_html(prediction: Prediction) -> str:
    """Overlay and verdict, for a notebook."""
    drawn = prediction.overlay()
    drawn.thumbnail((_SHOWN, _SHOWN))
    source = base64.b64encode(png(drawn)).decode()
    name, said = html.escape(prediction.name), html.escape(verdict(prediction))
    return (
        f'<figure style="display:inline-block;margin:0.5em"><img src="data:image/png;base64,{source}" alt="{name}, {said}">'
        f"<figcaption>{name}<br>{said}</figcaption></figure>"
    )


def plot_prediction(prediction: Prediction, axes: Any = None) -> Any:
    """The overlay in axes of matplotlib, new ones where none are given."""
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots()
    axes.imshow(np.asarray(prediction.overlay()))
    axes.set_axis_off()
    axes.set_title(f"{prediction.name}\n{verdict(prediction)}", fontsize="small")
    return axes

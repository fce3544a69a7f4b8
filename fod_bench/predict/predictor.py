"""A trial's detector on images of any size: read, made squares, passed through the backbone, scored.

Batches are those of extraction and evaluation, `EXTRACTED` images through the backbone and `EVALUATED` through the detector, so
that a trial's own test images, given in its order, score to the same bits as when it was evaluated. In other company the last
digits may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fod_bench.datasets import Resize, normalised, square
from fod_bench.datasets.images import MAX_PIXELS
from fod_bench.errors import DatasetError, FodBenchError, UsageError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.backbone import Backbone
from fod_bench.features.extract import BATCH as EXTRACTED
from fod_bench.machine.system import cores
from fod_bench.methods.base import Batch, Detector
from fod_bench.predict.prediction import ImageLike, Prediction, Unreadable, read_image
from fod_bench.records.checkpoints import State
from fod_bench.records.normal import QUANTILE, NormalScores
from fod_bench.records.record import Record
from fod_bench.trials.scores import BATCH as EVALUATED
from fod_bench.trials.scores import scorings

__all__ = ["EXTRACTED", "Predictor"]


class _Square(NamedTuple):
    """An image that was read."""

    name: str
    image: ImageLike
    size: tuple[int, int]
    pixels: NDArray[np.uint8]
    """(s, s, 3)."""


class Predictor:
    """Scores images by a finished trial; made by `load_detector`."""

    def __init__(
        self,
        record: Record,
        detector: Detector,
        *,
        name: str,
        score: str,
        epoch: str,
        device: torch.device,
        resize: Resize,
        backbone: Backbone | None,
        forms: Sequence[str],
        anchors: State,
        training_scores: Callable[[Predictor], NormalScores],
    ) -> None:
        self.record, self.detector = record, detector
        self.name = name
        """`row/dataset/category`."""
        self.score_name = score
        """The scoring, e.g. `rec@8+16`."""
        self.epoch = epoch
        """`last`, `best_image` or `best_pixel`."""
        self.device, self.resize = device, resize
        self.max_pixels = MAX_PIXELS
        """Pixels of the largest image that is read."""
        self.threshold_from = ""
        """Where the threshold comes from, in words."""
        self.backbone = backbone
        """That gives the features; None where the method works on images alone."""
        self.forms = frozenset(forms)
        """Of images, that the method works on; fields of `Batch`."""
        self.anchors = anchors
        """See `fod_bench.methods.base.Anchored`."""
        self._training_scores = training_scores
        self._normal: NormalScores | None = None
        self._quantile = QUANTILE
        self._threshold: float | None = None

    def predict(
        self, images: Iterable[ImageLike] | ImageLike, batch: int = EXTRACTED, decide: bool = True
    ) -> Iterator[Prediction]:
        """Predictions of images, in their order, while they are read.

        Args:
            images: files' paths, images of Pillow's or arrays, see `ImageLike`; or a single one.
            batch: images that pass through the networks together. The answer to an image comes with those of its batch.
            decide: whether to say which are anomalous, for which a threshold is taken where none was given, see `threshold`.

        Raises:
            DatasetError: an image cannot be read; `try_each` goes on instead.
            FodBenchError: there is no threshold to be had; set one, or do without by `decide`.
        """
        for found in self.try_each(images, batch, decide=decide):
            if isinstance(found, Unreadable):
                raise DatasetError(found.reason)
            yield found

    def try_each(
        self, images: Iterable[ImageLike] | ImageLike, batch: int = EXTRACTED, *, ahead: int = 2, decide: bool = True
    ) -> Iterator[Prediction | Unreadable]:
        """As `predict`, with an `Unreadable` in the place of an image that cannot be read.

        `ahead`: batches that are read while one passes through the networks; with 0 no image is asked for before it is needed.
        """
        threshold = self.threshold if decide else None
        scale = None if self._normal is None else self._normal.scale(self._quantile)
        for read in _batches(images, self.resize, batch, ahead, self.max_pixels):
            squares = [one for one in read if isinstance(one, _Square)]
            scored = iter(self._predictions(squares, threshold, scale) if squares else ())
            for one in read:
                yield next(scored) if isinstance(one, _Square) else one

    def _predictions(
        self, squares: Sequence[_Square], threshold: float | None, scale: tuple[float, float] | None
    ) -> Iterator[Prediction]:
        found = self.score(np.stack([one.pixels for one in squares]))
        scores, maps = found.images.double().cpu().numpy(), found.pixels.float().cpu().numpy()
        for one, score, own in zip(squares, scores, maps, strict=True):
            if not (np.isfinite(score) and np.isfinite(own).all()):
                raise FodBenchError(f"{self.name}: the detector gives no finite score for {one.name}")
            shown = scale or (float(own.min()), float(own.max()))
            yield Prediction(
                one.name, float(score), threshold, own, shown, one.size, self.resize, one.image, self.max_pixels
            )

    def score(self, pixels: NDArray[np.uint8]) -> ScoreMaps:
        """Maps (n, s, s) and scores (n,), on the detector's device, of images that are squares (n, s, s, 3) already."""
        return self.scored(self.parts(pixels))

    def parts(self, pixels: NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the detector gives of squares (n, s, s, 3), see `Detector.parts`."""
        whole, found = self.batch(pixels), []
        for start in range(0, len(pixels), EVALUATED):
            found.append(self.detector.parts(_some(whole, slice(start, start + EVALUATED))))
        return {name: torch.cat([parts[name] for parts in found]) for name in found[0]}

    def batch(self, pixels: NDArray[np.uint8]) -> Batch:
        """Squares (n, s, s, 3) in the forms that the detector takes, on its device."""
        forms: dict[str, dict[int, Tensor]] = {}
        if self.backbone is not None:
            inputs = torch.from_numpy(np.stack([normalised(one) for one in pixels])).to(self.device)
            maps = self.backbone.maps_of(inputs)
            for form in self.forms - {"images"}:
                levels = self.backbone.features(maps, pooled=form == "pooled")
                forms[form] = dict(zip(self.backbone.levels, (values.contiguous() for values in levels), strict=True))
        images = torch.from_numpy(pixels).to(self.device) if "images" in self.forms else None
        return Batch(**forms, images=images)

    def scored(self, parts: dict[str, Tensor]) -> ScoreMaps:
        """Maps and scores from what the detector gave."""
        return next(scorings(self.record, parts, self.score_name, self.anchors))

    @property
    def threshold(self) -> float:
        """Above it an image counts as anomalous. Unless set before, the 0.995 quantile of the training images' scores, which a
        detector scores lower than other normal images: more than one in 200 of these will be above it.

        Raises `FodBenchError` where neither the training images' scores nor what they could be made of is in the store.
        """
        if self._threshold is None:
            self.take_training_images()
        assert self._threshold is not None
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not np.isfinite(value):
            raise UsageError(f"a threshold is a finite number, not {value}")
        self._threshold, self.threshold_from = float(value), "given"

    def take_training_images(self, quantile: float = QUANTILE) -> None:
        """Take the threshold from the training images' scores. Raises as `threshold`, and `UsageError` for no share of 0 to 1."""
        _require_share(quantile)
        self._take(self._training_scores(self), quantile, "training images, which the detector has seen")

    def take_good_images(
        self, images: Iterable[ImageLike], quantile: float = QUANTILE, what: str = "good images"
    ) -> None:
        """Take the threshold from images that are known to be normal and were not trained on.

        Raises `DatasetError` for one that cannot be read, `UsageError` where there are none or `quantile` is no share of 0 to 1.
        """
        _require_share(quantile)
        found = list(self.predict(images, decide=False))
        if not found:
            raise UsageError("a threshold from good images needs one of them at least")
        self._take(
            NormalScores(
                key=self.record.key,
                scores=[one.score for one in found],
                medians=[float(np.median(one.map)) for one in found],
                maxima=[float(one.map.max()) for one in found],
            ),
            quantile,
            what,
        )

    def _take(self, normal: NormalScores, quantile: float, what: str) -> None:
        self._normal, self._quantile = normal, quantile
        self._threshold = normal.threshold(quantile)
        self.threshold_from = f"{quantile:g} quantile of {len(normal.scores)} {what}"

    def show_on_training_scale(self) -> bool:
        """Draw maps on the scale of the training images, whatever the threshold; False where their scores cannot be had."""
        try:
            self._normal = self._training_scores(self)
        except FodBenchError:
            return False
        return True


def _require_share(quantile: float) -> None:
    """Before anything is scored for it."""
    if not 0 <= quantile <= 1:
        raise UsageError(f"a quantile is between 0 and 1, not {quantile}")


def _some(images: Batch, chosen: slice) -> Batch:
    """Some of the images, always as a copy in torch's own memory: see `Split.batch`."""
    pooled, unpooled = (
        {level: values[chosen].clone() for level, values in levels.items()}
        for levels in (images.pooled, images.unpooled)
    )
    return Batch(pooled, unpooled, None if images.images is None else images.images[chosen].clone())


def _batches(
    images: Iterable[ImageLike] | ImageLike, resize: Resize, size: int, ahead: int, max_pixels: int
) -> Iterator[list[_Square | Unreadable]]:
    """Images that were read, in order, `size` at a time."""
    if size < 1:
        raise UsageError(f"a batch is of one image at least, not {size}")
    many = [images] if isinstance(images, str | bytes | np.ndarray) or not isinstance(images, Iterable) else images
    waiting = enumerate(many, 1)

    def read(numbered: tuple[int, ImageLike]) -> _Square | Unreadable:
        number, image = numbered
        name = str(image) if isinstance(image, str | PathLike) else f"image {number}"
        try:
            upright = read_image(image, name, max_pixels)
            return _Square(name, image, upright.size, square(upright, resize))
        except (DatasetError, ValueError) as error:
            return Unreadable(name, " ".join(str(error).split()))

    with ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="read-image") as pool:
        pending = [pool.submit(read, one) for one in islice(waiting, size * (1 + ahead))]
        try:
            while pending:
                yield [future.result() for future in pending[:size]]
                del pending[:size]
                pending += [pool.submit(read, one) for one in islice(waiting, size * (1 + ahead) - len(pending))]
        finally:
            for future in pending:
                future.cancel()

"""PaDiM as a method: Gaussians fitted in blocks of positions, images scored by their distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Batch, Context, Split
from fod_bench.methods.maps import gaussian, upsample
from fod_bench.methods.padim.gaussian import (
    NoGaussianError,
    distances,
    fit,
    kept_channels,
    packed,
    repeats,
    unpacked,
    vectors,
)
from fod_bench.methods.padim.graph import SIGMA, PadimGraph
from fod_bench.methods.padim.settings import positions_per_step
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_SCORE = score_name("score", ())


class PadimDetector:
    """See `fod_bench.methods.base.Detector`. Holds means (P, d), Cholesky factors (P, d, d), and which d channels they are of."""

    def __init__(self, levels: Sequence[int], channels: Tensor, mean: Tensor, factor: Tensor) -> None:
        self._levels = levels
        self.channels = channels
        self.mean = mean
        self.factor = factor
        self._positions = torch.arange(len(mean), device=mean.device)

    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`distance` (n, H, W) on the grid of the finest level, not squared."""
        features = {level: images.unpooled[level] for level in self._levels}
        height, width = features[self._levels[0]].shape[1:3]
        if height * width != len(self.mean):
            raise ValueError(f"images of {height}×{width} positions; the Gaussians are of {len(self.mean)}")
        samples = vectors(features, self.channels, self._positions)  # (n, P, d)
        return {"distance": distances(samples, self.mean, self.factor).unflatten(1, (height, width))}


class PadimMethod:
    """See `fod_bench.methods.base.Method`. There is no chance in the fitting: the seed makes no difference."""

    loss_names: Sequence[str] = ()
    epochs = 1
    primary_score = _SCORE
    networks: Sequence[nn.Module] = ()
    """None: nothing is trained."""

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        self._levels: list[int] = sorted(setting["levels"])
        self._train = {level: as_tensor(train.unpooled[level]) for level in self._levels}
        self._device = device
        self.batch_size = len(train)
        if len(train) < 2:
            raise TrialError("a covariance over the training images needs two of them at least, and there is one")
        height, width = self._train[self._levels[0]].shape[1:3]
        total = sum(features.shape[3] for features in self._train.values())
        keep = total if setting["channels"] == "all" else setting["channels"]
        try:
            for features in self._train.values():
                repeats((features.shape[1], features.shape[2]), (height, width))
            chosen = (
                list(range(total)) if keep == total else kept_channels(total, keep, setting.get("channels_seed", 0))
            )
        except ValueError as error:
            raise TrialError(str(error)) from None
        self._width = width
        self._channels = torch.tensor(chosen)  # (d,)
        self._block = positions_per_step(len(train), keep)
        self.steps_per_epoch = -(-height * width // self._block)
        # A position that is not fitted yet has the standard Gaussian.
        self._mean = torch.zeros(height * width, keep, device=device)
        self._factor = torch.eye(keep, device=device).repeat(height * width, 1, 1)  # (P, d, d)

    def step(self, epoch: int, step: int) -> Tensor:
        """Fit the Gaussians of one block of positions. Raises `TrialError` for features that have none."""
        positions = torch.arange(len(self._mean))[step * self._block : (step + 1) * self._block]
        samples = vectors(self._train, self._channels, positions).to(self._device)
        try:
            mean, factor = fit(samples)
        except NoGaussianError as error:
            row, column = divmod(int(positions[error.place]), self._width)
            raise TrialError(
                f"training features at row {row}, column {column} of the grid have no Gaussian: they are not finite, or so large "
                "that their covariance is lost in rounding"
            ) from None
        block = slice(int(positions[0]), int(positions[-1]) + 1)
        self._mean[block], self._factor[block] = mean.float(), factor.float()
        return torch.empty(0, device=self._device)

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch == self.epochs

    def detector(self) -> PadimDetector:
        """See `Method`."""
        return PadimDetector(self._levels, self._channels.to(self._device), self._mean, self._factor)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> PadimDetector:
        """See `Method`."""
        d = weights["channels"].size if "channels" in weights else 0
        keep = setting["channels"] if setting["channels"] != "all" else d
        positions = len(weights["mean"]) if "mean" in weights and weights["mean"].ndim else 0
        _check(weights, positions, keep)
        mean, factor = as_tensor(weights["mean"]), unpacked(as_tensor(weights["factor"]), keep)
        channels = as_tensor(weights["channels"]).to(device, copy=True)
        return PadimDetector(sorted(setting["levels"]), channels, mean.to(device, copy=True), factor.to(device))

    @classmethod
    def graph(cls, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State) -> PadimGraph:
        """See `Exportable`."""
        detector = cls.load_detector(setting, weights, context, torch.device("cpu"))
        return PadimGraph(
            sorted(setting["levels"]), detector.channels, detector.mean, detector.factor, context.image_size
        )

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """The distances as maps, bilinear and blurred by a Gaussian of 4 pixels; an image's score is its map's largest value."""
        maps = gaussian(upsample(parts["distance"], image_size, align_corners=False), SIGMA)  # (n, s, s)
        yield ScoreMaps(_SCORE, maps, maps.flatten(1).amax(1))

    def countable(self) -> PadimMethod:
        """See `Costed`."""
        return self

    def state(self) -> State:
        """`mean` (P, d), `factor` (P, d·(d+1)/2): lower halves row by row, `channels` (d,). Fitted blocks need no more."""
        found = {"mean": self._mean, "factor": packed(self._factor), "channels": self._channels}
        return {name: tensor.cpu().numpy().copy() for name, tensor in found.items()}

    def load_state(self, state: State) -> None:
        """See `Method`."""
        _check(state, *self._mean.shape)
        if not np.array_equal(state["channels"], self._channels.numpy()):
            raise ValueError("the state is of another choice of channels")
        self._mean.copy_(as_tensor(state["mean"]))
        self._factor.copy_(unpacked(as_tensor(state["factor"]), self._mean.shape[1]))

    def weights(self) -> State:
        """The state is all that scoring needs, and no more."""
        return self.state()


def _check(state: State, positions: int, keep: int) -> None:
    """Raises ValueError for a state that is not of so many Gaussians in so many channels."""
    expected = {
        "mean": ((positions, keep), np.float32),
        "factor": ((positions, keep * (keep + 1) // 2), np.float32),
        "channels": ((keep,), np.int64),
    }
    given = {name: (array.shape, array.dtype) for name, array in state.items()}
    wrong = [name for name in sorted(given.keys() | expected.keys()) if given.get(name) != expected.get(name)]
    if wrong or not positions:
        name = wrong[0] if wrong else "mean"
        found, right = (
            f"{names[name][0]} of {np.dtype(names[name][1])}" if name in names else "absent"
            for names in (given, expected)
        )
        raise ValueError(f"the state is of other Gaussians: {name} is {found}, not {right}")

"""A detector as the rest of the program knows it: fitted in steps that can be counted, kept as arrays, called on images.

A method is fitted by `Method`. What it has learned scores images as a `Detector`, which knows neither the training nor the test
images; evaluation calls the same object. `scorings` turns a detector's raw scores of a whole test set into maps and image scores.
Shape letters: n images, s the image's side in pixels, H×W the grid of a feature level, C its channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.features.weights import Weights
from fod_bench.records.checkpoints import State


@dataclass(frozen=True)
class Batch:
    """Images as a detector takes them, on its device: of the forms below those that the method's `needs` name."""

    pooled: Mapping[int, Tensor] = field(default_factory=dict)
    """`{stride: (n, H, W, C)}`, features smoothed by a 3×3 mean."""
    unpooled: Mapping[int, Tensor] = field(default_factory=dict)
    """`{stride: (n, H, W, C)}`, features as the backbone gives them."""
    images: Tensor | None = None
    """(n, s, s, 3) of uint8, RGB."""
    reference_rows: Mapping[int, Tensor] = field(default_factory=dict)
    """`{stride: (n, H, W)}` where reference features depend on the image: the rows of the reference table that were found for
    these images before. A detector finds them itself where they are not given."""

    def __len__(self) -> int:
        return next(len(array) for array in _arrays(self))


@dataclass(frozen=True)
class Split:
    """The images of a split, in memory that is read only and shared with other trials. Forms and shapes as in `Batch`."""

    pooled: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    unpooled: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    images: NDArray[np.uint8] | None = None
    reference_rows: Mapping[int, NDArray[np.int32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return next(len(array) for array in _arrays(self))

    def batch(self, chosen: slice, device: torch.device) -> Batch:
        """Some of the images on a device. They are copied into torch's own aligned memory: where shared arrays happen to lie
        would change the last bits of a product on a CPU."""

        def taken(array: NDArray[Any]) -> Tensor:
            return as_tensor(array[chosen]).to(device, copy=True)

        return Batch(
            {level: taken(array) for level, array in self.pooled.items()},
            {level: taken(array) for level, array in self.unpooled.items()},
            None if self.images is None else taken(self.images),
            {level: taken(array) for level, array in self.reference_rows.items()},
        )


def _arrays(images: Batch | Split) -> Iterator[Any]:
    yield from images.pooled.values()
    yield from images.unpooled.values()
    if images.images is not None:
        yield images.images


@dataclass(frozen=True)
class Context:
    """What a detector stands on beside its own weights: the category's references, and a frozen network that it runs itself."""

    image_size: int
    reference: Any = None
    """Reference features, of the method's own kind; None where it needs none."""
    network: Weights | None = None
    """Weights of the backbone that the method runs itself, of `Needs.network`; None where it needs none."""


class Detector(Protocol):
    """Scores images by what was learned from a category. Made from weights and a context; holds no training or test images."""

    def parts(self, images: Batch) -> dict[str, Tensor]:
        """Raw scores, each (n, ...): maps in the resolution in which the method makes them, or numbers of an image, float32.

        What they are for an image may not depend on the other images of the batch. They are kept beside the record, so they are
        as few and small as `scorings` allows.
        """
        ...


class Method(Protocol):
    """A detector being fitted to one category. A trial makes it, then calls `step` for every step of every epoch.

    A class may derive from it, and then has the defaults that stand here: those of a method that goes through its images once.
    """

    loss_names: Sequence[str] = ()
    """Names of the numbers `step` returns, the first being the one worth watching; none where there is no loss."""
    epochs: int = 1
    """Epochs of the fitting; one for a method that is through with its data in one."""
    steps_per_epoch: int = 1
    primary_score: str
    """The method's own scoring, by which the best epochs are chosen: a name that `scorings` gives."""
    no_graph: ClassVar[str] = ""
    """Why a method that is not `Exportable` cannot be, for people."""

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        """`setting`: what the settings' `training` gave. Raises `TrialError` for what cannot be done with these data here."""
        ...

    def step(self, epoch: int, step: int) -> Tensor:
        """Take one step, both counted from 0; the losses (len(loss_names),) stay on the device."""
        ...

    def evaluates_after(self, epoch: int) -> bool:
        """Whether scores are to be taken when so many epochs are over; always after the last."""
        return epoch == self.epochs

    def detector(self) -> Detector:
        """What has been learned so far, by reference: it scores as the method stands when it is called."""
        ...

    @classmethod
    def load_detector(cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device) -> Detector:
        """The detector of kept weights. Raises ValueError for weights that are not of this setting."""
        ...

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """Maps and image scores of a set of images from what `Detector.parts` gave of them, under one scoring after the other.
        Where `only` names one, the others can be left out."""
        ...

    def state(self) -> State:
        """Copies of everything that the fitting needs to go on to the bit."""
        ...

    def load_state(self, state: State) -> None:
        """Go on from what `state` or `weights` returned. Raises ValueError, with nothing changed, for one that does not fit."""
        ...

    def weights(self) -> State:
        """Copies of what scoring needs: the part of the state worth keeping when the fitting is over. By default all of it."""
        return self.state()


class Pack(Protocol):
    """Several methods that take their steps together, their networks side by side. Each goes on being whole by itself."""

    @property
    def together(self) -> int:
        """Most of them that shared the last step."""
        ...

    def step(self, moves: Sequence[tuple[int, int]]) -> list[Tensor | torch.cuda.OutOfMemoryError]:
        """One step of each, by `(epoch, step)` as in `Method.step`: its losses, or why it, and no other, cannot go on."""
        ...


@runtime_checkable
class Packable(Protocol):
    """Ability of a method: several can take their steps together. Its settings' `pack_key` names those that can."""

    kind: Hashable
    """Methods of one class and equal kind can be packed."""

    @classmethod
    def pack(cls, methods: Sequence[Any]) -> Pack:
        """Have several of this class and of one kind take their steps together; one that is packed anew leaves its old pack."""
        ...


@runtime_checkable
class Preparable(Protocol):
    """Ability of a detector: what its scores need and no image changes can be computed once for many calls."""

    def prepared(self) -> Detector:
        """A detector that gives the same and has computed that. It stands for what has been learned so far, and no more."""
        ...


@runtime_checkable
class Anchored(Protocol):
    """Ability of a method's class: its `scorings` compare the images of a test set with each other. With anchors, taken once of the
    test set, an image is scored by itself, and one of the test set as it was among the others."""

    def anchors(self, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int) -> State:
        """What images are compared with, from the parts of a whole test set; nothing where a setting compares none."""
        ...

    def anchored(
        self, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, anchors: State, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Method.scorings`: of any images, held against the anchors."""
        ...


@runtime_checkable
class Correlating(Protocol):
    """Ability of a detector: it can tell what places of an image are correlated with."""

    def correlations(self, images: Batch, places: Sequence[tuple[float, float]]) -> dict[str, Tensor]:
        """Of places of the first image, (down, across) as shares of its sides below 1, what each is correlated with:
        `{name of a kind: (layers, heads, places, H, W)}` on the kind's grid; every (H, W) sums to one."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """Ability of a method's class: what it has learned can be written as one graph of plain operations, for other programs."""

    def graph(self, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State) -> nn.Module:
        """A module that makes of a `Batch` of any number of images the maps (n, s, s) and image scores (n,), as a tuple, that
        `load_detector` and `scorings` make under the scoring `score`. Images come as float32, 0 to 255. All is float32, on a CPU,
        of operations that torch can trace.

        Raises `TrialError` for what has no such graph, with the reason.
        """
        ...


@runtime_checkable
class Costed(Protocol):
    """Ability of a method: its cost can be measured. Its settings say so by `costed`."""

    batch_size: int
    """Images of a step."""
    networks: Sequence[nn.Module]
    """What is trained."""

    def countable(self) -> Any:
        """This method, on the CPU, by operations that torch's counter sees, which are the same as those of any device's own
        kernels."""
        ...

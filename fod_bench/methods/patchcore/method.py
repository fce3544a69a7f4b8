"""PatchCore as a method: patches are embedded and projected, a coreset of them is picked, the picked ones are kept in full."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.features.offered import backbone_strides
from fod_bench.machine.memory import available_memory
from fod_bench.methods.base import Context, Split
from fod_bench.methods.coreset import GreedyCoreset, farthest_from_mean, mean_distances
from fod_bench.methods.patchcore.detector import SCORE, PatchCoreDetector, scorings
from fod_bench.methods.patchcore.embedding import Embedding
from fod_bench.methods.patchcore.graph import PatchCoreGraph
from fod_bench.methods.patchcore.stages import IMAGES_PER_STEP, PICKS_PER_STEP, Stages, coreset_size, no_row
from fod_bench.records.checkpoints import State

_STARTS = 10
"""Patches to which the approximate rule's distances begin."""


def draw_projection(dimensions: int, numbers: int, generator: torch.Generator) -> Tensor:
    """A random projection (dimensions, D) of the official code's kind: uniform between ±1/√D, dense."""
    return (torch.rand(dimensions, numbers, generator=generator) * 2 - 1) / math.sqrt(numbers)


def draw_starts(rows: int, generator: torch.Generator) -> Tensor:
    """Different rows (≤ 10,) to begin the approximate rule with."""
    return torch.randperm(rows, generator=generator)[:_STARTS]


class PatchCore:
    """See `fod_bench.methods.base.Method`. `setting` is what `PatchCoreSettings.training` gave."""

    loss_names: Sequence[str] = ()
    epochs = 1
    primary_score = SCORE
    batch_size = 1
    networks: Sequence[nn.Module] = ()

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        self._setting, self._train, self._device = setting, train, device
        self._embedding = Embedding(setting)
        levels = train.unpooled if self._embedding.official else train.pooled
        images, height, width, _ = levels[self._embedding.levels[0]].shape
        ratio: float = setting["coreset_ratio"]
        problem = no_row(images, height, width, ratio)
        if problem is not None:
            raise TrialError(problem)
        self._images, self._patches = images, height * width
        self._dimension = self._embedding.dimension({level: array.shape[-1] for level, array in levels.items()})
        self._count = coreset_size(images * self._patches, ratio)
        self._stages = Stages.of(images, images * self._patches, ratio)
        self.steps_per_epoch = sum(self._stages)
        # Drawn for the selection alone, the same wherever it is gone on with.
        generator = torch.Generator().manual_seed(seed)
        projection = setting.get("projection", "none")
        self._projection: Tensor | None = None
        if projection != "none" and projection < self._dimension:
            self._projection = draw_projection(projection, self._dimension, generator).to(device)
        self._starts = draw_starts(images * self._patches, generator)
        self._refuse_what_does_not_fit()
        self._begin()

    def _begin(self) -> None:
        """As before the first step."""
        self._points: Tensor | None = None  # (N, d), patches as the selection sees them
        self._embedded = 0  # images whose patches they hold
        self._centred = False  # whether they are around their mean
        self._selection: GreedyCoreset | None = None
        self._memory: Tensor | None = None  # (M, D)
        self._gathered = 0  # images whose picked patches it holds

    def step(self, epoch: int, step: int) -> Tensor:
        """Embed the patches of some images, pick some of the coreset, or gather what was picked; no losses (0,)."""
        if step == 0:
            self._begin()
        embedding, selection, _ = self._stages
        if step < embedding:
            self._embed_until((step + 1) * IMAGES_PER_STEP)
        elif step < embedding + selection:
            self._pick_until((step - embedding + 1) * PICKS_PER_STEP)
        else:
            self._gather_until((step - embedding - selection + 1) * IMAGES_PER_STEP)
        return torch.empty(0, device=self._device)

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`: after its only one."""
        return epoch == self.epochs

    def _embed_until(self, images: int) -> Tensor:
        """The patches (N, d) of the first so many images, and of others, as the selection sees them."""
        width = self._dimension if self._projection is None else len(self._projection)
        if self._points is None:
            self._points = torch.empty(self._images * self._patches, width, device=self._device)
        while self._embedded < min(images, self._images):
            patches = self._of_image(self._embedded)  # (H·W, D)
            place = self._points[self._embedded * self._patches :][: self._patches]
            place.copy_(patches if self._projection is None else patches @ self._projection.T)
            self._embedded += 1
        return self._points

    def _pick_until(self, count: int) -> None:
        if self._selection is None:
            self._selection = self._new_selection()
        self._selection.advance(count)
        if self._selection.exhausted and count - PICKS_PER_STEP < len(self._selection.picks) < min(count, self._count):
            warnings.warn(
                f"the memory has {len(self._selection.picks)} rows, not {self._count}: all other patches equal one of them",
                stacklevel=2,
            )

    def _new_selection(self) -> GreedyCoreset:
        """A selection before its first pick."""
        points = self._centred_points()
        approximate = self._setting["coreset"] == "approximate"
        start = mean_distances(points, self._starts) if approximate else farthest_from_mean(points)
        return GreedyCoreset(points, self._count, start, repeats=False)

    def _centred_points(self) -> Tensor:
        """The patches (N, d) of all images, around their mean. Raises `TrialError` for features that are not finite."""
        points = self._embed_until(self._images)
        if not self._centred:
            mean = points.mean(0)
            if not mean.isfinite().all():
                raise TrialError("features of the training images are not finite, so that no distance between them is")
            points.sub_(mean)
            self._centred = True
        return points

    def _gather_until(self, images: int) -> None:
        """Keep in full what was picked of the first so many images; after the last nothing else is needed."""
        picks = self._picks()
        if self._memory is None:
            self._memory = torch.empty(len(picks), self._dimension, device=self._device)
        while self._gathered < min(images, self._images):
            self._gather(self._memory, picks, self._gathered)
            self._gathered += 1
        if self._gathered == self._images:
            self._points = self._selection = None

    def _gather(self, memory: Tensor, picks: Tensor, image: int) -> None:
        """Put those of the picked patches that are of an image where they belong."""
        places = torch.nonzero(picks // self._patches == image)[:, 0]
        if len(places):
            rows = (picks[places] % self._patches).to(self._device)
            memory[places.to(self._device)] = self._of_image(image)[rows]

    def _picks(self) -> Tensor:
        """Places (k,) of the memory's rows among all training patches, as far as they are known."""
        if self._setting["coreset_ratio"] == 1 or (self._selection is None and self._setting.get("measure") == "cost"):
            return torch.arange(self._count)  # costs do not depend on which they are
        return self._selection.picks if self._selection is not None else torch.empty(0, dtype=torch.int64)

    def _of_image(self, image: int) -> Tensor:
        """The patches (H·W, D) of a training image."""
        batch = self._train.batch(slice(image, image + 1), self._device)
        levels = batch.unpooled if self._embedding.official else batch.pooled
        return self._embedding({level: levels[level][0] for level in self._embedding.levels})

    def _rows(self) -> Tensor:
        """The memory (M, D): what is picked so far, before all is."""
        if self._memory is not None and self._gathered == self._images:
            return self._memory
        picks = self._picks()
        memory = torch.empty(len(picks), self._dimension, device=self._device)
        for image in range(self._images):
            self._gather(memory, picks, image)
        return memory

    def detector(self) -> PatchCoreDetector:
        """See `Method`. Raises `TrialError` before the first pick."""
        rows = self._rows()
        if not len(rows):
            raise TrialError("no patch is in the memory yet; it is filled after the training images were embedded")
        return PatchCoreDetector(self._setting, rows)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> PatchCoreDetector:
        """See `Method`."""
        dimension = setting["target_dimension"] if setting["embedding"] == "official" else None
        _check_memory(weights, dimension)
        return PatchCoreDetector(setting, as_tensor(weights["memory"]).to(device, copy=True))

    @classmethod
    def graph(
        cls, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State
    ) -> PatchCoreGraph:
        """See `Exportable`."""
        dimension = setting["target_dimension"] if setting["embedding"] == "official" else None
        _check_memory(weights, dimension)
        strides = backbone_strides(setting["backbone"])
        channels = [strides[level] for level in sorted(setting["levels"])]
        return PatchCoreGraph(setting, as_tensor(weights["memory"]).clone(), channels, context.image_size)

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Method`."""
        return scorings(parts, image_size)

    def weights(self) -> State:
        """`memory` (M, D), whole patches in the order in which they were picked."""
        return {"memory": self._rows().cpu().numpy().copy()}

    def state(self) -> State:
        """The selection as it stands, or the memory when it is whole. Patches are not kept: going on embeds them again."""
        if self._memory is not None and self._gathered == self._images:
            return self.weights()
        return (
            {"picks": torch.empty(0, dtype=torch.int64).numpy()} if self._selection is None else self._selection.state()
        )

    def load_state(self, state: State) -> None:
        """See `Method`."""
        if "memory" in state:
            _check_memory(state, self._dimension, self._count)
            self._begin()
            self._memory = as_tensor(state["memory"]).to(self._device, copy=True)
            self._gathered = self._images
            return
        if state.keys() == {"picks"} and state["picks"].shape == (0,):
            self._begin()
            return
        if not self._stages.selection:
            raise ValueError(
                "the state holds no `memory`, and where all patches are kept there is no selection to go on with"
            )
        # Where it starts makes no difference to one that has begun.
        selection = GreedyCoreset(self._centred_points(), self._count, 0, repeats=False)
        selection.load_state(state)
        self._selection, self._memory, self._gathered = selection, None, 0

    def countable(self) -> PatchCore:
        """See `Costed`."""
        return self

    def _refuse_what_does_not_fit(self) -> None:
        """Raises `TrialError` when the selection and the memory need more than there is."""
        rows = self._images * self._patches
        width = self._dimension if self._projection is None else len(self._projection)
        needed = 4 * self._count * self._dimension
        if self._stages.selection:
            needed += 4 * (rows * (width + 2) + self._count * width)
        available = available_memory(self._device)
        if available is not None and needed > available:
            raise TrialError(
                f"a memory of {self._count} of {rows} patches needs {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are "
                "there; a smaller `coreset_ratio` or `projection` needs less"
            )


def _check_memory(state: State, dimension: int | None, most: int | None = None) -> None:
    """Raises ValueError for arrays that are not a memory of patches of so many numbers."""
    if state.keys() != {"memory"}:
        raise ValueError(
            f"the weights of a memory of patches are one array `memory`, not {', '.join(sorted(state)) or 'none'}"
        )
    memory = state["memory"]
    if memory.ndim != 2 or memory.dtype != "float32" or not len(memory) or dimension not in (None, memory.shape[1]):
        wanted = f"(rows, {dimension or 'numbers'})"
        raise ValueError(
            f"`memory` is {memory.dtype} of shape {memory.shape}, not float32 of {wanted} with a row at least"
        )
    if most is not None and len(memory) > most:
        raise ValueError(f"`memory` has {len(memory)} rows, and at most {most} are picked of these images")

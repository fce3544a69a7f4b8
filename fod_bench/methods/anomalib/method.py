"""A model of anomalib as a method: its own training steps, taken one by one, its own maps and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.anomalib.build import Model, seeded
from fod_bench.methods.anomalib.loop import Loop
from fod_bench.methods.anomalib.models import MODELS
from fod_bench.methods.anomalib.settings import too_few
from fod_bench.methods.anomalib.state import fill, fill_rest, refuse_other, state_of, weights_of
from fod_bench.methods.anomalib.together import deciding, each, level_parts, maps_beside, maps_of_all
from fod_bench.methods.base import Batch, Context, Method, Split
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_SCORE = score_name("score", ())
_POSITION = "position"


class AnomalibDetector:
    """See `fod_bench.methods.base.Detector`."""

    def __init__(self, model: Callable[[], Model]) -> None:
        self._model = model

    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`score` (n,), and `map` (n, s, s) where the model gives one; or what `level_parts` tells."""
        assert images.images is not None, "the program gives what `needs` names"
        model = self._model()
        given = model.prepared(images.images)
        # leaving inference mode turns gradients on, so they are turned off after it
        with torch.inference_mode(False), torch.no_grad(), _float32(), model.scoring():
            given = given.clone()  # made outside, perhaps in inference mode
            if model.kind.scores_together:
                return level_parts(model, given)
            found = model.module.model(given)
        parts = {"score": found.pred_score.float().reshape(len(given))}
        if model.kind.scores_maps:
            parts["map"] = found.anomaly_map.float().reshape(len(given), *given.shape[2:])
        return parts


class AnomalibMethod(Method):
    """See `fod_bench.methods.base.Method`. `setting` is what the settings' `training` gave."""

    primary_score = _SCORE
    no_graph: ClassVar[str] = "anomalib has an export of its own for its models"

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        if train.images is None:
            raise TrialError("a model of anomalib needs the images themselves")
        self._setting, self._train, self._context, self._seed, self._device = setting, train, context, seed, device
        kind = MODELS[setting["method"]]
        if len(train) < kind.least(setting):
            raise TrialError(too_few(setting["method"], kind.least(setting), len(train)))
        self.loss_names = kind.losses
        self.epochs = setting.get("epochs", kind.passes)
        self._every = setting.get("evaluate_every", self.epochs)
        self.batch_size: int = setting["batch_size"]
        self.steps_per_epoch = -(-len(train) // self.batch_size)
        self._model = Model(setting, context, seed, device)
        self._begin()

    def _begin(self) -> None:
        """As before the first step, around the model as it is."""
        self._loop = Loop(self._model, self.epochs, lambda: map(self._batch, range(self.steps_per_epoch)))
        self._epoch = 0
        self._taken = 0  # steps of it
        self._order = torch.empty(0, dtype=torch.long)
        self._at_start: State = {}  # of the epoch

    @property
    def _remembers(self) -> bool:
        """Whether the model only collects during an epoch, and learns at its end."""
        return not self.loss_names

    def step(self, epoch: int, step: int) -> Tensor:
        """One step on the next batch: the losses, (len(loss_names),); none of a model that only collects.

        Raises `TrialError` for what anomalib refuses, in its words.
        """
        if step == 0:
            self._epoch, self._taken = epoch, 0
            self._shuffle()
            if self._remembers:
                self._at_start = weights_of(self._model)
        elif not len(self._order):  # resumed in the middle
            self._shuffle()
        with torch.inference_mode(False), _float32(), _refusals(self._setting["method"]):
            while self._taken < step:  # what was collected is not kept: it is collected again
                self._take()
            losses = self._take()
            if self._taken == self.steps_per_epoch:
                with seeded(self._seed, epoch, self.steps_per_epoch):
                    self._loop.end_epoch()
                self._epoch, self._taken = epoch + 1, 0
        return losses

    def _take(self) -> Tensor:
        with seeded(self._seed, self._epoch, self._taken), torch.set_grad_enabled(not self._remembers):
            if not self._taken:
                self._loop.begin_epoch(self._epoch)
            losses = self._loop.step(self._batch(self._taken), self._taken)
        self._taken += 1
        return losses

    def _shuffle(self) -> None:
        """This epoch's order of the training images (n,), the same wherever and whenever it is asked for."""
        generator = torch.Generator().manual_seed((self._seed << 20) + self._epoch)
        self._order = torch.randperm(len(self._train), generator=generator)

    def _batch(self, step: int) -> Any:
        """anomalib's batch: images (B, 3, s, s), with the labels and masks of good ones."""
        chosen = self._order[step * self.batch_size : (step + 1) * self.batch_size].numpy()
        assert self._train.images is not None
        images = self._model.prepared(torch.from_numpy(self._train.images[chosen]).to(self._device))
        labels = torch.zeros(len(images), dtype=torch.bool, device=self._device)
        masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool, device=self._device)
        return SimpleNamespace(image=images, gt_label=labels, gt_mask=masks)

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._every == 0 or epoch == self.epochs

    def detector(self) -> AnomalibDetector:
        """See `Method`."""
        return AnomalibDetector(lambda: self._model)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> AnomalibDetector:
        """See `Method`."""
        model = Model(setting, context, 0, device)
        refuse_other(model, weights)
        fill(model, weights)
        return AnomalibDetector(lambda: model)

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """anomalib's map and score. A model without a map has the image's score at every pixel."""
        kind = MODELS[setting["method"]]
        if kind.scores_together:
            maps = maps_of_all(parts, image_size)
            yield ScoreMaps(_SCORE, maps, maps.flatten(1).amax(1))
        elif kind.scores_maps:
            yield ScoreMaps(_SCORE, parts["map"], parts["score"])
        else:
            scores = parts["score"]
            yield ScoreMaps(_SCORE, scores[:, None, None].expand(-1, image_size, image_size).contiguous(), scores)

    @classmethod
    def anchors(cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int) -> State:
        """See `Anchored`: parts of those images that decide what all are compared with; none of most models."""
        if not MODELS[setting["method"]].scores_together:
            return {}
        return {name: part.cpu().numpy() for name, part in deciding(parts, image_size).items()}

    @classmethod
    def anchored(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, anchors: State, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Anchored`."""
        if not anchors:
            yield from cls.scorings(setting, parts, image_size, only)
            return
        kept = {name: as_tensor(array).to(parts[name].device) for name, array in anchors.items()}
        maps = torch.cat([maps_beside(image, kept, image_size) for image in each(parts)])
        yield ScoreMaps(_SCORE, maps, maps.flatten(1).amax(1))

    def weights(self) -> State:
        """Parameters and buffers of the model, without its backbone's."""
        return weights_of(self._model)

    def state(self) -> State:
        """See `state_of`, and `position` (2,): epoch and steps of it. Of a model that collects, as it was before this epoch."""
        position = {_POSITION: np.array([self._epoch, self._taken], np.int64)}
        if self._remembers and self._taken:
            return dict(self._at_start) | position
        return state_of(self._model, self._loop) | position

    def load_state(self, state: State) -> None:
        """Go on from a state, or from weights alone. The model is made anew, since what it collected is nowhere to be taken out."""
        rest = {name: array for name, array in state.items() if name != _POSITION}
        model = Model(self._setting, self._context, self._seed, self._device)
        refuse_other(model, rest)
        epoch, taken = (int(number) for number in state.get(_POSITION, np.zeros(2, np.int64)))
        fill(model, rest)
        self._model = model
        self._begin()
        self._loop.skip_epochs(epoch)
        fill_rest(self._model, self._loop, rest)
        self._epoch, self._taken = epoch, 0 if self._remembers else taken
        self._at_start = {name: array for name, array in rest.items() if name.startswith("module/")}


@contextmanager
def _refusals(method: str) -> Iterator[None]:
    """Inside the block what anomalib refuses, or what has no solution, is a fault of the trial."""
    try:
        yield
    except (ValueError, torch.linalg.LinAlgError) as error:
        raise TrialError(f"{method}: {error}") from error


def _float32() -> Any:
    """Inside the block convolutions on a GPU are computed in float32; PyTorch's default is TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

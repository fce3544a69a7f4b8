"""Multiresolution knowledge distillation as a method: the cloner is trained on the source's maps, which are made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Batch, Context, Split
from fod_bench.methods.mkd import saliency
from fod_bench.methods.mkd.loss import differences, total
from fod_bench.methods.mkd.network import Cloner, Maps, Source, make_source, normalised
from fod_bench.methods.mkd.shapes import cloner_widths, ends_in_relu
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_COUNTER = "num_batches_tracked"  # of batch normalisation; not used by it here


def _float32() -> AbstractContextManager[Any]:
    """Inside the block convolutions on a GPU are computed in float32; PyTorch's default is TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def in_unit_range(images: Tensor) -> Tensor:
    """Images (n, s, s, 3) of uint8 as (n, 3, s, s) in [0, 1]."""
    return images.permute(0, 3, 1, 2).float().div(255).contiguous()


def make_cloner(setting: Mapping[str, Any], seed: int = 0) -> Cloner:
    """The cloner of a training setting before its first step."""
    backbone, levels = setting["backbone"], setting["levels"]
    widths = cloner_widths(backbone, levels, setting["cloner"] == "equal")
    with torch.inference_mode(False):
        return Cloner(widths, levels, linear=not ends_in_relu(backbone), seed=seed)


def train_step(
    cloner: Cloner, optimizer: torch.optim.Optimizer, images: Tensor, wanted: Mapping[int, Tensor], mse_weight: float
) -> Tensor:
    """One step on normalised images (B, 3, s, s) and the source's maps of them: loss, mean of 1 − cosine and mean squared error,
    both summed over levels, (3,). See `loss`."""
    cloner.train()
    parts = differences(cloner(images), wanted, list(wanted)).mean(1)  # (2,)
    loss = total(parts, mse_weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return torch.cat([loss[None], parts]).detach()


class MkdDetector:
    """See `fod_bench.methods.base.Detector`: image scores and final maps of images."""

    def __init__(self, setting: Mapping[str, Any], cloner: Cloner, source: Source) -> None:
        self.cloner, self.source = cloner, source
        self.levels: list[int] = setting["score_levels"]
        self.mse_weight: float = setting.get("mse_weight", 0.5)
        self.normalisation: str = setting["input_normalisation"]
        self.localisation: str = setting["localisation"]
        self.samples: int = setting.get("smooth_grad_samples", 0)
        self.noise: float = setting.get("smooth_grad_noise", 0.0)
        self.scaled: bool = setting["map_normalisation"] == "image"
        self.sigma: float = setting["map_sigma"]
        self.opening: bool = setting["opening"]

    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`map` (n, s, s) and `score` (n,)."""
        assert images.images is not None, "the program gives what `needs` names"
        with _float32():
            maps, scores = self.maps(in_unit_range(images.images))
        return {"map": maps, "score": scores}

    def scores(self, images: Tensor, guided: bool = False) -> Tensor:
        """Scores (n,) of images (n, 3, h, w) in [0, 1], in evaluation mode. See `loss`."""
        self.cloner.eval()
        given = normalised(images, self.normalisation)
        return total(differences(self.cloner(given, guided), self.source(given), self.levels), self.mse_weight)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (n, h, w) and scores (n,) of images (n, 3, h, w) in [0, 1]."""
        found, scores = self.saliency(images)
        if self.localisation != "gradients" and self.scaled:
            found = saliency.between_extremes(found)
        return saliency.smoothed(found, self.sigma, self.opening), scores

    def saliency(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One-channel gradients (n, h, w), before smoothing, and scores (n,)."""

        def guided(given: Tensor) -> Tensor:
            return self.scores(given, guided=True)

        by_image, scores = saliency.gradients(guided if self.localisation == "gbp" else self.scores, images)
        if self.localisation == "smooth_grad":
            draws = saliency.noise_draws(images.shape[1:], self.samples)
            return saliency.smooth_grad(self.scores, images, self.noise, draws, self.scaled), scores
        return saliency.to_one_channel(by_image, self.scaled), scores


class MkdMethod:
    """See `fod_bench.methods.base.Method`. `setting` is what the settings' `training` gave."""

    loss_names = ("loss", "direction", "mse")
    no_graph: ClassVar[str] = "its map is a gradient of its score, and ONNX has no gradients"

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        if train.images is None or context.network is None:
            raise TrialError("mkd needs the images themselves and a frozen network")
        self.seed, self.device, self.images = seed, device, train.images
        self.batch_size: int = setting["batch_size"]
        self.epochs: int = setting.get("epochs", 1)
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self._mse_weight: float = setting.get("mse_weight", 0.5)  # any weight costs the same
        self.steps_per_epoch = -(-len(train) // self.batch_size)
        self.primary_score = score_name("score", setting["score_levels"])
        self.cloner = make_cloner(setting, seed).to(device)
        self.networks: list[nn.Module] = [self.cloner]
        source = make_source(context.network, setting["levels"], context.image_size).to(device)
        self._detector = MkdDetector(setting, self.cloner, source)
        self._optimizer = torch.optim.Adam(self.cloner.parameters(), lr=setting.get("learning_rate", 1e-3))
        self._source_maps: Maps = {}  # {stride: (n, C, h, w)}, of those images that were trained on so far
        self._made: NDArray[np.bool_] = np.zeros(len(train), bool)
        self._ordered = (-1, torch.empty(0, dtype=torch.long))  # an epoch and its order of the images

    def step(self, epoch: int, step: int) -> Tensor:
        """One step on the next batch: loss, direction and mse, (3,)."""
        chosen = self._order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        with _float32():
            images = self._normalised(chosen.numpy())
            return train_step(self.cloner, self._optimizer, images, self._wanted(chosen, images), self._mse_weight)

    def _order(self, epoch: int) -> Tensor:
        """This epoch's order of the training images (n,), the same wherever and whenever it is asked for."""
        if epoch != self._ordered[0]:
            generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
            self._ordered = epoch, torch.randperm(len(self.images), generator=generator)
        return self._ordered[1]

    def _normalised(self, chosen: NDArray[np.int64]) -> Tensor:
        """Input of both networks (B, 3, s, s)."""
        images = as_tensor(self.images[chosen]).to(self.device)
        return normalised(in_unit_range(images), self._detector.normalisation)

    @torch.no_grad()
    def _wanted(self, chosen: Tensor, images: Tensor) -> Maps:
        """The source's maps of training images, each made when it is first needed and kept. They are made image by image, so
        that a resumed training, which comes upon them in another order, makes the same bits."""
        for place, number in enumerate(chosen.tolist()):
            if self._made[number]:
                continue
            for level, values in self._detector.source(images[place : place + 1]).items():
                if level not in self._source_maps:
                    self._source_maps[level] = values.new_empty(len(self.images), *values.shape[1:])
                self._source_maps[level][number] = values[0]
            self._made[number] = True
        places = chosen.to(self.device)
        return {level: maps[places] for level, maps in self._source_maps.items()}

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._evaluate_every == 0 or epoch == self.epochs

    def detector(self) -> MkdDetector:
        """See `Method`."""
        return self._detector

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> MkdDetector:
        """See `Method`."""
        if context.network is None:
            raise TrialError("mkd needs a frozen network")
        cloner = make_cloner(setting)
        tensors = _tensors(cloner)
        _refuse_other_arrays(weights, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        _fill(tensors, weights)
        source = make_source(context.network, setting["levels"], context.image_size).to(device)
        return MkdDetector(setting, cloner.to(device), source)

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Method`: there is one."""
        yield ScoreMaps(score_name("score", setting["score_levels"]), parts["map"], parts["score"])

    def countable(self) -> MkdMethod:
        """See `Costed`: these are torch's own operations on every device."""
        return self

    def weights(self) -> State:
        """Parameters of the cloner and running statistics of its normalisations."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in _tensors(self.cloner).items()}

    def state(self) -> State:
        """Weights, and Adam's moments and step as `<parameter>/<moment>`."""
        state = self.weights()
        for name, parameter in self.cloner.named_parameters():
            moments = self._optimizer.state.get(parameter, {})  # none before the first step
            state |= {f"{name}/{moment}": moments[moment].cpu().numpy().copy() for moment in moments}
        return state

    def load_state(self, state: State) -> None:
        """Go on from a state, or from weights alone. Raises ValueError, with nothing changed, for another network's."""
        tensors = _tensors(self.cloner)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        parameters = dict(self.cloner.named_parameters())
        trained = any(name.endswith("/step") for name in state)
        if trained:
            for name in parameters:
                shapes |= {f"{name}/{moment}": () if moment == "step" else shapes[name] for moment in _MOMENTS}
        _refuse_other_arrays(state, shapes)
        _fill(tensors, state)
        for name, parameter in parameters.items():
            moments = self._optimizer.state[parameter]
            moments.clear()
            if trained:
                for moment in _MOMENTS:
                    # the step stays on the CPU, where Adam has it
                    place = torch.device("cpu") if moment == "step" else self.device
                    moments[moment] = as_tensor(state[f"{name}/{moment}"]).to(place, copy=True)


def _tensors(cloner: Cloner) -> dict[str, Tensor]:
    """All that the cloner's output depends on, by name."""
    return {name: tensor for name, tensor in cloner.state_dict().items() if not name.endswith(_COUNTER)}


@torch.no_grad()
def _fill(tensors: Mapping[str, Tensor], state: State) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(as_tensor(state[name]))


def _refuse_other_arrays(state: State, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the arrays have these names and shapes, and numbers of float32."""
    given = {name: (array.shape, str(array.dtype)) for name, array in state.items()}
    wanted = {name: (shape, "float32") for name, shape in shapes.items()}
    wrong = [name for name in sorted(given.keys() | wanted.keys()) if given.get(name) != wanted.get(name)]
    if wrong:
        expected, found = (names.get(wrong[0], "absent") for names in (wanted, given))
        raise ValueError(
            f"the state is of another network: {len(wrong)} arrays differ, the first is {wrong[0]}: {found}, not {expected}"
        )

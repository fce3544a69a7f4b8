"""DRAEM as a method: samples with blended anomalies, both networks trained together, maps from the segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Batch, Context, Split
from fod_bench.methods.draem.graph import DraemGraph, image_scores
from fod_bench.methods.draem.losses import Losses, losses
from fod_bench.methods.draem.network import Networks, build
from fod_bench.methods.draem.samples import Sampler
from fod_bench.methods.draem.textures import textures_of
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_DECAY = 0.2
_SCORE = score_name("score", ())


def learning_rate(base: float, epoch: int, epochs: int) -> float:
    """The rate of an epoch, counted from 0: a fifth of `base` from 80 % of the epochs on, and a fifth of that from 90 % on.

    Milestones are whole numbers, rounded down; there are none below five epochs.
    """
    milestones = (8 * epochs // 10, 9 * epochs // 10) if epochs >= 5 else ()
    return base * _DECAY ** sum(milestone <= epoch for milestone in milestones)


def gradients(networks: Networks, clean: Tensor, augmented: Tensor, mask: Tensor) -> Losses:
    """Losses of a batch, and their gradients with respect to both networks, which are added to those that the parameters hold.

    Running statistics of batch norm move. Shapes are those of `losses`.
    """
    networks.train()
    reconstruction, logits = networks(augmented)
    found = losses(reconstruction, logits, clean, mask)
    found.total.backward()
    return found


class DraemDetector:
    """See `fod_bench.methods.base.Detector`."""

    def __init__(self, networks: Networks, precision: str, device: torch.device) -> None:
        self._networks = networks
        self._precision = precision
        self._device = device

    @torch.no_grad()
    def parts(self, images: Batch) -> dict[str, Tensor]:
        """`map`: (n, s, s), the probability that a pixel is anomalous. The image score follows from it."""
        assert images.images is not None
        given = images.images.to(self._device).permute(0, 3, 1, 2).float() / 255  # (n, 3, s, s)
        self._networks.eval()
        with _convolutions(self._precision):
            _, logits = self._networks(given.contiguous(memory_format=_layout(self._device)))
        return {"map": torch.softmax(logits, 1)[:, 1].contiguous()}


class DraemMethod:
    """See `fod_bench.methods.base.Method` and `Costed`. `setting` is the canonical training setting of a job."""

    loss_names: Sequence[str] = ("total", "l2", "ssim", "focal")

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        assert train.images is not None
        self.epochs: int = setting.get("epochs", 1)
        self.batch_size: int = setting["batch_size"]
        self.primary_score = _SCORE
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self._learning_rate: float = setting.get("learning_rate", 1e-4)
        self._precision: str = setting["precision"]
        self._device = device
        self._samples = len(train.images)
        self._size = train.images.shape[1]
        self.steps_per_epoch = -(-self._samples // self.batch_size)
        last = self._samples % self.batch_size or self.batch_size
        if last == 1 and self._size == 32:  # a single value per channel in the deepest maps
            raise TrialError(f"batch_size {self.batch_size} leaves a batch of one image, too few at 32 pixels")
        _check_precision(self._precision, device)
        self._sampler = Sampler(train.images, textures_of(setting["textures"], train.images), seed)
        self._networks = build(setting["width"], seed).to(device)
        self.networks: Sequence[nn.Module] = [self._networks.rec, self._networks.dis]
        self._optimizer = torch.optim.Adam(self._networks.parameters(), lr=self._learning_rate, fused=True)

    def step(self, epoch: int, step: int) -> Tensor:
        """One step on the next samples; losses (4,) from before it."""
        clean, augmented, mask = self._batch(epoch, step)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._learning_rate, epoch, self.epochs)
        with _convolutions(self._precision):
            found = gradients(self._networks, clean, augmented, mask)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return torch.stack(found).detach()

    def _batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean and augmented images (B, 3, s, s), and masks (B, 1, s, s), on the device.

        They lie in memory of torch's own, from which a GPU fetches them while it is still at the step before.
        """
        numbers = range(step * self.batch_size, min((step + 1) * self.batch_size, self._samples))
        on_gpu = self._device.type == "cuda"
        held = torch.empty((len(numbers), 7, self._size, self._size), pin_memory=on_gpu)
        rows = held.numpy()
        for row, number in zip(rows, numbers, strict=True):
            sample = self._sampler.sample(epoch, number)
            row[:3], row[3:6] = sample.clean.transpose(2, 0, 1), sample.augmented.transpose(2, 0, 1)
            row[6] = sample.mask
        clean, augmented, mask = held.to(self._device, non_blocking=True).split((3, 3, 1), 1)
        layout = _layout(self._device)
        return clean.contiguous(memory_format=layout), augmented.contiguous(memory_format=layout), mask.contiguous()

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._evaluate_every == 0 or epoch == self.epochs

    def detector(self) -> DraemDetector:
        """See `Method`."""
        return DraemDetector(self._networks, self._precision, self._device)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> DraemDetector:
        """See `Method`. Textures and training images are not needed."""
        _check_precision(setting["precision"], device)
        return DraemDetector(_loaded(setting, weights).to(device), setting["precision"], device)

    @classmethod
    def graph(cls, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State) -> DraemGraph:
        """See `Exportable`."""
        return DraemGraph(_loaded(setting, weights))

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Method`: the one scoring there is."""
        yield ScoreMaps(_SCORE, parts["map"], image_scores(parts["map"]))

    def countable(self) -> DraemMethod:
        """See `Costed`."""
        return self

    def weights(self) -> State:
        """Parameters and batch norm's running statistics, `rec/<name>` and `dis/<name>` by the names of the published weights."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in _named(self._networks).items()}

    def state(self) -> State:
        """Weights, and Adam's moments and step as `<parameter>/<moment>`."""
        state = self.weights()
        for name, parameter in self._parameters().items():
            moments = self._optimizer.state.get(parameter, {})  # none before the first step
            state |= {f"{name}/{moment}": moments[moment].cpu().numpy().copy() for moment in moments}
        return state

    def load_state(self, state: State) -> None:
        """See `Method`."""
        named, parameters = _named(self._networks), self._parameters()
        shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
        trained = any(name.endswith("/step") for name in state)
        if trained:
            for name, parameter in parameters.items():
                shapes |= {f"{name}/{moment}": tuple(parameter.shape) for moment in _MOMENTS} | {f"{name}/step": ()}
        _check(state, shapes)
        _copy(state, named)
        self._optimizer.state.clear()
        if trained:
            for name, parameter in parameters.items():
                moments = {moment: as_tensor(state[f"{name}/{moment}"]) for moment in _MOMENTS}
                self._optimizer.state[parameter] = {
                    moment: array.to(parameter.device, copy=True) for moment, array in moments.items()
                }

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name.replace(".", "/", 1): parameter for name, parameter in self._networks.named_parameters()}


def _loaded(setting: dict[str, Any], weights: State) -> Networks:
    """The networks of kept weights. Raises ValueError for weights of others."""
    networks = build(setting["width"], 0)
    named = _named(networks)
    _check(weights, {name: tuple(tensor.shape) for name, tensor in named.items()})
    _copy(weights, named)
    return networks


def _named(networks: Networks) -> dict[str, Tensor]:
    """Parameters and running statistics. The number of batches is left out: with a fixed momentum it has no effect."""
    found = networks.state_dict(keep_vars=True)
    return {name.replace(".", "/", 1): found[name] for name in found if not name.endswith("num_batches_tracked")}


def _check(state: State, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError when arrays are missing, are of another shape or kind, or are too many."""
    given = {name: array.shape if array.dtype.kind == "f" else array.dtype for name, array in state.items()}
    wrong = [name for name in sorted(given.keys() | shapes.keys()) if given.get(name) != shapes.get(name)]
    if wrong:
        expected, found = shapes.get(wrong[0], "absent"), given.get(wrong[0], "absent")
        text = f"{len(wrong)} arrays differ, the first is {wrong[0]}: {found}, not {expected}"
        raise ValueError(f"the state is of other networks: {text}")


@torch.no_grad()
def _copy(state: State, named: Mapping[str, Tensor]) -> None:
    for name, tensor in named.items():
        tensor.copy_(as_tensor(state[name]))


def _layout(device: torch.device) -> torch.memory_format:
    """How images lie in memory, which the networks' maps follow: on a CPU colours side by side, 1.5 times as fast at width 8."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def _check_precision(precision: str, device: torch.device) -> None:
    if precision == "tf32" and device.type != "cuda":
        raise TrialError("precision tf32: this processor does not multiply in it; use float32, or a GPU")


def _convolutions(precision: str) -> AbstractContextManager[Any]:
    """Inside the block, convolutions on a GPU have this precision."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=precision == "tf32")

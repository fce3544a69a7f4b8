"""Focus the Discrepancy as a method: one network per feature level, trained side by side, scored in every way at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Context, Split
from fod_bench.methods.fod.correlation import implementation
from fod_bench.methods.fod.correlation.tiled import correlate_tiled
from fod_bench.methods.fod.detector import FodDetector, loaded_networks, scorings
from fod_bench.methods.fod.graph import FodGraph, graph_of
from fod_bench.methods.fod.network import FODNetwork, NetworkShape, branches_of
from fod_bench.methods.fod.pack import FodPack
from fod_bench.methods.fod.precision import Precision, check_precision
from fod_bench.methods.fod.recorded import CudaGraphs, graphs_wanted
from fod_bench.methods.fod.references.lookup import Lookup
from fod_bench.methods.fod.rules import rules, uses_reference
from fod_bench.methods.fod.streams import Streams
from fod_bench.methods.fod.train import LevelTrainer, Losses, LossWeights, build_network
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_TERMS = (
    "reconstruction",
    "intra_divergence",
    "intra_entropy",
    "inter_divergence",
    "inter_entropy",
    "phase1",
    "phase2",
)
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class FodMethod:
    """See `fod_bench.methods.base.Method`. `setting` is the canonical training setting of a job."""

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        self.levels: list[int] = sorted(setting["levels"])
        self.view = setting["views"]
        self.batch_size: int = setting["batch_size"]
        self.zero_gradient_step: bool = setting.get("zero_gradient_step", False)
        self.seed = seed
        self.device = device
        self._ordered = (-1, torch.empty(0, dtype=torch.long))  # an epoch and its order of the images
        self.precision: Precision = setting.get("precision", "float32")
        try:
            self.correlation = "" if self.view == "patch" else implementation(device)
            check_precision(self.precision, device, self.correlation)
            recorded = graphs_wanted(device)
        except ValueError as error:
            raise TrialError(str(error)) from None
        # (n, N, C) per level, on the device for good. What a network is given is always a copy in torch's own memory:
        # see `Split.batch`.
        self.train = {level: as_tensor(train.pooled[level]).flatten(1, 2).to(device) for level in self.levels}
        self.references: dict[int, Lookup] = {}
        if uses_reference(self.view):
            self.references = {
                level: Lookup(context.reference.levels[level], setting.get("reference", {}), device, self.train[level])
                for level in self.levels
            }
        self._rows = {  # (n, N) per level, where references depend on the image
            level: as_tensor(rows).flatten(1).to(device) for level, rows in train.reference_rows.items()
        }
        # A measurement of cost leaves out what its cost does not depend on: any values but 0 do.
        measured = setting.get("measure") == "cost"
        weight = 0.5 if measured else 0.0
        weights = LossWeights(
            setting.get("lambda1", weight), setting.get("lambda2", weight), setting.get("optimization", "two_phase")
        )
        learning_rate: float = 1e-4 if measured else setting["learning_rate"]
        self.trainers: dict[int, LevelTrainer] = {}
        for level in self.levels:
            shape = network_shape(setting, level, *train.pooled[level].shape[1:])
            network = build_network(shape, seed).to(device)
            self.trainers[level] = LevelTrainer(
                network, weights, learning_rate, self.precision, CudaGraphs() if recorded else None
            )
        # Recorded steps of the levels share the GPU; a step of zero gradients ties the levels to each other.
        self._streams = Streams(len(self.levels)) if recorded and not self.zero_gradient_step else None
        self.networks: list[nn.Module] = [trainer.network for trainer in self.trainers.values()]
        self.images = len(self.train[self.levels[0]])
        self.epochs: int = setting.get("epochs", 1)
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self.steps_per_epoch = -(-self.images // self.batch_size)
        self.loss_names = ["reconstruction", *(f"{level}/{term}" for level in self.levels for term in _TERMS)]
        self.primary_score = score_name(rules(self.view)[-1], self.levels)
        shapes = tuple(trainer.network.shape for trainer in self.trainers.values())
        known = tuple(lookup.shape for lookup in self.references.values())
        training = (weights.optimization, learning_rate, self.zero_gradient_step, self.precision)
        self.kind = (shapes, known, self.batch_size, training, device)

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._evaluate_every == 0 or epoch == self.epochs

    @classmethod
    def pack(cls, methods: Sequence[FodMethod]) -> FodPack:
        """See `Method`. Of one kind are those that differ in λ1, λ2, seed and images only."""
        return FodPack(methods)

    def step(self, epoch: int, step: int) -> Tensor:
        """One step of every level on the next batch; losses (len(loss_names),)."""
        chosen = self.chosen(epoch, step)
        if self._streams is not None:
            works = [partial(self._level_step, level, chosen) for level in self.levels]
            return self.row(self._streams.run(works))
        taken: list[Losses] = []
        for level, trainer in self.trainers.items():
            taken.append(self._level_step(level, chosen))
            if self.zero_gradient_step:
                for other in self.trainers.values():
                    if other is not trainer:
                        other.zero_gradient_step()
        return self.row(taken)

    def record_nothing(self) -> None:
        """From now on steps are taken one by one, also on a GPU."""
        self._streams = None
        for trainer in self.trainers.values():
            trainer.recorded = None

    def _level_step(self, level: int, chosen: Tensor) -> Losses:
        return self.trainers[level].step(*self.batch(level, chosen))

    def chosen(self, epoch: int, step: int) -> Tensor:
        """Numbers of the training images of a step (B,)."""
        if epoch != self._ordered[0]:
            self._ordered = epoch, self._order(epoch).to(self.device)
        return self._ordered[1][step * self.batch_size : (step + 1) * self.batch_size]

    def batch(self, level: int, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (B, N, C) of training images, and their references where the view has some."""
        reference = None
        if self.references:
            rows = self._rows.get(level)
            reference = self.references[level].of(None if rows is None else rows[chosen])
        return self.train[level][chosen], reference

    def row(self, taken: Sequence[Losses]) -> Tensor:
        """What `step` returns, from each level's losses."""
        terms = [getattr(losses, name) for losses in taken for name in _TERMS]
        reconstruction = torch.stack(terms[:: len(_TERMS)]).mean()
        return torch.stack([reconstruction, *terms])

    def _order(self, epoch: int) -> Tensor:
        """This epoch's order of the training images (n,), the same wherever and whenever it is asked for."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        return torch.randperm(self.images, generator=generator)

    def detector(self) -> FodDetector:
        """See `Method`."""
        networks = {level: trainer.network for level, trainer in self.trainers.items()}
        return FodDetector(networks, self.references, self.precision)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> FodDetector:
        """See `Method`. The references are complete, see `references.maker.complete`."""
        precision: Precision = setting.get("precision", "float32")
        networks = _networks(setting, weights, context.image_size, device)
        references: dict[int, Lookup] = {}
        if uses_reference(setting["views"]):
            spec = setting.get("reference", {})
            references = {level: Lookup(context.reference.levels[level], spec, device) for level in networks}
        return FodDetector(networks, references, precision).prepared()

    @classmethod
    def graph(cls, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State) -> FodGraph:
        """See `Exportable`."""
        networks = _networks(setting, weights, context.image_size, torch.device("cpu"))
        return graph_of(setting, networks, context, score)

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Method`."""
        return scorings(setting, parts, image_size, only)

    def countable(self) -> FodMethod:
        """See `Method`."""
        for network in self.networks:
            for branch in branches_of(network):
                branch.correlate = correlate_tiled
        return self

    def weights(self) -> State:
        """Parameters, `<level>/<parameter>`."""
        return {name: parameter.detach().cpu().numpy().copy() for name, parameter, _ in self._parameters()}

    def state(self) -> State:
        """Parameters, and Adam's moments and step as `<level>/<parameter>/<moment>`."""
        state = self.weights()
        for name, parameter, optimizer in self._parameters():
            moments = optimizer.state.get(parameter, {})  # none before the first step
            state |= {f"{name}/{moment}": moments[moment].cpu().numpy().copy() for moment in moments}
        return state

    @torch.no_grad()
    def load_state(self, state: State) -> None:
        """Go on from a state, or from weights alone. Raises ValueError, with nothing changed, when it is other networks'."""
        parameters = list(self._parameters())
        shapes = {name: tuple(parameter.shape) for name, parameter, _ in parameters}
        trained = any(name.endswith("/step") for name in state)
        if trained:
            for name, shape in list(shapes.items()):
                shapes |= {f"{name}/{moment}": () if moment == "step" else shape for moment in _MOMENTS}
        given = {name: array.shape for name, array in state.items()}
        wrong = [name for name in sorted(given.keys() | shapes.keys()) if given.get(name) != shapes.get(name)]
        if wrong:
            expected, found = (names.get(wrong[0], "absent") for names in (shapes, given))
            raise ValueError(
                f"the state is of other networks: {len(wrong)} arrays differ, the first is {wrong[0]}: {found}, not {expected}"
            )
        for name, parameter, optimizer in parameters:
            parameter.copy_(as_tensor(state[name]))
            moments = optimizer.state[parameter]  # the same object before and after: a pack knows it too
            moments.clear()
            if trained:
                for moment in _MOMENTS:
                    moments[moment] = as_tensor(state[f"{name}/{moment}"]).to(parameter.device, copy=True)
        for trainer in self.trainers.values():
            trainer.forget_recordings()

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
        """Every parameter with its name `<level>/<parameter>` and the optimiser that moves it."""
        for level, trainer in self.trainers.items():
            for name, parameter in trainer.network.named_parameters():
                yield f"{level}/{name}", parameter, trainer.optimizer


def _networks(setting: dict[str, Any], weights: State, size: int, device: torch.device) -> dict[int, FODNetwork]:
    """The networks of every level with kept weights. Raises ValueError for weights of others."""
    networks: dict[int, FODNetwork] = {}
    for level in sorted(setting["levels"]):
        embedding = weights.get(f"{level}/embed.weight")
        if embedding is None or embedding.ndim != 2:
            raise ValueError(f"the weights are of other networks: {level}/embed.weight is absent")
        shape = network_shape(setting, level, size // level, size // level, embedding.shape[1])
        networks[level] = build_network(shape, 0).to(device)
    loaded_networks(networks, weights)
    return networks


def network_shape(setting: dict[str, Any], level: int, height: int, width: int, channels: int) -> NetworkShape:
    """Sizes of a level's network on a grid of `height`×`width` patches."""
    d_model = {int(stride): size for stride, size in setting["d_model"].items()}[level]
    return NetworkShape(height, width, channels, d_model, setting["heads"], setting["layers"], setting["views"])

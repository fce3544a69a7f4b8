"""Focus the Discrepancy as a method: one network per feature level, trained side by side, scored in every way at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import TrialData
from fod_bench.methods.fod.correlation import implementation
from fod_bench.methods.fod.correlation.tiled import correlate_tiled
from fod_bench.methods.fod.network import Branch, NetworkShape
from fod_bench.methods.fod.pack import FodPack
from fod_bench.methods.fod.precision import Precision, check_precision, matrix_products
from fod_bench.methods.fod.recorded import CudaGraphs, graphs_wanted
from fod_bench.methods.fod.references.lookup import Lookup
from fod_bench.methods.fod.rules import Rule, rules
from fod_bench.methods.fod.score import PatchScores, image_scores, patch_scores, upsample, upsample_smoothed
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
_TEST_BATCH = 8
"""Pictures per forward pass when scoring. Fixed, so that scores do not depend on the machine."""


class FodMethod:
    """See `fod_bench.methods.base.Method`. `setting` is the canonical training setting of a job."""

    def __init__(self, setting: dict[str, Any], data: TrialData, seed: int, device: torch.device) -> None:
        self.levels: list[int] = sorted(setting["levels"])
        self.view = setting["views"]
        self.batch_size: int = setting["batch_size"]
        self.zero_gradient_step: bool = setting.get("zero_gradient_step", False)
        self.seed = seed
        self.device = device
        self._ordered = (-1, torch.empty(0, dtype=torch.long))  # an epoch and its order of the pictures
        self.image_size = data.masks.shape[-1]
        self.precision: Precision = setting.get("precision", "float32")
        try:
            self.correlation = "" if self.view == "patch" else implementation(device)
            check_precision(self.precision, device, self.correlation)
            recorder = CudaGraphs() if graphs_wanted(device) else None
        except ValueError as error:
            raise TrialError(str(error)) from None
        # (n, N, C) and (m, N, C) per level, on the device for good. What a network is given is always a copy in
        # torch's own aligned memory: where shared arrays happen to lie would change the last bits of a product on a CPU.
        self.train = {level: as_tensor(data.train[level]).flatten(1, 2).to(device) for level in self.levels}
        self.test = {level: as_tensor(data.test[level]).flatten(1, 2).to(device) for level in self.levels}
        self.references: dict[int, Lookup] = {}
        if data.reference is not None:
            found = data.reference.levels
            self.references = {level: Lookup(found[level], self.train[level], device) for level in self.levels}
        # A measurement of cost leaves out what its cost does not depend on: any values but 0 do.
        measured = setting.get("measure") == "cost"
        weight = 0.5 if measured else 0.0
        weights = LossWeights(
            setting.get("lambda1", weight), setting.get("lambda2", weight), setting.get("optimization", "two_phase")
        )
        learning_rate: float = 1e-4 if measured else setting["learning_rate"]
        widths = {int(level): width for level, width in setting["d_model"].items()}
        self.trainers: dict[int, LevelTrainer] = {}
        self.grids: dict[int, tuple[int, int]] = {}
        for level in self.levels:
            height, width, channels = data.train[level].shape[1:]
            shape = NetworkShape(height, width, channels, widths[level], setting["heads"], setting["layers"], self.view)
            network = build_network(shape, seed).to(device)
            self.trainers[level] = LevelTrainer(network, weights, learning_rate, self.precision, recorder)
            self.grids[level] = (height, width)
        self.networks: list[nn.Module] = [trainer.network for trainer in self.trainers.values()]
        self.pictures = len(self.train[self.levels[0]])
        self.epochs: int = setting.get("epochs", 1)
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self.steps_per_epoch = -(-self.pictures // self.batch_size)
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
        """See `Method`. Of one kind are those that differ in λ1, λ2, seed and pictures only."""
        return FodPack(methods)

    def step(self, epoch: int, step: int) -> Tensor:
        """One step of every level on the next batch; losses (len(loss_names),)."""
        chosen = self.chosen(epoch, step)
        taken: list[Losses] = []
        for level, trainer in self.trainers.items():
            taken.append(trainer.step(*self.batch(level, chosen)))
            if self.zero_gradient_step:
                for other in self.trainers.values():
                    if other is not trainer:
                        other.zero_gradient_step()
        return self.row(taken)

    def chosen(self, epoch: int, step: int) -> Tensor:
        """Numbers of the training pictures of a step (B,)."""
        if epoch != self._ordered[0]:
            self._ordered = epoch, self._order(epoch).to(self.device)
        return self._ordered[1][step * self.batch_size : (step + 1) * self.batch_size]

    def batch(self, level: int, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (B, N, C) of training pictures, and their references where the view has some."""
        reference = self.references[level].of("train", chosen) if self.references else None
        return self.train[level][chosen], reference

    def row(self, taken: Sequence[Losses]) -> Tensor:
        """What `step` returns, from each level's losses."""
        terms = [getattr(losses, name) for losses in taken for name in _TERMS]
        reconstruction = torch.stack(terms[:: len(_TERMS)]).mean()
        return torch.stack([reconstruction, *terms])

    def _order(self, epoch: int) -> Tensor:
        """This epoch's order of the training pictures (n,), the same wherever and whenever it is asked for."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        return torch.randperm(self.pictures, generator=generator)

    @torch.inference_mode()
    def score_maps(self) -> Iterator[ScoreMaps]:
        """Every rule the view allows, on every subset of levels (Table 14); the paper's map is the mean over levels."""
        parts = {level: self._test_scores(level) for level in self.levels}
        for rule in rules(self.view):
            maps, smoothed = self._maps(parts, rule)
            for count in range(1, len(self.levels) + 1):
                for subset in combinations(self.levels, count):
                    images = image_scores(_mean(smoothed, subset))
                    yield ScoreMaps(score_name(rule, subset), _mean(maps, subset), images)

    @torch.inference_mode()
    def score_pictures(self, features: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """See `Method`: Eq. 12, or the view's own form of it, mean over levels."""
        parts = {}
        for level in self.levels:
            given = features[level].flatten(1, 2)  # (n, N, C)
            reference = self.references[level].of_any() if self.references else None
            parts[level] = self._scores(level, given, reference)
        maps, smoothed = self._maps(parts, rules(self.view)[-1])
        return _mean(maps, self.levels), image_scores(_mean(smoothed, self.levels))

    def _maps(self, parts: dict[int, PatchScores], rule: Rule) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Every level's maps of a rule, as they are and smoothed, each (n, s, s)."""
        grids = {level: parts[level].score(rule).unflatten(-1, self.grids[level]) for level in self.levels}
        maps = {level: upsample(grid, self.image_size) for level, grid in grids.items()}
        smoothed = {level: upsample_smoothed(grid, self.image_size) for level, grid in grids.items()}
        return maps, smoothed

    def _scores(self, level: int, features: Tensor, reference: Tensor | None) -> PatchScores:
        """Score parts of pictures (n, N, C), each (n, N)."""
        with matrix_products(self.precision, features.device):
            output = self.trainers[level].network(features, reference)
        return patch_scores(output, features)

    def _test_scores(self, level: int) -> PatchScores:
        """Score parts of all test pictures, each (m, N)."""
        batches = []
        for start in range(0, len(self.test[level]), _TEST_BATCH):
            batch = slice(start, start + _TEST_BATCH)
            features = self.test[level][batch].clone()  # into torch's own memory: see `__init__`
            reference = self.references[level].of("test", batch) if self.references else None
            batches.append(self._scores(level, features, reference))
        parts: list[Any] = [None if part[0] is None else torch.cat(part) for part in zip(*batches, strict=True)]
        return PatchScores(*parts)

    def countable(self) -> FodMethod:
        """See `Method`."""
        for network in self.networks:
            for module in network.modules():
                if isinstance(module, Branch):
                    module.correlate = correlate_tiled
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


def _mean(maps: dict[int, Tensor], levels: Sequence[int]) -> Tensor:
    """Mean over levels of (n, s, s) maps; a single level's map is returned as it is."""
    first, *others = (maps[level] for level in levels)
    if not others:
        return first
    total = first + others[0]
    for other in others[1:]:
        total += other
    return total.div_(len(levels))

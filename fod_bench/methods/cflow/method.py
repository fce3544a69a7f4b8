"""CFLOW-AD as a method: a flow per level, trained on fibers, scored by likelihoods that the whole test set is compared by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fod_bench.errors import TrialError
from fod_bench.evaluation.maps import ScoreMaps
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.base import Batch, Context, Split
from fod_bench.methods.cflow.fibers import cut
from fod_bench.methods.cflow.graph import CflowGraph
from fod_bench.methods.cflow.network import Flow, FlowShape, build_flow, log_likelihood, position_code
from fod_bench.methods.cflow.score import anomaly_maps, likely, sums
from fod_bench.methods.cflow.state import check, flows_of, moments, parameters, set_moments
from fod_bench.methods.cflow.train import LevelTrainer, Rates
from fod_bench.records.checkpoints import State
from fod_bench.records.record import score_name

_RULE = "score"


class CflowDetector:
    """See `fod_bench.methods.base.Detector`. Holds the flows, by level."""

    def __init__(self, flows: Mapping[int, Flow]) -> None:
        self._flows = flows

    @torch.no_grad()
    def parts(self, images: Batch) -> dict[str, Tensor]:
        """Of every level its `<level>/likelihood` (n, H, W): log-likelihoods per dimension."""
        found = {}
        for level, flow in self._flows.items():
            features = images.unpooled[level]  # (n, H, W, C)
            count, height, width, _ = features.shape
            condition = position_code(flow.shape.condition, height, width, features.device).repeat(count, 1)
            likelihood = log_likelihood(*flow(features.flatten(0, 2), condition))  # (n·H·W,)
            found[f"{level}/likelihood"] = likelihood.unflatten(0, (count, height, width))
        return found


class CflowMethod:
    """See `fod_bench.methods.base.Method`. An epoch is `sub_epochs` passes; a step takes some of a batch's fibers of every level.

    Levels are independent, so that the order in which theirs are taken makes no difference, unless `zero_gradient_step` is set: a
    step then takes a whole batch, level by level.
    """

    def __init__(
        self, setting: dict[str, Any], train: Split, context: Context, seed: int, device: torch.device
    ) -> None:
        levels: list[int] = sorted(setting["levels"])
        arrays = {level: train.unpooled[level] for level in levels}  # (n, H, W, C) each
        self._seed = seed
        self._device = device
        self._fiber: int = setting["fiber"]
        self._zero_gradient_step: bool = setting.get("zero_gradient_step", False)
        grids = {level: array.shape[1:3] for level, array in arrays.items()}
        self._positions = {level: height * width for level, (height, width) in grids.items()}
        try:
            self._cut = cut(
                len(train), self._positions, setting["batch_size"], self._fiber, in_order=self._zero_gradient_step
            )
        except ValueError as error:
            raise TrialError(str(error)) from None
        self._images = len(train)
        # (n·H·W, C) per level, on the device for good; a fiber is always a copy in torch's own memory.
        self._rows = {level: as_tensor(array).flatten(0, 2).to(device) for level, array in arrays.items()}
        self._codes = {
            level: position_code(setting["condition"], *grid, device) for level, grid in grids.items()
        }  # (H·W, P)
        self._flows = {
            level: build_flow(_shape(setting, array.shape[3]), seed, level).to(device)
            for level, array in arrays.items()
        }
        self._trainers = {level: LevelTrainer(flow) for level, flow in self._flows.items()}
        self._shuffled: dict[int, tuple[tuple[int, int], Tensor]] = {}

        self.epochs: int = setting.get("epochs", 1)  # a measurement of cost has none, and no rate
        self._sub_epochs: int = setting["sub_epochs"]
        self._rates = Rates(
            setting.get("learning_rate", 2e-4), setting.get("decay", 0.1), self.epochs, setting.get("warm_epochs", 1)
        )
        self._evaluate_every: int = setting.get("evaluate_every", 1)
        self.steps_per_epoch = self._sub_epochs * self._cut.batches * self._cut.pieces
        self.loss_names: Sequence[str] = ["loss", *(f"{level}/loss" for level in levels)]
        self.primary_score = score_name(_RULE, levels)
        self.networks: Sequence[nn.Module] = list(self._flows.values())
        self.batch_size = -(-self._cut.batch // self._cut.pieces)  # a step has its share of a batch's rows

    def step(self, epoch: int, step: int) -> Tensor:
        """Some fibers of every level; losses (1 + levels,): the mean over levels, and each level's mean over its fibers."""
        batch, piece = divmod(step, self._cut.pieces)
        sub_epoch, batch_of_pass = divmod(batch, self._cut.batches)
        passed = epoch * self._sub_epochs + sub_epoch
        rate = self._rates.at(epoch, batch, self._sub_epochs * self._cut.batches)
        first = batch_of_pass * self._cut.batch
        images = self._order(passed)[first : first + self._cut.batch]
        means = []
        for level in self._trainers:
            share = self._cut.share(level, piece)
            shuffled = self._shuffle(passed, batch_of_pass, level)[share.start * self._fiber : share.stop * self._fiber]
            positions = self._positions[level]
            rows = (images[shuffled // positions] * positions + shuffled % positions).to(self._device)
            losses = [self._move(level, fiber, rate) for fiber in rows.split(self._fiber)]
            means.append(torch.stack(losses).mean())
        return torch.stack([torch.stack(means).mean(), *means])

    def _move(self, level: int, fiber: Tensor, rate: float) -> Tensor:
        """One move on a fiber, by numbers of rows of all training images (N,); the mean loss before it."""
        condition = self._codes[level][fiber % self._positions[level]]
        loss = self._trainers[level].step(self._rows[level][fiber], condition, rate)
        if self._zero_gradient_step:
            for other, trainer in self._trainers.items():
                if other != level:
                    trainer.zero_gradient_step(rate)
        return loss

    def _order(self, passed: int) -> Tensor:
        """Order of the training images in a pass (n,), the same wherever and whenever it is asked for."""
        return torch.from_numpy(np.random.default_rng([self._seed, passed]).permutation(self._images))

    def _shuffle(self, passed: int, batch: int, level: int) -> Tensor:
        """Order of the rows of a batch (B·H·W,), image by image and then row by row, for one level; kept for the next step."""
        asked = (passed, batch)
        kept, order = self._shuffled.get(level, ((-1, -1), torch.empty(0)))
        if kept != asked:
            generator = np.random.default_rng([self._seed, passed, batch, level])
            order = torch.from_numpy(generator.permutation(self._cut.batch * self._positions[level]))
            self._shuffled[level] = asked, order
        return order

    def evaluates_after(self, epoch: int) -> bool:
        """See `Method`."""
        return epoch % self._evaluate_every == 0 or epoch == self.epochs

    def detector(self) -> CflowDetector:
        """See `Method`."""
        return CflowDetector(self._flows)

    @classmethod
    def load_detector(
        cls, setting: dict[str, Any], weights: State, context: Context, device: torch.device
    ) -> CflowDetector:
        """See `Method`."""
        return CflowDetector({level: flow.to(device) for level, flow in cls._loaded(setting, weights).items()})

    @classmethod
    def graph(cls, setting: dict[str, Any], weights: State, context: Context, score: str, anchors: State) -> CflowGraph:
        """See `Exportable`."""
        flows, chosen = cls._loaded(setting, weights), dict(_subsets(setting))[score]
        peaks = {level: float(anchors[f"{level}/peak"]) for level in chosen}
        largest = float(anchors[f"{score}/largest"])
        return CflowGraph({level: flows[level] for level in chosen}, peaks, largest, context.image_size)

    @staticmethod
    def _loaded(setting: dict[str, Any], weights: State) -> dict[int, Flow]:
        """The flows of kept weights, by level. Raises ValueError for weights of others."""
        flows = {}
        for level in sorted(setting["levels"]):
            scale = weights.get(f"{level}/blocks.0.scale")
            if scale is None or scale.ndim != 1 or not scale.size:
                raise ValueError(f"the weights are of other flows: there is no scale of level {level}")
            flows[level] = Flow(_shape(setting, scale.size))
        check(weights, flows, with_moments=False)
        for level, flow in flows.items():
            flow.load_state_dict(flows_of(weights, level))
        return flows

    @classmethod
    def scorings(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """Every subset of levels; an image's score is its map's largest value. See `likely` and `anomaly_maps`."""
        found = {level: likely(parts[f"{level}/likelihood"], image_size) for level in sorted(setting["levels"])}
        for score, subset in _subsets(setting):
            maps = anomaly_maps(found, subset)
            yield ScoreMaps(score, maps, maps.flatten(1).amax(1))

    @classmethod
    def anchors(cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int) -> State:
        """See `Anchored`: of every level the largest likelihood, `<level>/peak`, and of every scoring the largest sum of what is
        likely, `<score>/largest`; numbers of float64."""
        peaks = {level: parts[f"{level}/likelihood"].double().max() for level in sorted(setting["levels"])}
        found = {level: likely(parts[f"{level}/likelihood"], image_size, float(peak)) for level, peak in peaks.items()}
        made = {f"{level}/peak": peak for level, peak in peaks.items()}
        made |= {f"{score}/largest": sums(found, subset).max() for score, subset in _subsets(setting)}
        return {name: value.cpu().numpy() for name, value in made.items()}

    @classmethod
    def anchored(
        cls, setting: dict[str, Any], parts: Mapping[str, Tensor], image_size: int, anchors: State, only: str = ""
    ) -> Iterator[ScoreMaps]:
        """See `Anchored`."""
        found = {
            level: likely(parts[f"{level}/likelihood"], image_size, float(anchors[f"{level}/peak"]))
            for level in sorted(setting["levels"])
        }
        for score, subset in _subsets(setting):
            if only in ("", score):
                maps = anomaly_maps(found, subset, float(anchors[f"{score}/largest"]))
                yield ScoreMaps(score, maps, maps.flatten(1).amax(1))

    def countable(self) -> CflowMethod:
        """See `Costed`."""
        return self

    def state(self) -> State:
        """Flows as `<level>/<parameter>`, and Adam's moments and step as `<level>/<parameter>/<moment>`."""
        return parameters(self._flows) | moments(self._trainers)

    def weights(self) -> State:
        """Flows, rotations included."""
        return parameters(self._flows)

    def load_state(self, state: State) -> None:
        """See `Method`."""
        trained = any(name.endswith("/step") for name in state)
        check(state, self._flows, with_moments=trained)
        for level, flow in self._flows.items():
            flow.load_state_dict(flows_of(state, level))
        set_moments(self._trainers, state, trained)


def _subsets(setting: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every subset of levels, after the name of its scoring."""
    levels = sorted(setting["levels"])
    for count in range(1, len(levels) + 1):
        for subset in combinations(levels, count):
            yield score_name(_RULE, subset), subset


def _shape(setting: dict[str, Any], channels: int) -> FlowShape:
    return FlowShape(channels, setting["condition"], setting["blocks"], setting["clamp"])

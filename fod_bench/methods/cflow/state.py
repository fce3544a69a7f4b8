"""Flows and their optimisers as arrays: `<level>/<parameter>`, and with a moment's name behind it Adam's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.cflow.network import Flow
from fod_bench.methods.cflow.train import LevelTrainer
from fod_bench.records.checkpoints import State

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def parameters(flows: Mapping[int, Flow]) -> State:
    """Copies of what the flows hold, rotations included."""
    return {
        f"{level}/{name}": tensor.cpu().numpy().copy()
        for level, flow in flows.items()
        for name, tensor in flow.state_dict().items()
    }


def flows_of(state: State, level: int) -> dict[str, Tensor]:
    """What `Flow.load_state_dict` takes for one level."""
    prefix = f"{level}/"
    found = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    return {name: as_tensor(array) for name, array in found.items() if "/" not in name}


def moments(trainers: Mapping[int, LevelTrainer]) -> State:
    """Copies of Adam's moments and steps; none before the first."""
    return {
        f"{level}/{name}/{moment}": trainer.optimizer.state[parameter][moment].cpu().numpy().copy()
        for level, trainer in trainers.items()
        for name, parameter in trainer.flow.named_parameters()
        for moment in trainer.optimizer.state.get(parameter, {})
    }


def set_moments(trainers: Mapping[int, LevelTrainer], state: State, trained: bool) -> None:
    """Give the optimisers the moments of a state that `check` has passed, or none."""
    for level, trainer in trainers.items():
        for name, parameter in trainer.flow.named_parameters():
            trainer.optimizer.state.pop(parameter, None)
            if trained:
                trainer.optimizer.state[parameter] = {
                    moment: as_tensor(state[f"{level}/{name}/{moment}"]).to(parameter.device, copy=True)
                    for moment in _MOMENTS
                }


def check(state: State, flows: Mapping[int, Flow], *, with_moments: bool) -> None:
    """Raises ValueError for a state that is not of these flows, with all moments or with none."""
    expected = {
        f"{level}/{name}": tuple(tensor.shape)
        for level, flow in flows.items()
        for name, tensor in flow.state_dict().items()
    }
    if with_moments:
        for level, flow in flows.items():
            for name, parameter in flow.named_parameters():
                for moment in _MOMENTS:
                    shape = () if moment == "step" else tuple(parameter.shape)
                    expected[f"{level}/{name}/{moment}"] = shape
    given = {name: array.shape for name, array in state.items()}
    wrong = [name for name in sorted(given.keys() | expected.keys()) if given.get(name) != expected.get(name)]
    if wrong:
        right, found = (shapes.get(wrong[0], "absent") for shapes in (expected, given))
        text = f"{len(wrong)} arrays differ, the first is {wrong[0]}: {found}, not {right}"
        raise ValueError(f"the state is of other flows: {text}")
    other = next((name for name, array in state.items() if array.dtype != np.float32), None)
    if other is not None:
        raise ValueError(f"the state is of other flows: {other} is of {state[other].dtype}, not float32")

"""What is kept of a PatchSVDD training: names and shapes of its arrays.

<network>                    parameters, and the classifiers' weight that is not trained
<parameter>/<moment>         Adam's moments and step: the state of a training that goes on
mean, bank<K>, centre<K>     mean image and embeddings of the training images: what scoring needs
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.patchsvdd.cost import PATCHES, grid_side
from fod_bench.methods.patchsvdd.detector import Banks
from fod_bench.methods.patchsvdd.network import Networks
from fod_bench.methods.patchsvdd.search import Bank
from fod_bench.records.checkpoints import State

MOMENTS = ("step", "exp_avg", "exp_avg_sq")

Shapes = dict[str, tuple[int, ...]]


def as_array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A copy on the host."""
    return tensor.detach().cpu().numpy().copy()


def network_shapes(networks: Networks) -> Shapes:
    """Of the networks' arrays."""
    return {name: tuple(tensor.shape) for name, tensor in networks.state_dict().items()}


def moment_shapes(networks: Networks) -> Shapes:
    """Of Adam's arrays."""
    shapes = {name: tuple(parameter.shape) for name, parameter in networks.named_parameters()}
    return {
        f"{name}/{moment}": () if moment == "step" else shape for name, shape in shapes.items() for moment in MOMENTS
    }


def bank_shapes(train: int, image_size: int, embedding: int) -> Shapes:
    """Of what scoring needs beside the networks, with `train` training images."""
    shapes: Shapes = {"mean": (image_size, image_size, 3)}
    for patch in PATCHES:
        shapes |= {
            f"bank{patch}": (train * grid_side(image_size, patch) ** 2, embedding),
            f"centre{patch}": (embedding,),
        }
    return shapes


def bank_arrays(mean: Tensor, banks: Banks) -> State:
    """What scoring needs beside the networks."""
    arrays = {"mean": as_array(mean)}
    for patch, bank in banks.items():
        arrays |= {f"bank{patch}": as_array(bank.rows), f"centre{patch}": as_array(bank.centre)}
    return arrays


def banks_from(state: State, device: torch.device) -> Banks:
    """The embeddings that were kept."""

    def taken(name: str) -> Tensor:
        return as_tensor(state[name]).to(device, copy=True)

    return {patch: Bank(taken(f"bank{patch}"), taken(f"centre{patch}")) for patch in PATCHES}


def images_of(state: State, image_size: int) -> int:
    """Training images of the embeddings that were kept, at least one; one where it cannot be said."""
    rows = state["bank64"].shape[:1] if "bank64" in state else ()
    return max(1, rows[0] // grid_side(image_size, 64) ** 2) if rows else 1


def check(state: State, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError where the arrays are not float32 of these names and shapes."""
    given = {name: array.shape for name, array in state.items()}
    wrong = [name for name in sorted(given.keys() | shapes.keys()) if given.get(name) != shapes.get(name)]
    if wrong:
        expected, found = (names.get(wrong[0], "absent") for names in (shapes, given))
        raise ValueError(
            f"the state is of another training: {len(wrong)} arrays differ, the first is {wrong[0]}: {found}, not {expected}"
        )
    for name, array in sorted(state.items()):
        if array.dtype != np.float32:
            raise ValueError(f"the state is of another kind: {name} is {array.dtype}, not float32")

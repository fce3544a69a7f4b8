"""A model of anomalib as named arrays, and back: parameters, buffers, optimisers' moments, tensors that it keeps beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.anomalib.build import Model
from fod_bench.methods.anomalib.loop import Loop
from fod_bench.records.checkpoints import State

_TENSORS, _BESIDE, _OPTIMIZER = "module", "beside", "optimizer"


def weights_of(model: Model) -> State:
    """Parameters and buffers, without those of frozen backbones, as `module/<name>`."""
    frozen = model.frozen_names()
    return {
        f"{_TENSORS}/{name}": _array(value) for name, value in model.module.state_dict().items() if name not in frozen
    }


def state_of(model: Model, loop: Loop) -> State:
    """Those, the optimisers' moments as `optimizer/<number>/<parameter>/<moment>`, and tensors that are neither as
    `beside/<module>/<attribute>`."""
    state = weights_of(model)
    for path, part in model.module.named_modules():
        state |= {
            f"{_BESIDE}/{path}/{key}": _array(value) for key, value in vars(part).items() if isinstance(value, Tensor)
        }
    for number, optimizer in enumerate(loop.optimizers):
        for parameter, moments in optimizer.state_dict()["state"].items():
            state |= {f"{_OPTIMIZER}/{number}/{parameter}/{key}": _array(value) for key, value in moments.items()}
    return state


def refuse_other(model: Model, state: State) -> None:
    """Raise ValueError unless the arrays are of this model. A buffer that is empty before the fitting may be of any shape."""
    frozen = model.frozen_names()
    wanted = {name: value for name, value in model.module.state_dict().items() if name not in frozen}
    given = {name.partition("/")[2]: array for name, array in state.items() if name.startswith(f"{_TENSORS}/")}
    others = [name for name in state if name.partition("/")[0] not in (_TENSORS, _BESIDE, _OPTIMIZER)]
    wrong = [name for name in sorted(wanted.keys() | given.keys()) if not _fits(wanted.get(name), given.get(name))]
    if wrong or others:
        raise ValueError(
            f"the state is of another model: {len(wrong + others)} arrays differ, the first is {(wrong + others)[0]}"
        )


def _fits(wanted: Tensor | None, given: Any) -> bool:
    if wanted is None or given is None:
        return False
    if not wanted.numel():
        return True
    return tuple(wanted.shape) == given.shape and as_tensor(given).dtype == wanted.dtype


def fill(model: Model, state: State) -> None:
    """Take parameters and buffers over. They have to be those that `refuse_other` lets pass."""
    parameters = dict(model.module.named_parameters())
    with torch.no_grad():
        for name, value in _below(state, _TENSORS).items():
            if name in parameters:
                parameters[name].copy_(as_tensor(value))
            else:
                path, _, key = name.rpartition(".")
                _put(model.module.get_submodule(path), key, value, model.module.device)


def fill_rest(model: Model, loop: Loop, state: State) -> None:
    """Take what is kept beside them, and the optimisers' moments."""
    for name, value in _below(state, _BESIDE).items():
        path, _, key = name.rpartition("/")
        part = model.module.get_submodule(path)
        place = getattr(part, key).device if isinstance(getattr(part, key, None), Tensor) else model.module.device
        _put(part, key, value, place)
    moments = _below(state, _OPTIMIZER)
    for number, optimizer in enumerate(loop.optimizers):
        of_all: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(moments, str(number)).items():
            parameter, _, key = name.partition("/")
            of_all.setdefault(int(parameter), {})[key] = as_tensor(value).clone()
        optimizer.load_state_dict({"state": of_all, "param_groups": optimizer.state_dict()["param_groups"]})


def _put(part: nn.Module, key: str, value: np.ndarray[Any, Any], device: torch.device) -> None:
    setattr(part, key, as_tensor(value).to(device, copy=True))


def _below(state: State, prefix: str) -> State:
    return {name[len(prefix) + 1 :]: value for name, value in state.items() if name.startswith(f"{prefix}/")}


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    return value.detach().cpu().contiguous().numpy().copy()

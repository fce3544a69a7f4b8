"""The bytes that a step's operations read and write, counted from their operands and results.

What an operation keeps to itself does not count: a block of the correlation operator never leaves the cache, so that the operator
is one operation here, but where it is written with N×N tensors; and so are the factors of its target, where they are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fod_bench.methods.fod.correlation import Correlation, implementation
from fod_bench.methods.fod.network import branches_of

_aten = torch.ops.aten
_NOTHING = {
    _aten._unsafe_view,
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.new_empty,
    _aten.new_empty_strided,
}
"""Neither reads nor writes."""
_WRITTEN_ONLY = {_aten.copy_, _aten.zero_, _aten.fill_}
"""What they change they do not read."""
_SHAPE_ONLY = {_aten.zeros_like, _aten.ones_like, _aten.full_like, _aten.new_zeros, _aten.new_ones, _aten.new_full}
"""Of their operand they take the shape."""


class Traffic(TorchDispatchMode):
    """Counts what is done while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._counting = True

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if self._counting and operation.overloadpacket not in _NOTHING:
            self.bytes += _moved(operation, args, kwargs or {}, result)
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile does not count."""
        counting, self._counting = self._counting, False
        try:
            yield
        finally:
            self._counting = counting

    def count(self, *tensors: Tensor) -> None:
        """An operation's operands and results."""
        self.bytes += sum(map(_size, tensors))

    def see_operator_as_one(self, network: nn.Module) -> None:
        """From now on the network's correlation operator is one operation forward, and one backward; compiled factors likewise."""
        for branch in branches_of(network):
            branch.correlate = partial(_as_one, self, branch.correlate)
            if implementation(next(branch.parameters()).device) == "numba":
                branch.target_factors = partial(_factors_as_one, self, branch.target_factors)


def _as_one(traffic: Traffic, operator: Callable[..., Correlation], *tensors: Tensor) -> Correlation:
    return Correlation(*_AsOne.apply(traffic, operator, *tensors))


def _factors_as_one(
    traffic: Traffic, make: Callable[..., tuple[Tensor, Tensor]], widths: Tensor, *grid: int
) -> tuple[Tensor, Tensor]:
    over_y, over_x = _AsOne.apply(traffic, lambda leaf: make(leaf, *grid), widths)
    return over_y, over_x


class _AsOne(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, traffic: Traffic, operator: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> Any:
        with traffic.paused(), torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in tensors]
            parts = operator(*leaves)
        ctx.traffic, ctx.leaves, ctx.parts = traffic, leaves, parts
        traffic.count(*leaves, *parts)
        return tuple(part.detach() for part in parts)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        with ctx.traffic.paused():
            gradients = torch.autograd.grad(ctx.parts, ctx.leaves, upstream)
        ctx.traffic.count(*ctx.leaves, *upstream, *gradients)
        return None, None, *gradients


def _moved(operation: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Bytes of operands as often as they are moved, and of results but views of an operand."""
    schema = operation._schema
    if schema.returns and all(each.alias_info and not each.alias_info.is_write for each in schema.returns):
        return 0  # a view
    given = [*zip(schema.arguments, args, strict=False), *((each, kwargs.get(each.name)) for each in schema.arguments)]
    results = result if isinstance(result, tuple | list) else (result,)
    made = [value for about, value in zip(schema.returns, results, strict=False) if about.alias_info is None]
    return sum(_times(operation, about) * _sizes(value) for about, value in given) + _sizes(made)


def _times(operation: Any, argument: Any) -> int:
    """How often an operand is moved: read, written, both, or neither."""
    if operation.overloadpacket in _SHAPE_ONLY:
        return 0
    # Adam's fused operation writes gradients only when it unscales them
    written = argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads"
    read = not (argument.is_out or (written and operation.overloadpacket in _WRITTEN_ONLY))
    return int(read) + int(written)


def _sizes(value: Any) -> int:
    return sum(_size(leaf) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers, each place of memory once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

"""The matrix products of a piece of work: their shapes are noted once, and they are done again by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_FACTORS = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}
"""Operations that are a product, and the place of its first factor among their operands."""

Shapes = tuple[torch.Size, torch.Size]
"""Of a product's two factors."""


class Recorded(TorchDispatchMode):
    """Notes the products that this thread does while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Shapes] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = _FACTORS.get(operation.overloadpacket)
        if operation.overloadpacket is _aten.linear:  # in inference mode a layer's product is seen as this
            self.products.append((args[0].flatten(0, -2).shape, args[1].mT.shape))
        elif place is not None:
            left, right = args[place : place + 2]
            self.products.append((left.shape, right.shape))
        return operation(*args, **(kwargs or {}))


def products_of(work: Callable[[], object]) -> list[Shapes]:
    """The products of some work, in order, done in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Recorded() as recorded:
            work()
    finally:
        torch.set_num_threads(threads)
    return recorded.products


def operations(products: list[Shapes]) -> int:
    """Floating-point operations, a multiply-add as two."""
    return sum(2 * left.numel() * right[-1] for left, right in products)


class Replay:
    """Does products again, each thread with factors and results of its own."""

    def __init__(self, products: list[Shapes]) -> None:
        self._products = products
        self._own = threading.local()

    def __call__(self) -> None:
        for left, right, out in self._operands():
            torch.matmul(left, right, out=out)

    def _operands(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Those of one shape are the same numbers in the same memory."""
        if not hasattr(self._own, "operands"):
            made = {
                (left, right): (torch.randn(left), torch.randn(right), torch.empty(*left[:-1], right[-1]))
                for left, right in set(self._products)
            }
            self._own.operands = [made[shapes] for shapes in self._products]
        operands: list[tuple[Tensor, Tensor, Tensor]] = self._own.operands
        return operands

"""The operator on a CPU, with the entries worked on in compiled loops (`compiled.py`), and the factors of its target.

Where PyTorch's own BLAS is MKL, and MKL's products are the fastest, whole heads are compiled code that calls it: the 200 blocks of
a step and their seven products each would else be as many calls from Python, whose threads wait for each other. Letters as in the
package and in `blocks.py`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fod_bench.methods.fod.correlation.blocks import Backward, Forward, InBlocks, Targets
from fod_bench.methods.fod.correlation.compiled import (
    backward_heads,
    backward_rows,
    factor_rows,
    factor_rows_backward,
    forward_heads,
    forward_rows,
)
from fod_bench.methods.fod.correlation.frame import Gradients, Passes, RowGradients, RowSums, correlate_by
from fod_bench.methods.fod.correlation.inputs import Inputs
from fod_bench.methods.fod.correlation.result import Correlation
from fod_bench.methods.fod.correlation.workspace import workspace
from fod_bench.methods.fod.crew import CREW
from fod_bench.methods.fod.precision import Precision, by_onednn, current_precision

_PRODUCTS: dict[Precision, str] = {"float32": "sgemm_", "bfloat16": "gemm_bf16bf16f32_"}
"""Of BLAS and of MKL, by the precision of the factors; sums are float32."""
_FACTORS: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.int16}
"""What factors are kept in; bfloat16 as its bits, since numpy has no such type."""
_CPU = torch.device("cpu")

BLOCK_ELEMENTS = 1 << 18
"""Entries of S worked on at once by a thread. A row fits the nearest cache, so that a block may be large."""


def correlate_numba(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`. Raises `TypeError` for tensors that are not float32 ones of the CPU.

    Where PyTorch records no gradients the entropy is left out, and NaN: it is a term of the losses alone, and half of the
    logarithms.
    """
    inputs = query, key, value, target_y, target_x
    for tensor in inputs:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise TypeError(
                f"the numba implementation works on float32 on a CPU, not on {tensor.dtype} on {tensor.device.type}; "
                "tiled works on any"
            )
    return correlate_by(_passes(current_precision(), torch.is_grad_enabled()), *inputs)


def _passes(precision: Precision, entropic: bool) -> Passes:
    """Whole heads, but where oneDNN's products, which cannot be called from compiled code, are the faster ones."""
    product = None if by_onednn() else product_address(precision)
    return InBlocks(Compiled(entropic)) if product is None else WholeHeads(precision, product, entropic)


@cache
def product_address(precision: Precision) -> int | None:
    """The address of MKL's `gemm` with factors of this precision; None where PyTorch brings no MKL."""
    if precision not in _PRODUCTS or not torch.backends.mkl.is_available():
        return None
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    function = getattr(ctypes.CDLL(str(library)), _PRODUCTS[precision], None) if library.exists() else None
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


class WholeHeads:
    """See `fod_bench.methods.fod.correlation.frame.Passes`."""

    def __init__(self, precision: Precision, product: int, entropic: bool = True) -> None:
        """`product`: the address of `gemm`. `entropic`: whether the entropy is wanted."""
        self._factor = _FACTORS[precision]
        self._product, self._entropic = product, entropic

    def forward(self, inputs: Inputs, output: Tensor, sums: RowSums) -> None:
        sizes, (given, targets) = _Sizes(inputs), _split(inputs)
        (made,) = _arrays(output)
        filled = self._entropic, _arrays(*(part.view(sizes.rows_shape) for part in sums))

        def work(first: int, last: int) -> None:
            (block,), (factors,) = self._blocks(sizes, "logits")
            buffers = block, factors, self._of_head(sizes)
            forward_heads(self._product, first, last, self._scales(sizes), *buffers, given, targets, made, *filled)

        sizes.share(work)

    def backward(self, inputs: Inputs, upstream: Tensor, rows: RowGradients, gradients: Gradients) -> None:
        sizes, (given, targets) = _Sizes(inputs), _split(inputs)
        given += _arrays(upstream)
        of_rows = _arrays(*(part.view(sizes.rows_shape) for part in rows[:4]))
        made = _arrays(*gradients, rows.y, rows.x)
        scale = np.float32(sizes.scale)

        def work(first: int, last: int) -> None:
            sums = _buffers((sizes.columns, sizes.depth), torch.float32, "key sum", "value sum")
            of_head = self._of_head(sizes, "upstream")
            buffers = *self._blocks(sizes, "logits", "gradient"), of_head, sums
            backward_heads(
                self._product, first, last, self._scales(sizes), *buffers, given, targets, of_rows, made, scale
            )

        sizes.share(work)

    def _scales(self, sizes: _Sizes) -> tuple[Any, Any]:
        """Of the logits, to base 2, in their product and after it: one of bfloat16 factors takes a third less time without."""
        whole, none = np.float32(sizes.scale / math.log(2.0)), np.float32(1.0)
        return (whole, none) if self._factor == torch.float32 else (none, whole)

    def _blocks(self, sizes: _Sizes, *names: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Buffers (R, M) for entries of S, and for them as factors: the same ones where those are float32."""
        shape = sizes.rows, sizes.columns
        blocks = _buffers(shape, torch.float32, *names)
        if self._factor == torch.float32:
            return blocks, blocks
        return blocks, _buffers(shape, self._factor, *(f"{name} rounded" for name in names))

    def _of_head(self, sizes: _Sizes, *more: str) -> tuple[Any, ...]:
        """Buffers for the query of a head, its key and value, and `more` of the query's size as factors, (N or M, d)."""
        (query, *others) = _buffers((sizes.tokens, sizes.depth), self._factor, "query", *more)
        return query, *_buffers((sizes.columns, sizes.depth), self._factor, "key", "value"), *others


def _buffers(shape: tuple[int, ...], dtype: torch.dtype, *names: str) -> tuple[Any, ...]:
    """Of this thread, as arrays."""
    return _arrays(*workspace(shape, dtype, _CPU, *names))


class _Sizes:
    """Sizes of what the operator is given, and how its heads are shared out."""

    def __init__(self, inputs: Inputs) -> None:
        images, self._heads, self.tokens, self.depth = inputs.query.shape
        self._all_heads = images * self._heads
        self.columns = inputs.key.shape[-2]
        self.rows = max(1, min(self.tokens, BLOCK_ELEMENTS // self.columns))
        self.rows_shape = (images, self._heads, self.tokens)
        self.scale = self.depth**-0.5

    def share(self, work: Callable[[int, int], None]) -> None:
        """Do the work of all heads, from one to another. As many threads as PyTorch has take whole heads each, of small ones
        several, and nothing has to be waited for within one."""
        threads = torch.get_num_threads()
        most = BLOCK_ELEMENTS // (self.tokens * self.columns) if threads > 1 else self._all_heads
        group = max(1, min(most, -(-self._all_heads // threads)))
        parts = [(first, min(first + group, self._all_heads)) for first in range(0, self._all_heads, group)]
        CREW.map(lambda part: work(*part), parts, threads)


def _split(inputs: Inputs) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Query, key and value as arrays; and the target's factors, of whose rows vectors are made, so that they lie in lines."""
    return _arrays(*inputs[:3]), _arrays(*(factor.contiguous() for factor in inputs[3:]))


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    """The same memory as arrays."""
    return tuple(tensor.detach().numpy() for tensor in tensors)


class Compiled:
    """See `fod_bench.methods.fod.correlation.blocks.Arithmetic`."""

    def __init__(self, entropic: bool = True) -> None:
        """`entropic`: whether the entropy is wanted."""
        self._entropic = entropic

    def block_elements(self, device: torch.device) -> int:
        return BLOCK_ELEMENTS

    def forward(self, target: Targets, sums: RowSums) -> Forward:
        arrays = [*_flat(*target), self._entropic, *_flat_rows(*sums)]

        def attend(rows: slice, logits: Tensor) -> Tensor:
            forward_rows(rows.start, *_flat(logits), *arrays)
            return logits

        return attend

    def backward(self, target: Targets, rows: RowGradients) -> Backward:
        arrays = [*_flat(*target, rows.y, rows.x), *_flat_rows(*rows[:4])]

        def through(at: slice, logits: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
            backward_rows(at.start, *_flat(logits, gradient), *arrays)
            return logits, gradient

        return through


def _flat(*tensors: Tensor) -> list[Any]:
    """(g, R, k) as arrays (g·R, k) of the same memory: a block of several heads has all of their rows, so they are one piece."""
    return [tensor.view(-1, tensor.shape[-1]).numpy() for tensor in tensors]


def _flat_rows(*tensors: Tensor) -> list[Any]:
    """A number for each row, as arrays (g·R,)."""
    return [tensor.view(-1).numpy() for tensor in tensors]


def factor_numba(sigma: Tensor, step: int, length: int) -> Tensor:
    """A factor of the target, (B, h, N, L): Gaussians of width `sigma` (B, h, N), see `fod_bench.methods.fod.target`."""
    made: Tensor = _Factor.apply(sigma, step, length)
    return made


class _Factor(torch.autograd.Function):
    """In one piece, for it takes a thread less time than to share it out."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor, step: int, length: int) -> Tensor:
        sigma = sigma.contiguous()  # one memory layout is compiled
        factor = sigma.new_empty(*sigma.shape, length)
        factor_rows(*_arrays(sigma), step, *_arrays(factor))
        ctx.step = step
        ctx.save_for_backward(sigma, factor)
        return factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        sigma, factor = ctx.saved_tensors
        made = torch.empty_like(sigma)
        factor_rows_backward(*_arrays(sigma), ctx.step, *_arrays(factor, upstream.contiguous(), made))
        return made, None, None

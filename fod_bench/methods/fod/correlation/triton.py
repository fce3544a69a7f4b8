"""The operator on a GPU, by kernels in Triton: nothing of size N×M is kept, no atomic sums, so that a result repeats to the bit.

Div and its gradient hold log(S + ε) of the normalised S, so the forward pass sweeps over the references twice: for the
softmax's maximum and sum, then for everything else. The backward pass is two kernels: one owns query rows (gradients of query and
target), one owns references (gradients of key and value). Each recomputes S from the kept maximum and sum.

Letters as in the package.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from fod_bench.methods.fod.correlation.result import Correlation
from fod_bench.methods.fod.correlation.triton_kernels import (
    forward_kernel,
    key_kernel,
    query_kernel,
    softmax_kernel,
)
from fod_bench.methods.fod.precision import Precision, current_precision

_PRODUCT: dict[Precision, str] = {"float32": "tf32x3", "tf32": "tf32", "bfloat16": "bfloat16"}
"""Three products in TF32, of each factor's first ten bits and of the rest, are as exact as one in float32 and much faster."""
_INTERPRETED_PRODUCT = _PRODUCT | {"bfloat16": "rounded"}  # the interpreter's own product takes bfloat16 for integers


def correlate_triton(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`. Matrix products are in the current precision.

    Raises:
        TypeError: the tensors are not float32.
        ValueError: they are on a CPU, and Triton does not interpret.
    """
    if query.dtype != torch.float32:
        raise TypeError(f"the triton implementation works on float32, not {query.dtype}; tiled works on both")
    if query.device.type == "cpu" and not _INTERPRETED:
        raise ValueError(
            "the triton implementation works on a GPU; on a CPU only in Triton's interpreter, which is slow: set "
            "TRITON_INTERPRET=1 before the program starts, or name the implementation tiled"
        )
    return Correlation(*_Correlate.apply(query, key, value, target_y, target_x))


class _Correlate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor
    ) -> tuple[Tensor, ...]:
        tensors = [tensor.contiguous() for tensor in (query, key, value, target_y, target_x)]
        tokens, depth = query.shape[-2:]
        groups = query.shape[0] * query.shape[1]
        tiling = Tiling(groups, tokens, depth, target_y.shape[-1], target_x.shape[-1], current_precision())
        parts = query.new_empty(2, tiling.parts, groups, tokens)
        scales = query.new_empty(2, groups, tokens)
        outputs = query.new_empty(tiling.parts, *query.shape)
        sums = query.new_empty(tiling.parts, 4, *query.shape[:-1])
        arguments = tiling.arguments() | {"part_height": tiling.part_height}
        softmax_kernel[tiling.query_grid](*tensors[:2], parts, **arguments)
        forward_kernel[tiling.query_grid](*tensors, parts, scales, outputs, sums, **arguments)
        output, (divergence, entropy, *means) = _together(outputs), _together(sums)
        ctx.save_for_backward(*tensors, output, scales, *means)
        ctx.tiling = tiling
        return output, divergence, divergence.clone(), entropy.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, output, scales, divergence_mean, entropy_mean = ctx.saved_tensors
        query, key, value, target_y, target_x = tensors
        tiling: Tiling = ctx.tiling
        upstream, to_target, to_attention, to_entropy = (gradient.contiguous() for gradient in gradients)
        # Σ_j S·(gradient of S), per query and head
        mean = (upstream * output).sum(-1) + to_attention * divergence_mean + to_entropy * entropy_mean
        weights = torch.stack((to_target, to_attention, to_entropy, mean))  # (4, B, h, N)
        query_parts, x_parts = (tensor.new_empty(tiling.parts, *tensor.shape) for tensor in (query, target_x))
        key_parts, value_parts = (tensor.new_empty(tiling.key_parts, *tensor.shape) for tensor in (key, value))
        y_parts = target_y.new_empty(tiling.x_blocks, *target_y.shape)
        given = (*tensors, scales, upstream, weights)
        query_kernel[tiling.query_grid](
            *given, query_parts, y_parts, x_parts, part_height=tiling.part_height, **tiling.arguments()
        )
        key_kernel[tiling.key_grid](
            *given, key_parts, value_parts, part_tokens=tiling.part_tokens, **tiling.arguments()
        )
        return tuple(_together(parts) for parts in (query_parts, key_parts, value_parts, y_parts, x_parts))


def _together(parts: Tensor) -> Tensor:
    """The sum of the parts (P, …)."""
    return parts[0] if len(parts) == 1 else parts.sum(0)


class Tiling:
    """Sizes of a call's tiles and parts, and with them the kernels' grids and arguments."""

    def __init__(self, groups: int, tokens: int, depth: int, height: int, width: int, precision: Precision) -> None:
        self.tokens, self.depth, self.height, self.width = tokens, depth, height, width
        self.product = (_INTERPRETED_PRODUCT if _INTERPRETED else _PRODUCT)[precision]
        self.block_depth = max(16, triton.next_power_of_2(depth))
        self.block_rows, self.warps = TILES[min(128, self.block_depth)]
        self.block_x = 16 if width <= 16 or self.block_depth > 32 else 32
        row_blocks, self.x_blocks = triton.cdiv(tokens, self.block_rows), triton.cdiv(width, self.block_x)
        # parts of whole grid rows, and of whole blocks of queries
        self.part_height = triton.cdiv(height, min(height, max(1, PROGRAMS // (row_blocks * groups))))
        self.parts = triton.cdiv(height, self.part_height)
        key_blocks = height * self.x_blocks
        part_blocks = triton.cdiv(row_blocks, min(row_blocks, max(1, PROGRAMS // (key_blocks * groups))))
        self.part_tokens = part_blocks * self.block_rows
        self.key_parts = triton.cdiv(row_blocks, part_blocks)
        self.query_grid = (row_blocks, groups, self.parts)
        self.key_grid = (key_blocks, groups, self.key_parts)

    def arguments(self) -> dict[str, Any]:
        """The sizes that all kernels take."""
        return {
            "tokens": self.tokens,
            "height": self.height,
            "width": self.width,
            "scale": self.depth**-0.5,
            "DEPTH": self.depth,
            "BLOCK_DEPTH": self.block_depth,
            "BLOCK_ROWS": self.block_rows,
            "BLOCK_X": self.block_x,
            "PRODUCT": self.product,
            "num_warps": self.warps,
        }


TILES = {16: (32, 4), 32: (32, 4), 64: (32, 4), 128: (16, 8)}
"""By the depth of a head, in whole powers of two, a tile's rows and its warps; a matrix product's sides are 16 at least, and deeper
heads leave registers for smaller tiles."""
PROGRAMS = 1024
"""Programs that fill a GPU, some eight on each of its multiprocessors: a call of fewer is split into parts."""
_INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)
"""Whether `TRITON_INTERPRET` was set when this module was imported."""

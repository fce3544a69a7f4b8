"""The operator on a GPU, by kernels in Triton: nothing of size N×M is kept, no atomic sums, so that a result repeats to the bit.

Div and its gradient hold log(S + ε) of the normalised S, so the forward kernel sweeps over the references twice: for the
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
from fod_bench.methods.fod.correlation.triton_kernels import forward_kernel, key_kernel, query_kernel
from fod_bench.methods.fod.precision import Precision, current_precision

_PRODUCT: dict[Precision, str] = {"float32": "ieee", "tf32": "tf32", "bfloat16": "bfloat16"}
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
        tiling = Tiling(tokens, depth, target_y.shape[-1], target_x.shape[-1], current_precision())
        groups = query.shape[:2]
        output = torch.empty_like(tensors[0])
        divergence, entropy = (query.new_empty(query.shape[:-1]) for _ in range(2))
        statistics = query.new_empty(4, *query.shape[:-1])
        grid = (tiling.row_blocks, groups.numel())
        forward_kernel[grid](*tensors, output, divergence, entropy, statistics, **tiling.arguments(groups.numel()))
        ctx.save_for_backward(*tensors, output, statistics)
        ctx.tiling = tiling
        return output, divergence, divergence.clone(), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, output, statistics = ctx.saved_tensors
        query, key, value, target_y, target_x = tensors
        tiling: Tiling = ctx.tiling
        groups = query.shape[0] * query.shape[1]
        upstream, to_target, to_attention, to_entropy = (gradient.contiguous() for gradient in gradients)
        # Σ_j S·(gradient of S), per query and head
        mean = (upstream * output).sum(-1) + to_attention * statistics[2] + to_entropy * statistics[3]
        weights = torch.stack((to_target, to_attention, to_entropy, mean))  # (4, B, h, N)
        query_gradient, key_gradient, value_gradient, x_gradient = (
            torch.empty_like(tensor) for tensor in (query, key, value, target_x)
        )
        y_parts = target_y.new_empty(tiling.x_blocks, *target_y.shape)  # one for each part of a grid row
        arguments = tiling.arguments(groups)
        query_kernel[tiling.row_blocks, groups](
            *tensors, statistics, upstream, weights, query_gradient, y_parts, x_gradient, **arguments
        )
        key_kernel[tiling.height * tiling.x_blocks, groups](
            *tensors, statistics, upstream, weights, key_gradient, value_gradient, **arguments
        )
        y_gradient = y_parts[0] if tiling.x_blocks == 1 else y_parts.sum(0)
        return query_gradient, key_gradient, value_gradient, y_gradient, x_gradient


class Tiling:
    """Sizes of a call's tiles, and with them the kernels' arguments."""

    def __init__(self, tokens: int, depth: int, height: int, width: int, precision: Precision) -> None:
        self.tokens, self.depth, self.height, self.width = tokens, depth, height, width
        self.product = (_INTERPRETED_PRODUCT if _INTERPRETED else _PRODUCT)[precision]
        self.block_depth = max(16, triton.next_power_of_2(depth))
        # a matrix product's sides are 16 at least; deeper heads leave registers for smaller tiles
        self.block_rows = 32 if self.block_depth <= 64 else 16
        self.block_x = 16 if width <= 16 or self.block_depth > 32 else 32
        self.row_blocks = triton.cdiv(tokens, self.block_rows)
        self.x_blocks = triton.cdiv(width, self.block_x)

    def arguments(self, groups: int) -> dict[str, Any]:
        """The sizes as the kernels take them."""
        return {
            "groups": groups,
            "tokens": self.tokens,
            "height": self.height,
            "width": self.width,
            "scale": self.depth**-0.5,
            "DEPTH": self.depth,
            "BLOCK_DEPTH": self.block_depth,
            "BLOCK_ROWS": self.block_rows,
            "BLOCK_X": self.block_x,
            "PRODUCT": self.product,
            "num_warps": 8 if self.block_depth >= 128 else 4,  # so that no register is spilled
        }


_INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)
"""Whether `TRITON_INTERPRET` was set when this module was imported."""

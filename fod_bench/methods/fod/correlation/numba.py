"""The operator on a CPU, with a block's entries worked on in compiled loops, which Numba makes at the first use and keeps on disk.

PyTorch passes over a block some twenty times, and half of that time goes into logarithms. Here every entry is read once. Logarithm
and power have the coefficients of the Cephes library (S. Moshier) for float32 and are written so that the compiler makes vectors of
them: a polynomial of the mantissa, and the exponent from the bits. Neither argument nor result leaves float32's normal numbers.
Letters as in the package and in `blocks.py`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from fod_bench.methods.fod.correlation.blocks import (
    Backward,
    Forward,
    RowGradients,
    RowSums,
    Targets,
    correlate_in_blocks,
)
from fod_bench.methods.fod.correlation.result import EPSILON, Correlation

BLOCK_ELEMENTS = 1 << 18
"""Entries of S worked on at once by a thread. A row fits the nearest cache, so that a block may be large."""


def correlate_numba(query: Tensor, key: Tensor, value: Tensor, target_y: Tensor, target_x: Tensor) -> Correlation:
    """See `fod_bench.methods.fod.correlation.correlate`. Raises `TypeError` for tensors that are not float32 ones of the CPU."""
    if query.dtype != torch.float32 or query.device.type != "cpu":
        raise TypeError(
            f"the numba implementation works on float32 on a CPU, not on {query.dtype} on {query.device.type}; "
            "tiled works on any"
        )
    return correlate_in_blocks(Compiled(), query, key, value, target_y, target_x)


class Compiled:
    """See `fod_bench.methods.fod.correlation.blocks.Arithmetic`."""

    def block_elements(self, device: torch.device) -> int:
        return BLOCK_ELEMENTS

    def forward(self, target: Targets, sums: RowSums) -> Forward:
        arrays = [*_flat(*target), *_flat_rows(*sums)]

        def attend(rows: slice, logits: Tensor) -> Tensor:
            _forward(rows.start, *_flat(logits), *arrays)
            return logits

        return attend

    def backward(self, target: Targets, rows: RowGradients) -> Backward:
        arrays = [*_flat(*target, rows.y, rows.x), *_flat_rows(*rows[:4])]

        def through(at: slice, logits: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
            _backward(at.start, *_flat(logits, gradient), *arrays)
            return logits, gradient

        return through


def _flat(*tensors: Tensor) -> list[Any]:
    """(g, R, k) as arrays (g·R, k) of the same memory: a block of several heads has all of their rows, so they are one piece."""
    return [tensor.view(-1, tensor.shape[-1]).numpy() for tensor in tensors]


def _flat_rows(*tensors: Tensor) -> list[Any]:
    """A number for each row, as arrays (g·R,)."""
    return [tensor.view(-1).numpy() for tensor in tensors]


@intrinsic
def _bits(context, number):
    """The bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(32))


@intrinsic
def _from_bits(context, number):
    """The float32 of an int32's bits."""
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


@intrinsic
def _widest_vectors(_):
    """Take vectors of 512 bits where the processor has them; LLVM prefers 256 on Intel's, for the clock rate of early ones."""

    def generate(context, builder, _, __):
        # llvmlite refuses attributes that it does not know, and writes them as they are
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


_one, _half, _zero = np.float32(1), np.float32(0.5), np.float32(0)
_per_epsilon = np.float32(1.0 / EPSILON)
_l0, _l1, _l2, _l3, _l4, _l5, _l6, _l7, _l8 = (
    np.float32(coefficient)
    for coefficient in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
)
_ln2_high, _ln2_low = np.float32(0.693359375), np.float32(-2.12194440e-4)
_e0, _e1, _e2, _e3, _e4, _e5 = (
    np.float32(coefficient)
    for coefficient in (
        1.535336188319500e-4,
        1.339887440266574e-3,
        9.618437357674640e-3,
        5.550332471162809e-2,
        2.402264791363012e-1,
        6.931472028550421e-1,
    )
)
_lowest_exponent, _bias, _mantissa_bits, _root_half = (
    np.float32(-64),
    np.int32(127),
    np.int32(23),
    np.int32(0x3F3504F3),
)
_zero_bits, _sign_bit, _without_sign, _infinity, _not_a_number = (
    np.int32(0),
    np.int32(31),
    np.int32(0x7FFFFFFF),
    np.int32(0x7F800000),
    np.int32(0x7FC00000),
)

_PIECE = 64
"""Terms of a row's sums that are added up in float32."""

_FINITE = {"contract", "nsz", "nnan", "ninf"}
_inlined = njit(fastmath=_FINITE, error_model="numpy", forceinline=True)


def _compiled(function):
    # in any order of a sum's terms, as vectors take them
    kernel = njit(function, fastmath={*_FINITE, "reassoc", "arcp"}, error_model="numpy", nogil=True)
    with contextlib.suppress(RuntimeError):  # no folder can be written to: every process makes it anew
        kernel.enable_caching()
    return kernel


@_inlined
def _log(x):
    """ln x of a normal positive number."""
    bits = _bits(x)
    exponent = (bits - _root_half) >> _mantissa_bits  # so that the mantissa lies between √½ and √2
    m = _from_bits(bits - (exponent << _mantissa_bits)) - _one
    e = np.float32(exponent)
    square = m * m
    y = (((((((_l0 * m + _l1) * m + _l2) * m + _l3) * m + _l4) * m + _l5) * m + _l6) * m + _l7) * m + _l8
    y = y * m * square + e * _ln2_low - _half * square
    return m + y + e * _ln2_high


@_inlined
def _in_order(bits):
    """A float32's bits as a number that is larger for a larger one, and back: maxima of integers are taken in vectors."""
    return bits ^ ((bits >> _sign_bit) & _without_sign)


@_inlined
def _exp2(x):
    """2^x of a number that is not positive; at least 2^−64, so that what it is multiplied with stays a normal number."""
    x = max(x, _lowest_exponent)
    whole = np.int32(x - _half)  # rounded: the cast cuts towards zero
    r = x - np.float32(whole)
    y = ((((_e0 * r + _e1) * r + _e2) * r + _e3) * r + _e4) * r + _e5
    return (y * r + _one) * _from_bits((whole + _bias) << _mantissa_bits)


@_compiled
def _forward(first, logits, y, x, divergence, entropy, highest, inverse_sum):
    """`Arithmetic.forward` of rows (R, M), the head's rows from `first` on: logits become the attention."""
    _widest_vectors()
    width, of_target = (
        x.shape[1],
        np.empty(logits.shape[1], np.float32),
    )  # a row of T/ε: lines may be shorter than a vector
    for row in range(len(logits)):
        entries, at = logits[row], first + row
        x_row, order, largest, total = x[at], _in_order(_bits(entries[0])), _zero_bits, _zero
        for j in range(len(entries)):
            bits = _bits(entries[j])
            order, largest = max(order, _in_order(bits)), max(largest, bits & _without_sign)
        most = _from_bits(_in_order(order))
        for j in range(len(entries)):
            power = _exp2(entries[j] - most)
            entries[j] = power
            total += power
        # what is not finite the loops would not notice: then the row is NaN
        scale = _one / total if largest < _infinity else _from_bits(_not_a_number)
        for at_y in range(y.shape[1]):
            factor = y[at, at_y] * _per_epsilon
            for j in range(width):
                of_target[at_y * width + j] = factor * x_row[j]
        divergence_sum = entropy_sum = 0.0  # float64: their terms cancel
        for start in range(0, len(entries), _PIECE):
            piece, target = entries[start : start + _PIECE], of_target[start : start + _PIECE]
            piece_divergence = piece_entropy = _zero
            for j in range(len(piece)):
                s = piece[j] * scale
                piece[j] = s
                p, t = s * _per_epsilon, target[j]
                log_p = _log(p + _one)
                piece_divergence += (t - p) * (_log(t + _one) - log_p)
                piece_entropy += s * log_p
            divergence_sum += piece_divergence
            entropy_sum += piece_entropy
        divergence[at], entropy[at], highest[at], inverse_sum[at] = divergence_sum, entropy_sum, most, scale


@_compiled
def _backward(first, logits, gradient, y, x, y_gradient, x_gradient, highest, inverse_sum, to_attention, to_entropy):
    """`Arithmetic.backward` of rows (R, M), the head's rows from `first` on: logits become the attention, its gradient theirs."""
    _widest_vectors()
    width, of_target = x.shape[1], np.empty(logits.shape[1], np.float32)
    for row in range(len(logits)):
        at = first + row
        entries, entries_gradient, x_row, x_sums = logits[row], gradient[row], x[at], x_gradient[at]
        most, scale, weight, entropy_weight = highest[at], inverse_sum[at], to_attention[at], to_entropy[at]
        x_sums[:] = _zero
        total = _zero
        for at_y in range(y.shape[1]):
            scaled = y[at, at_y] * _per_epsilon
            for j in range(width):
                of_target[at_y * width + j] = scaled * x_row[j]
        for j in range(len(entries)):
            s = _exp2(entries[j] - most) * scale
            entries[j] = s
            p, t = s * _per_epsilon + _one, of_target[j] + _one  # (S + ε)/ε and (T + ε)/ε
            log_p = _log(p)
            log_ratio = _log(t) - log_p
            inverse = _one / (p * t)  # one division for both
            inverse_p = inverse * t
            # dDiv/dT less 1, as in `tiled.py`
            of_target[j] = log_ratio - p * p * inverse
            # dDiv/dS and dEnt/dS but for what is constant along a row, which the softmax's gradient removes
            v = entries_gradient[j] - weight * (log_ratio + t * inverse_p) + entropy_weight * (inverse_p - log_p)
            v *= s
            entries_gradient[j] = v
            total += v
        for at_y in range(y.shape[1]):
            factor, y_sum = y[at, at_y], _zero
            for j in range(width):
                u = of_target[at_y * width + j]
                y_sum += u * x_row[j]
                x_sums[j] += u * factor
            y_gradient[at, at_y] = y_sum
        for j in range(len(entries)):
            entries_gradient[j] -= entries[j] * total

"""Loops over the entries of S, whole heads with their products, and the factors of T, compiled by Numba and kept on disk.

PyTorch passes over a block some twenty times, and half of that time goes into logarithms. Here every entry is read once. Logarithm
and power have the coefficients of the Cephes library (S. Moshier) for float32 and are written so that the compiler makes vectors of
them: a polynomial of the mantissa, and the exponent from the bits. Neither argument nor result leaves float32's normal numbers.
Letters as in the package and in `blocks.py`. All of it is one file, since what is on disk is made anew when its own file changes.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload


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
_per_epsilon = np.float32(1e4)
"""1/ε; a number here, since what is on disk would not notice a change elsewhere."""
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
_bfloat16_nan, _below_half, _lost_bits, _lowest_bit = np.int16(0x7FC0), np.int32(0x7FFF), np.int32(16), np.int32(1)
_turned, _as_is = np.uint8(ord("T")), np.uint8(ord("N"))
"""BLAS's names for how a matrix is taken."""

_per_square, _lowest_power = np.float32(-0.5 / math.log(2.0)), np.float32(-40.0 / math.log(2.0))
"""A Gaussian as a power of 2, and `LOWEST_EXPONENT` of `target.py` likewise; numbers here as 1/ε is."""

_PIECE = 64
"""Terms of a row's sums that are added up in float32."""

_FINITE = {"contract", "nsz", "nnan", "ninf"}
_ANY_ORDER = {*_FINITE, "reassoc", "arcp"}
"""Of a sum's terms, as vectors take them."""
_inlined = njit(fastmath=_FINITE, error_model="numpy", forceinline=True)
_loops = njit(fastmath=_ANY_ORDER, error_model="numpy", forceinline=True)
"""Made part of each kernel that has them. Were they functions of their own, a kernel from disk would have others, to last bits,
than one that was just compiled."""


def _kernel(function):
    made = njit(function, fastmath=_ANY_ORDER, error_model="numpy", nogil=True)
    with contextlib.suppress(RuntimeError):  # no folder can be written to: every process makes it anew
        made.enable_caching()
    return made


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


@_inlined
def _rounded(number):
    """The bits of the bfloat16 nearest to a float32, of two the even one; what is no number stays none."""
    bits = _bits(number)
    if bits & _without_sign > _infinity:
        return _bfloat16_nan
    return np.int16((bits + _below_half + ((bits >> _lost_bits) & _lowest_bit)) >> _lost_bits)


def _factor(number, factors):
    """A float32 as a factor of products, in the type of `factors`: float32, or the bits of a bfloat16 in an int16."""


@overload(_factor, inline="always")
def _factor_as(number, factors):
    if factors.dtype == types.int16:
        return lambda number, factors: _rounded(number)
    return lambda number, factors: number


def _round_row(block, row, factors):
    """A row of a block as factors; where those are float32 they are the same memory."""


@overload(_round_row, inline="always")
def _round_row_as(block, row, factors):
    if factors.dtype == types.int16:

        def rounded(block, row, factors):
            for j in range(block.shape[1]):
                factors[row, j] = _rounded(block[row, j])

        return rounded
    return lambda block, row, factors: None


@_loops
def _target_row(y, x, of_target):
    """Fill a row of T/ε: lines may be shorter than a vector, a row is not."""
    _widest_vectors()
    for at_y in range(len(y)):
        factor = y[at_y] * _per_epsilon
        for j in range(len(x)):
            of_target[at_y * len(x) + j] = factor * x[j]


@_loops
def _attention_row(entries, inverse, of_target):
    """Make powers the attention, S; its divergence and entropy. Sums are float64, since their terms cancel."""
    _widest_vectors()
    divergence = entropy = 0.0
    for start in range(0, len(entries), _PIECE):
        piece, target = entries[start : start + _PIECE], of_target[start : start + _PIECE]
        piece_divergence = piece_entropy = _zero
        for j in range(len(piece)):
            s = piece[j] * inverse
            piece[j] = s
            p, t = s * _per_epsilon, target[j]
            log_p = _log(p + _one)
            piece_divergence += (t - p) * (_log(t + _one) - log_p)
            piece_entropy += s * log_p
        divergence += piece_divergence
        entropy += piece_entropy
    return divergence, entropy


@_loops
def _attention_row_without_entropy(entries, inverse, of_target):
    """The same of the divergence alone, which takes one logarithm, of a ratio, and no more."""
    _widest_vectors()
    divergence = 0.0
    for start in range(0, len(entries), _PIECE):
        piece, target = entries[start : start + _PIECE], of_target[start : start + _PIECE]
        piece_divergence = _zero
        for j in range(len(piece)):
            s = piece[j] * inverse
            piece[j] = s
            p, t = s * _per_epsilon, target[j]
            piece_divergence += (t - p) * _log((t + _one) / (p + _one))
        divergence += piece_divergence
    return divergence


@_loops
def _forward(first, logits, scale, factors, y, x, entropic, divergence, entropy, highest, inverse_sum):
    """`blocks.Arithmetic.forward` of rows (R, M), the head's rows from `first` on: logits, times `scale`, become the attention.
    The entropy is NaN unless `entropic`."""
    _widest_vectors()
    of_target = np.empty(logits.shape[1], np.float32)
    for row in range(len(logits)):
        entries, at = logits[row], first + row
        x_row, order, largest, total = x[at], _in_order(_bits(entries[0])), _zero_bits, _zero
        for j in range(len(entries)):
            bits = _bits(entries[j])
            order, largest = max(order, _in_order(bits)), max(largest, bits & _without_sign)
        most = _from_bits(_in_order(order))
        for j in range(len(entries)):
            power = _exp2((entries[j] - most) * scale)
            entries[j] = power
            total += power
        # what is not finite the loops would not notice: then the row is NaN
        inverse = _one / total if largest < _infinity else _from_bits(_not_a_number)
        _target_row(y[at], x_row, of_target)
        if entropic:
            divergence[at], entropy[at] = _attention_row(entries, inverse, of_target)
        else:
            divergence[at] = _attention_row_without_entropy(entries, inverse, of_target)
            entropy[at] = _from_bits(_not_a_number)
        highest[at], inverse_sum[at] = most, inverse
        _round_row(logits, row, factors)


@_loops
def _backward(first, logits, scale, gradient, factors, gradient_factors, y, x, y_gradient, x_gradient, of_rows):
    """`blocks.Arithmetic.backward` of rows (R, M), the head's rows from `first` on: logits, times `scale`, become the attention,
    its gradient theirs."""
    _widest_vectors()
    highest, inverse_sum, to_attention, to_entropy = of_rows
    width, of_target = x.shape[1], np.empty(logits.shape[1], np.float32)
    for row in range(len(logits)):
        at = first + row
        entries, entries_gradient, x_row, x_sums = logits[row], gradient[row], x[at], x_gradient[at]
        most, inverse_total, weight, entropy_weight = highest[at], inverse_sum[at], to_attention[at], to_entropy[at]
        x_sums[:] = _zero
        total = _zero
        _target_row(y[at], x_row, of_target)
        for j in range(len(entries)):
            s = _exp2((entries[j] - most) * scale) * inverse_total
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
        _round_row(logits, row, factors)
        _round_row(gradient, row, gradient_factors)


@_kernel
def forward_rows(first, logits, y, x, entropic, divergence, entropy, highest, inverse_sum):
    """`blocks.Arithmetic.forward` of rows (R, M), the head's rows from `first` on; see `_forward`."""
    _forward(first, logits, _one, logits, y, x, entropic, divergence, entropy, highest, inverse_sum)


@_kernel
def backward_rows(first, logits, gradient, y, x, y_gradient, x_gradient, *of_rows):
    """`blocks.Arithmetic.backward` of rows (R, M), the head's rows from `first` on; see `_backward`."""
    _backward(first, logits, _one, gradient, logits, gradient, y, x, y_gradient, x_gradient, of_rows)


@_kernel
def factor_rows(sigma, step, factor):
    """Fill each row of `factor` (B, h, N, L) with a Gaussian on 0..L-1 of width `sigma` (B, h, N) and of sum one, around the place
    i // step of patch i, counted anew after each L."""
    _widest_vectors()
    images, heads, patches, length = factor.shape
    for image in range(images):
        for head in range(heads):
            for patch in range(patches):
                width, row = sigma[image, head, patch], factor[image, head, patch]
                at, narrow, total = np.float32(patch // step % length), _per_square / (width * width), _zero
                for j in range(length):
                    offset = np.float32(np.int32(j)) - at
                    power = narrow * offset * offset
                    entry = _exp2(power) if power > _lowest_power else _zero
                    row[j] = entry
                    total += entry
                inverse = _one / total if (_bits(width) & _without_sign) < _infinity else _from_bits(_not_a_number)
                for j in range(length):
                    row[j] *= inverse


@_kernel
def factor_rows_backward(sigma, step, factor, gradient, made):
    """Fill `made` (B, h, N) with the gradient of `sigma`, from that of what `factor_rows` has made."""
    _widest_vectors()
    images, heads, patches, length = factor.shape
    for image in range(images):
        for head in range(heads):
            for patch in range(patches):
                width, row, upstream = (
                    sigma[image, head, patch],
                    factor[image, head, patch],
                    gradient[image, head, patch],
                )
                at, mean, total = np.float32(patch // step % length), _zero, _zero
                for j in range(length):
                    mean += row[j] * upstream[j]
                for j in range(length):
                    offset = np.float32(np.int32(j)) - at
                    total += row[j] * (upstream[j] - mean) * offset * offset
                made[image, head, patch] = total / (width * width * width)


@intrinsic
def _blas(context, product, b_turned, a_turned, n, m, k, alpha, b, b_line, a, a_line, beta, c, c_line):
    """Call BLAS's `gemm` at the address `product`, by its Fortran interface: every argument by reference, matrices by columns."""
    flags, sizes, matrix = (types.uint8,) * 2, (types.int32,) * 3, (types.intp, types.int32)
    signature = types.void(types.intp, *flags, *sizes, types.float32, *matrix, *matrix, types.float32, *matrix)

    def generate(context, builder, signature, given):
        arguments = [
            builder.inttoptr(value, ir.IntType(8).as_pointer())
            if of == types.intp
            else cgutils.alloca_once_value(builder, value)
            for of, value in zip(signature.args[1:], given[1:], strict=True)
        ]
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(builder.inttoptr(given[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return signature, generate


@_inlined
def _multiply(product, alpha, a, a_turned, b, b_turned, beta, c):
    """C = α·A·B + β·C, each by rows, A and B turned over first where so said. By columns it is Cᵀ = α·Bᵀ·Aᵀ + β·Cᵀ."""
    _blas(
        product,
        _turned if b_turned else _as_is,
        _turned if a_turned else _as_is,
        np.int32(c.shape[1]),
        np.int32(c.shape[0]),
        np.int32(a.shape[0] if a_turned else a.shape[1]),
        alpha,
        b.ctypes.data,
        np.int32(b.strides[0] // b.itemsize),
        a.ctypes.data,
        np.int32(a.strides[0] // a.itemsize),
        beta,
        c.ctypes.data,
        np.int32(c.strides[0] // c.itemsize),
    )


@_loops
def _take(source, factors):
    """Rows (R, k), which may lie apart in memory, as factors side by side: they are multiplied faster."""
    _widest_vectors()
    for row in range(len(source)):
        for j in range(source.shape[1]):
            factors[row, j] = _factor(source[row, j], factors)


@_kernel
def forward_heads(product, first, last, scales, block, factors, of_head, inputs, targets, output, entropic, sums):
    """`frame.Passes.forward` of the heads from `first` to `last` of all images', with `gemm` at the address `product`.

    `scales` of the logits are two, for their product and for the loops. Buffers: `block` (R, M) for logits and attention; `factors`
    for the attention as a factor, the same memory where it is one; `of_head` for the factors query, key and value of a head.
    """
    (query, key, value), (y, x), (divergence, entropy, highest, inverse_sum) = inputs, targets, sums
    q, k, v = of_head
    heads, tokens, rows = query.shape[1], query.shape[2], len(block)
    for number in range(first, last):
        at = number // heads, number % heads
        _take(query[at], q)
        _take(key[at], k)
        _take(value[at], v)
        made = output[at]
        for start in range(0, tokens, rows):
            stop = min(start + rows, tokens)
            logits, attention = block[: stop - start], factors[: stop - start]
            _multiply(product, scales[0], q[start:stop], False, k, True, _zero, logits)
            of_rows = divergence[at], entropy[at], highest[at], inverse_sum[at]
            _forward(start, logits, scales[1], attention, y[at], x[at], entropic, *of_rows)
            _multiply(product, _one, attention, False, v, False, _zero, made[start:stop])


@_kernel
def backward_heads(product, first, last, scales, blocks, factors, of_head, sums, inputs, targets, of_rows, made, scale):
    """`frame.Passes.backward` likewise; `scale` is 1/√d.

    `inputs` are query, key, value and the output's gradient; `of_rows` and `made`, the gradients, are in the order in which they
    are taken apart below. Buffers: `blocks` and `factors` are two each, for the attention and for the gradient of the logits;
    `sums` (M, d) are for the gradients of key and value of a head.
    """
    (query, key, value, upstream), (y, x) = inputs, targets
    (query_gradient, key_gradient, value_gradient, y_gradient, x_gradient) = made
    (q, k, v, above), (key_sum, value_sum) = of_head, sums
    highest, inverse_sum, to_attention, to_entropy = of_rows
    heads, tokens, rows = query.shape[1], query.shape[2], len(blocks[0])
    for number in range(first, last):
        at = number // heads, number % heads
        _take(query[at], q)
        _take(key[at], k)
        _take(value[at], v)
        _take(upstream[at], above)
        of_head_rows = highest[at], inverse_sum[at], to_attention[at], to_entropy[at]
        query_sum = query_gradient[at]
        for start in range(0, tokens, rows):
            stop = min(start + rows, tokens)
            logits, gradient = blocks[0][: stop - start], blocks[1][: stop - start]
            attention, of_logits = factors[0][: stop - start], factors[1][: stop - start]
            _multiply(product, scales[0], q[start:stop], False, k, True, _zero, logits)
            _multiply(product, _one, above[start:stop], False, v, True, _zero, gradient)
            of_targets = y[at], x[at], y_gradient[at], x_gradient[at]
            _backward(start, logits, scales[1], gradient, attention, of_logits, *of_targets, of_head_rows)
            more = _one if start else _zero  # the first block's products are not added to anything
            _multiply(product, _one, attention, True, above[start:stop], False, more, value_sum)
            _multiply(product, scale, of_logits, False, k, False, _zero, query_sum[start:stop])
            _multiply(product, scale, of_logits, True, q[start:stop], False, more, key_sum)
        key_gradient[at][:, :] = key_sum
        value_gradient[at][:, :] = value_sum

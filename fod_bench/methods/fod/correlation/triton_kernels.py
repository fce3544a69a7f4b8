"""The operator's GPU kernels, in Triton: what they compute is told in `triton.py`.

A tile is some query rows by a part of one row of the reference grid. There T is a column of its y factor times a row of its x
factor, and the gradients of both factors are sums along the tile's axes.

One head of one image is too little for a GPU, so the sweep over references (queries, in `key_kernel`) is split into P parts, each
with programs of its own. A part writes its own sums, and whoever called adds them up, in the same order every time.

Letters as in the package; G = B·h, i a query, j a reference. Kept per query and head, as `scales` (2, G, N): the maximum of the
logits and 1/Σ exp; as `sums` (4, G, N): divergence, entropy, Σ_j S·dDiv/dS and Σ_j S·dEnt/dS. The last two are what the
softmax's gradient subtracts.
"""

from __future__ import annotations

import triton
from triton import language as tl

from fod_bench.methods.fod.correlation.result import EPSILON

_EPSILON = tl.constexpr(EPSILON)


@triton.jit
def _multiply(left, right, PRODUCT: tl.constexpr):
    """Matrix product with float32 sums; PRODUCT is the factors' precision."""
    if PRODUCT == "bfloat16":
        product = tl.dot(left.to(tl.bfloat16), right.to(tl.bfloat16))
    elif PRODUCT == "rounded":
        left, right = left.to(tl.bfloat16).to(tl.float32), right.to(tl.bfloat16).to(tl.float32)
        product = tl.dot(left, right, input_precision="ieee")
    else:
        product = tl.dot(left, right, input_precision=PRODUCT)
    return product


@triton.jit
def _vectors(base, first, count, DEPTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_DEPTH: tl.constexpr):
    """Addresses of `count` rows from `first` on of a (…, DEPTH) matrix, (BLOCK, BLOCK_DEPTH), and which of them are meant."""
    row = tl.arange(0, BLOCK)[:, None]
    depth = tl.arange(0, BLOCK_DEPTH)[None, :]
    return base + (first + row) * DEPTH + depth, (row < count) & (depth < DEPTH)


@triton.jit
def _load_vectors(base, first, count, DEPTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_DEPTH: tl.constexpr):
    """Those rows, and zeros where there are none."""
    at, meant = _vectors(base, first, count, DEPTH, BLOCK, BLOCK_DEPTH)
    return tl.load(at, mask=meant, other=0.0)


@triton.jit
def _store_vectors(base, first, count, values, DEPTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_DEPTH: tl.constexpr):
    at, meant = _vectors(base, first, count, DEPTH, BLOCK, BLOCK_DEPTH)
    tl.store(at, values, mask=meant)


@triton.jit
def _attention(logits, highest, inverse_sum, inside):
    """S of a tile, zero outside the grid; the other arguments are rows or columns of it."""
    return tl.exp(tl.where(inside, logits, float("-inf")) - highest) * inverse_sum


@triton.jit
def _logarithms(attention, target):
    """log(S + ε), and log(T + ε) − log(S + ε)."""
    log_attention = tl.log(attention + _EPSILON)
    return log_attention, tl.log(target + _EPSILON) - log_attention


@triton.jit
def _gradients(attention, target, log_attention, log_ratio):
    """dDiv/dS and dEnt/dS."""
    inverse = 1.0 / (attention + _EPSILON)
    return (attention - target) * inverse - log_ratio, -log_attention - attention * inverse


@triton.jit
def softmax_kernel(
    query_at,  # (G, N, d)
    key_at,  # (G, M, d)
    parts_at,  # (2, P, G, N), of each part the maximum of its logits and its Σ exp
    tokens,
    height,
    width,
    part_height,
    scale,
    DEPTH: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """What the softmax of some queries of one head needs: program (block of queries, G, P)."""
    group = tl.program_id(1).to(tl.int64)
    groups = tl.num_programs(1).to(tl.int64)
    part = tl.program_id(2)
    first = tl.program_id(0) * BLOCK_ROWS
    row = first + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, BLOCK_X)
    key_at += group * height * width * DEPTH
    query_at += group * tokens * DEPTH
    query = _load_vectors(query_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
    highest = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for x in range(0, width, BLOCK_X):
        for y in range(part * part_height, tl.minimum((part + 1) * part_height, height)):
            key = _load_vectors(key_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
            logits = _multiply(query, tl.trans(key), PRODUCT) * scale
            logits = tl.where((column < width - x)[None, :], logits, float("-inf"))
            higher = tl.maximum(highest, tl.max(logits, 1))
            total = total * tl.exp(highest - higher) + tl.sum(tl.exp(logits - higher[:, None]), 1)
            highest = higher
    at = (part * groups + group) * tokens + row
    tl.store(parts_at + at, highest, mask=row < tokens)
    tl.store(parts_at + tl.num_programs(2) * groups * tokens + at, total, mask=row < tokens)


@triton.jit
def forward_kernel(
    query_at,  # (G, N, d)
    key_at,  # (G, M, d)
    value_at,  # (G, M, d)
    y_at,  # (G, N, H)
    x_at,  # (G, N, W)
    parts_at,  # (2, P, G, N), of `softmax_kernel`
    scales_at,  # (2, G, N)
    output_at,  # (P, G, N, d)
    sums_at,  # (P, 4, G, N)
    tokens,
    height,
    width,
    part_height,
    scale,
    DEPTH: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """Scales of some queries of one head, and a part's share of their output and sums: program (block of queries, G, P)."""
    group = tl.program_id(1).to(tl.int64)
    groups = tl.num_programs(1).to(tl.int64)
    part = tl.program_id(2)
    parts = tl.num_programs(2)
    first = tl.program_id(0) * BLOCK_ROWS
    row = first + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, BLOCK_X)
    key_at += group * height * width * DEPTH
    value_at += group * height * width * DEPTH
    query_at += group * tokens * DEPTH
    output_at += (part * groups + group) * tokens * DEPTH
    query = _load_vectors(query_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
    at = group * tokens + row
    meant = row < tokens
    plane = groups * tokens

    highest = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    for other in range(0, parts):
        highest = tl.maximum(highest, tl.load(parts_at + other * plane + at, mask=meant, other=0.0))
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for other in range(0, parts):
        of_part = tl.load(parts_at + other * plane + at, mask=meant, other=0.0)
        total += tl.load(parts_at + (parts + other) * plane + at, mask=meant, other=1.0) * tl.exp(of_part - highest)
    inverse_sum = 1.0 / total

    output = tl.zeros((BLOCK_ROWS, BLOCK_DEPTH), tl.float32)
    divergence = tl.zeros((BLOCK_ROWS,), tl.float32)
    entropy = tl.zeros((BLOCK_ROWS,), tl.float32)
    divergence_mean = tl.zeros((BLOCK_ROWS,), tl.float32)
    entropy_mean = tl.zeros((BLOCK_ROWS,), tl.float32)
    for x in range(0, width, BLOCK_X):
        inside = column < width - x
        x_address = at[:, None] * width + (x + column)[None, :]
        from_x = tl.load(x_at + x_address, mask=meant[:, None] & inside[None, :], other=0.0)
        for y in range(part * part_height, tl.minimum((part + 1) * part_height, height)):
            key = _load_vectors(key_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
            value = _load_vectors(value_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
            logits = _multiply(query, tl.trans(key), PRODUCT) * scale
            attention = _attention(logits, highest[:, None], inverse_sum[:, None], inside[None, :])
            from_y = tl.load(y_at + at * height + y, mask=meant, other=0.0)
            target = from_y[:, None] * from_x
            log_attention, log_ratio = _logarithms(attention, target)
            to_divergence, to_entropy = _gradients(attention, target, log_attention, log_ratio)
            output += _multiply(attention, value, PRODUCT)
            divergence += tl.sum((target - attention) * log_ratio, 1)
            entropy -= tl.sum(attention * log_attention, 1)
            divergence_mean += tl.sum(attention * to_divergence, 1)
            entropy_mean += tl.sum(attention * to_entropy, 1)

    _store_vectors(output_at, first, tokens - first, output, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
    sums_at += part * 4 * plane
    tl.store(sums_at + at, divergence, mask=meant)
    tl.store(sums_at + plane + at, entropy, mask=meant)
    tl.store(sums_at + 2 * plane + at, divergence_mean, mask=meant)
    tl.store(sums_at + 3 * plane + at, entropy_mean, mask=meant)
    if part == 0:
        tl.store(scales_at + at, highest, mask=meant)
        tl.store(scales_at + plane + at, inverse_sum, mask=meant)


@triton.jit
def query_kernel(
    query_at,  # (G, N, d)
    key_at,  # (G, M, d)
    value_at,  # (G, M, d)
    y_at,  # (G, N, H)
    x_at,  # (G, N, W)
    scales_at,  # (2, G, N)
    upstream_at,  # (G, N, d), gradient of the output
    weights_at,  # (4, G, N), gradients of both divergences and of the entropy, and Σ_j S·(gradient of S)
    query_gradient_at,  # (P, G, N, d)
    y_gradient_at,  # (blocks of a grid row, G, N, H)
    x_gradient_at,  # (P, G, N, W)
    tokens,
    height,
    width,
    part_height,
    scale,
    DEPTH: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """A part's share of the gradients of some queries of one head and of their target: program (block of queries, G, P)."""
    group = tl.program_id(1).to(tl.int64)
    groups = tl.num_programs(1).to(tl.int64)
    part = tl.program_id(2)
    first = tl.program_id(0) * BLOCK_ROWS
    row = first + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, BLOCK_X)
    key_at += group * height * width * DEPTH
    value_at += group * height * width * DEPTH
    query_at += group * tokens * DEPTH
    upstream_at += group * tokens * DEPTH
    query_gradient_at += (part * groups + group) * tokens * DEPTH
    at = group * tokens + row
    meant = row < tokens
    plane = groups * tokens
    x_gradient_at += part * plane * width
    query = _load_vectors(query_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
    upstream = _load_vectors(upstream_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
    highest = tl.load(scales_at + at, mask=meant, other=0.0)
    inverse_sum = tl.load(scales_at + plane + at, mask=meant, other=0.0)
    to_target = tl.load(weights_at + at, mask=meant, other=0.0)
    to_attention = tl.load(weights_at + plane + at, mask=meant, other=0.0)
    to_entropy = tl.load(weights_at + 2 * plane + at, mask=meant, other=0.0)
    mean = tl.load(weights_at + 3 * plane + at, mask=meant, other=0.0)

    query_gradient = tl.zeros((BLOCK_ROWS, BLOCK_DEPTH), tl.float32)
    for x in range(0, width, BLOCK_X):
        inside = column < width - x
        x_address = at[:, None] * width + (x + column)[None, :]
        x_meant = meant[:, None] & inside[None, :]
        from_x = tl.load(x_at + x_address, mask=x_meant, other=0.0)
        x_gradient = tl.zeros((BLOCK_ROWS, BLOCK_X), tl.float32)
        for y in range(part * part_height, tl.minimum((part + 1) * part_height, height)):
            key = _load_vectors(key_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
            value = _load_vectors(value_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
            logits = _multiply(query, tl.trans(key), PRODUCT) * scale
            attention = _attention(logits, highest[:, None], inverse_sum[:, None], inside[None, :])
            from_y = tl.load(y_at + at * height + y, mask=meant, other=0.0)
            target = from_y[:, None] * from_x
            log_attention, log_ratio = _logarithms(attention, target)

            of_target = (log_ratio + (target - attention) / (target + _EPSILON)) * to_target[:, None]
            tl.store(y_gradient_at + at * height + y, tl.sum(of_target * from_x, 1), mask=meant)
            x_gradient += of_target * from_y[:, None]

            of_divergence, of_entropy = _gradients(attention, target, log_attention, log_ratio)
            of_attention = _multiply(upstream, tl.trans(value), PRODUCT)
            of_attention += to_attention[:, None] * of_divergence + to_entropy[:, None] * of_entropy
            query_gradient += _multiply(attention * (of_attention - mean[:, None]), key, PRODUCT)
        tl.store(x_gradient_at + x_address, x_gradient, mask=x_meant)
        y_gradient_at += plane * height
    _store_vectors(query_gradient_at, first, tokens - first, query_gradient * scale, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)


@triton.jit
def key_kernel(
    query_at,  # (G, N, d)
    key_at,  # (G, M, d)
    value_at,  # (G, M, d)
    y_at,  # (G, N, H)
    x_at,  # (G, N, W)
    scales_at,  # (2, G, N)
    upstream_at,  # (G, N, d), as above
    weights_at,  # (4, G, N), as above
    key_gradient_at,  # (P, G, M, d)
    value_gradient_at,  # (P, G, M, d)
    tokens,
    height,
    width,
    part_tokens,
    scale,
    DEPTH: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """A part's share of the gradients of the keys and values in a block of one grid row, one head: program (blocks, G, P).

    Its tiles stand on their side, references by queries.
    """
    group = tl.program_id(1).to(tl.int64)
    groups = tl.num_programs(1).to(tl.int64)
    part = tl.program_id(2)
    y = tl.program_id(0) % height
    x = tl.program_id(0) // height * BLOCK_X
    column = tl.arange(0, BLOCK_X)
    inside = column < width - x
    key_at += group * height * width * DEPTH
    value_at += group * height * width * DEPTH
    key_gradient_at += (part * groups + group) * height * width * DEPTH
    value_gradient_at += (part * groups + group) * height * width * DEPTH
    query_at += group * tokens * DEPTH
    upstream_at += group * tokens * DEPTH
    plane = groups * tokens
    key = _load_vectors(key_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)
    value = _load_vectors(value_at, y * width + x, width - x, DEPTH, BLOCK_X, BLOCK_DEPTH)

    key_gradient = tl.zeros((BLOCK_X, BLOCK_DEPTH), tl.float32)
    value_gradient = tl.zeros((BLOCK_X, BLOCK_DEPTH), tl.float32)
    for first in range(part * part_tokens, tl.minimum((part + 1) * part_tokens, tokens), BLOCK_ROWS):
        row = first + tl.arange(0, BLOCK_ROWS)
        at = group * tokens + row
        meant = row < tokens
        query = _load_vectors(query_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
        upstream = _load_vectors(upstream_at, first, tokens - first, DEPTH, BLOCK_ROWS, BLOCK_DEPTH)
        highest = tl.load(scales_at + at, mask=meant, other=0.0)
        inverse_sum = tl.load(scales_at + plane + at, mask=meant, other=0.0)
        to_attention = tl.load(weights_at + plane + at, mask=meant, other=0.0)
        to_entropy = tl.load(weights_at + 2 * plane + at, mask=meant, other=0.0)
        mean = tl.load(weights_at + 3 * plane + at, mask=meant, other=0.0)

        # multiplied the way round that the maximum and sum were made from: to large logits the order of a sum matters
        logits = tl.trans(_multiply(query, tl.trans(key), PRODUCT)) * scale
        attention = _attention(logits, highest[None, :], inverse_sum[None, :], inside[:, None])
        x_address = at[None, :] * width + (x + column)[:, None]
        from_x = tl.load(x_at + x_address, mask=meant[None, :] & inside[:, None], other=0.0)
        from_y = tl.load(y_at + at * height + y, mask=meant, other=0.0)
        target = from_y[None, :] * from_x
        log_attention, log_ratio = _logarithms(attention, target)
        of_divergence, of_entropy = _gradients(attention, target, log_attention, log_ratio)
        of_attention = _multiply(value, tl.trans(upstream), PRODUCT)
        of_attention += to_attention[None, :] * of_divergence + to_entropy[None, :] * of_entropy
        value_gradient += _multiply(attention, upstream, PRODUCT)
        key_gradient += _multiply(attention * (of_attention - mean[None, :]), query, PRODUCT)
    _store_vectors(key_gradient_at, y * width + x, width - x, key_gradient * scale, DEPTH, BLOCK_X, BLOCK_DEPTH)
    _store_vectors(value_gradient_at, y * width + x, width - x, value_gradient, DEPTH, BLOCK_X, BLOCK_DEPTH)

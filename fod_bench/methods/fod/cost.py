"""Arithmetic of a training step, for estimates. Knows no torch, so that a plan can be made without it.

Only matrix products are counted, a multiply-add as two operations: what torch's own counter sees.
"""

from __future__ import annotations


def forward_flops(
    tokens: int, channels: int, d_model: int, layers: int, view: str, references: int = 1, heads: int = 8
) -> float:
    """Floating-point operations of one image's forward pass through one level's network.

    N = `tokens` patches, each with M = `references` reference features where the view uses them. Their embedding is counted once
    per image, as it is when images come one at a time.
    """
    # features embedded, keys and values projected, columns of S: N in the intra-image branch, N·M in the inter-image one
    branches = {"inter": [references], "full": [1, references]}.get(view, [1])
    embedded = 1 + (references if view in ("inter", "full") else 0)
    embeddings = 2 * tokens * channels * d_model * embedded
    projections = sum(2 * tokens * d_model**2 * (1 + 2 * keys) for keys in branches)
    correlation = sum(2 * 2 * tokens**2 * keys * d_model for keys in branches)
    sigma = 2 * tokens * d_model * 2 * heads * (len(branches) if view != "patch" else 0)
    feed_forward = 2 * 2 * tokens * d_model * 4 * d_model
    output = 2 * tokens * channels * d_model
    return embeddings + output + layers * (projections + correlation + sigma + feed_forward)


def step_flops(
    tokens: int, channels: int, d_model: int, layers: int, view: str, batch: int, references: int = 1
) -> float:
    """Operations of one training step: forward, twice that backward, and S recomputed once, about 10 % more."""
    return 3.3 * batch * forward_flops(tokens, channels, d_model, layers, view, references)

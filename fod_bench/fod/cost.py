"""Arithmetic of a training step, for estimates. Knows no torch, so that a plan can be made without it."""

from __future__ import annotations


def forward_flops(tokens: int, channels: int, d_model: int, layers: int, view: str) -> float:
    """Floating-point operations of one picture's forward pass through one level's network (N = `tokens`)."""
    branches = 2 if view == "full" else 1
    embeddings = 2 * tokens * channels * d_model * (2 if view in ("inter", "full") else 1)
    projections = 3 * 2 * tokens * d_model**2
    correlation = 2 * 2 * tokens**2 * d_model
    feed_forward = 2 * 2 * tokens * d_model * 4 * d_model
    output = 2 * tokens * channels * d_model
    return embeddings + output + layers * (branches * (projections + correlation) + feed_forward)


def step_flops(tokens: int, channels: int, d_model: int, layers: int, view: str, batch: int) -> float:
    """Operations of one training step: forward, twice that backward, and S recomputed once, about 10 % more."""
    return 3.3 * batch * forward_flops(tokens, channels, d_model, layers, view)

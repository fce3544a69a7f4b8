"""The scoring rules: which a view has. Knows no torch, since a job is checked against them."""

from __future__ import annotations

from typing import Literal

View = Literal["patch", "intra", "inter", "full"]
"""Recognition views: reconstruction alone, with intra-image, with inter-image, or with both correlations."""

Rule = Literal["rec", "div", "rec_div_printed", "rec_div"]


def uses_reference(view: View) -> bool:
    """Whether the view looks at reference features."""
    return view in ("inter", "full")


def rules(view: View) -> tuple[Rule, ...]:
    """The scoring rules a view can be evaluated under; the last is its own (Eq. 12 where it has a divergence)."""
    if view == "patch":
        return ("rec",)
    return ("rec", "div", "rec_div") if view == "intra" else ("rec", "div", "rec_div_printed", "rec_div")

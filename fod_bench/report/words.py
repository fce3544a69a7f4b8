"""Wording that the parts of a report share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

SHOWN = 6
"""Names spelled out in a list of missing cells before the rest is only counted."""


def describe_damaged(damaged: dict[str, str]) -> str:
    """The damaged objects in one sentence."""
    return "damaged: " + "; ".join(f"{name} ({reason})" for name, reason in sorted(damaged.items()))


def nearest(name: str, valid: Sequence[str]) -> str:
    """The end of a refusal: the name that was probably meant, and all there are, as far as they fit."""
    folded = {candidate.casefold(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    meant = f"did you mean {folded[close[0]]!r}? " if close else ""
    shown = ", ".join(valid[:12]) + (f" and {len(valid) - 12} more" if len(valid) > 12 else "")
    return f"{meant}There are: {shown}"


def shortened(names: Sequence[str], separator: str = ", ") -> str:
    """The first of `names` in a list, the rest counted."""
    rest = len(names) - SHOWN
    return separator.join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."

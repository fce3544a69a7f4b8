"""Wording that several rooms share."""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h` or `5.1 days`."""
    for size, unit, limit in ((1.0, "s", 90.0), (60.0, "min", 90 * 60.0), (3600.0, "h", 48 * 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"

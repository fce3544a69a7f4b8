"""Unquoted scalars of YAML: numbers and switches as YAML 1.2 reads them, so `1e-4` is a number, `01` and `no` are text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

TAG = "tag:yaml.org,2002:"
FLOAT_FORM = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")

SCALARS: tuple[tuple[str, re.Pattern[str], list[str], Callable[[str], Any]], ...] = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""], lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"), lambda text: text.lower() == "true"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), list("-+0123456789"), int),
    ("float", FLOAT_FORM, list("-+.0123456789"), float),
)
"""How an unquoted scalar is read: tag, form, the characters it may begin with, and what makes the value of it."""


def plain_scalar(text: str) -> Any:
    """What an unquoted scalar stands for: nothing, a switch, a number or text."""
    for _, form, _, value in SCALARS:
        if form.match(text):
            return value(text)
    return text

"""Values of environment variables that a job takes in: they may be secrets, so errors and logs show `${NAME}` in their place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from os.path import normpath
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from fod_bench.text import shortened

_ORDINARY = re.compile(r"[a-z]{1,8}|[-+.0-9eE]{1,5}|.{1,3}", re.DOTALL)
"""Values that are looked for where they were given only: in other texts they would be found by chance, as `data` or `8`."""

_hidden: dict[str, str] = {}


def forget() -> None:
    """A new command begins, which has taken no values in yet."""
    _hidden.clear()


def hide(value: str, shown: str) -> None:
    """From now on `hidden` has `shown`, such as `${NAME}`, in place of the value."""
    if not _ORDINARY.fullmatch(value):
        _hidden.setdefault(value, shown)


def hidden(text: str) -> str:
    """The text without the values that were taken in."""
    return masked(text, _hidden)


def masked(text: str, values: Mapping[str, str]) -> str:
    """The text with each of the values replaced by what is to be shown for it."""
    forms = {form: shown for value, shown in values.items() for form in _forms(value)}
    if not forms:
        return text
    # A long value stands for itself wherever it is found, a short one where it is a word.
    parts = (
        re.escape(form) if len(form) > 8 else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
    )
    return re.sub("|".join(parts), lambda found: forms[found[0]], text)


def _forms(value: str) -> Iterator[str]:
    """The ways in which a text may show the value."""
    shown = {value, value.strip(), shortened(value)}
    if "/" in value:
        shown |= {normpath(value), value.rstrip("/")}
    if value.startswith("~/"):
        shown.add(normpath(Path.home() / value[2:]))
    if "://" in value:
        shown |= {value.partition("?")[0], *_parts(value)}
    try:
        number = float(value)
        shown |= {repr(number), f"{number:g}"} | ({str(int(number))} if number.is_integer() else set())
    except ValueError:
        pass
    for form in shown:
        yield from {form, repr(form)[1:-1], json.dumps(form)[1:-1]} - {"", ".", "/"}


def _parts(address: str) -> list[str]:
    """Host and parameters of an address, each of which may be told by itself."""
    try:
        parts = urlsplit(address)
        return [parts.netloc, *(value for _, value in parse_qsl(parts.query) if len(value) > 3)]
    except ValueError:
        return []

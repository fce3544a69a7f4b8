"""Reading what a store holds: whatever an object's bytes are, they are what was asked for, or one error names the object.

A right checksum says that nobody changed an object since it was put, not who put it: its content is checked all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from fod_bench.errors import DamagedObjectError, plain_message
from fod_bench.store.base import check_name
from fod_bench.text import shortened

Part = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*$")]
"""One segment of an object's name, such as a key."""
OptionalPart = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*)?$")]
"""The same, or empty."""
Name = Annotated[str, AfterValidator(check_name)]
"""The name of an object."""
Share = Annotated[float, Field(ge=0.0, le=1.0 + 1e-6, allow_inf_nan=False)]
"""A metric's value: from 0 to 1, but for rounding."""
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
"""A time, a cost: finite, not negative."""
Count = Annotated[int, Field(ge=0)]

# ValidationError and UnicodeError are ValueErrors; a missing object's error is none of these.
_UNFIT = (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError, RecursionError)


_REASON_LENGTH = 2000
"""Characters of the reason of a failure that are taken; ours are shorter."""


@contextmanager
def reading(name: str, what: str, place: str = "") -> Iterator[None]:
    """While the content of object `name` is read as `what`: whatever strange content raises becomes a `DamagedObjectError`.

    `place`: where a person finds it, if that is not clear.
    """
    try:
        yield
    except _UNFIT as error:
        at = f" ({place})" if place else ""
        raise DamagedObjectError(
            f"object {name} is damaged: no {what}: {describe(error)}{at}; delete it to have it made anew"
        ) from error


def failure_reason(name: str, content: bytes) -> str:
    """Why a trial failed, as its mark `name` says, of bounded length. Raises `DamagedObjectError` when it is no mark."""
    with reading(name, "mark of a failure"):
        reason = json.loads(content)["reason"]
        if not isinstance(reason, str):
            raise ValueError("its reason is no text")
        return shortened(reason, _REASON_LENGTH)


def describe(error: Exception) -> str:
    """What is wrong with an object that is not of the form it should have, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        return f"not of the form this version reads: {place}: {plain_message(first)}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""What the models of a job file are built from: their base, and the types of their fields."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from fod_bench.text import shortened


def without_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as they are; a repeated one is refused."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} is given twice")
        seen.add(value)
    return values


def home_expanded(path: str) -> str:
    """A path with a leading `~` replaced by the home folder. One that no file system takes is refused."""
    if any(len(os.fsencode(name)) > 255 for name in path.split("/")) or len(path) > 4000:
        raise ValueError(f"{shortened(path)!r} is too long for a path")
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise ValueError(f"{path!r} names a home folder that is not known; write the path in full") from None


def shown(value: Any) -> str:
    """A value in a label: `0.5`, `true`, `8+16`, `8:64+16:128`, `null`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "+".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return "+".join(str(item) for item in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


_LARGEST = 10**9  # far beyond use; larger numbers overflow somewhere, and then say nothing of the key

WholeNumber = Annotated[int, Strict()]
PositiveWholeNumber = Annotated[int, Strict(), Field(ge=1, le=_LARGEST)]
Seed = Annotated[WholeNumber, Field(ge=0, lt=2**32)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False, le=1e30)]
NonNegativeNumber = Annotated[Number, Field(ge=0), AfterValidator(abs)]  # abs: -0.0 and 0.0 are one setting
PositiveNumber = Annotated[Number, Field(gt=0)]
Switch = Annotated[bool, Strict()]


class Frozen(BaseModel):
    """Base of the job's models: unchangeable, unknown keys refused, every key documented where it is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

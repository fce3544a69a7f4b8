"""What one trial asks of the cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator

from fod_bench.schema.fields import (
    Frozen,
    NonNegativeNumber,
    Number,
)
from fod_bench.schema.problems import describe

_GPUS: TypeAdapter[float] = TypeAdapter(NonNegativeNumber)


class Resources(Frozen):
    """What one trial asks of the cluster."""

    cpus: Annotated[Number, Field(gt=0)] = 1.0
    """CPU cores per trial."""
    gpus: Literal["auto"] | float = "auto"
    """GPUs per trial; a fraction lets several trials share one. `auto`: where the cluster has GPUs, one, or a part of one where
    there are many trials for each GPU and its memory holds several; none for methods that gain nothing from one."""

    @field_validator("gpus", mode="plain")
    @classmethod
    def _auto_or_share(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if isinstance(value, str):
            raise ValueError(f"should be `auto` or a number, not {describe(value)}")
        gpus = _GPUS.validate_python(value)
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"{gpus} GPUs: more than one must be a whole number")
        return gpus

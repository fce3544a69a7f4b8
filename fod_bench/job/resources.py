"""What one trial asks of the cluster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import TypeAdapter, field_validator, model_validator

from fod_bench.schema.fields import (
    Frozen,
    NonNegativeNumber,
    PositiveNumber,
)
from fod_bench.schema.problems import describe

AUTO = "auto"
_CPUS: TypeAdapter[float] = TypeAdapter(PositiveNumber)
_GPUS: TypeAdapter[float] = TypeAdapter(NonNegativeNumber)


class Resources(Frozen):
    """What one trial asks of the cluster."""

    cpus: Literal["auto"] | float = 1.0
    """CPU cores per trial, and so its threads. `auto`: as many as make the job end soonest, by a measurement of some seconds when a
    run starts."""
    gpus: Literal["auto"] | float = "auto"
    """GPUs per trial; a fraction lets several trials share one. `auto`: where the cluster has GPUs, one, or a part of one where
    there are many trials for each GPU and its memory holds several; none for methods that gain nothing from one."""

    @model_validator(mode="before")
    @classmethod
    def _auto_is_of_every_key(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != AUTO:
                raise ValueError(f"should be `auto` or a mapping of cpus and gpus, not {describe(value)}")
            return EVERY_KEY_AUTO
        return value

    @field_validator("cpus", mode="plain")
    @classmethod
    def _auto_or_cores(cls, value: Any) -> Any:
        return auto_or(_CPUS, value, "a number")

    @field_validator("gpus", mode="plain")
    @classmethod
    def _auto_or_share(cls, value: Any) -> Any:
        gpus = auto_or(_GPUS, value, "a number")
        if gpus != AUTO and gpus > 1 and not gpus.is_integer():
            raise ValueError(f"{gpus} GPUs: more than one must be a whole number")
        return gpus


EVERY_KEY_AUTO = dict.fromkeys(Resources.model_fields, AUTO)
"""What `resources: auto` stands for."""


def auto_or(kind: TypeAdapter[Any], value: Any, words: str) -> Any:
    """`auto` as it is, or a value of the kind, which is called so. Raises ValueError for other text."""
    if value != AUTO and isinstance(value, str):
        raise ValueError(f"should be `auto` or {words}, not {describe(value)}")
    return value if value == AUTO else kind.validate_python(value)

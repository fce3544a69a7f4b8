"""The parts of a job beside its settings: data sets and resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, field_validator

from fod_bench.datasets import SyntheticSettings, category_names
from fod_bench.schema.fields import (
    Frozen,
    PositiveWholeNumber,
    home_expanded,
    without_repeats,
)
from fod_bench.schema.problems import Problem, describe, refusal, unknown

_CATEGORIES: TypeAdapter[tuple[str, ...]] = TypeAdapter(
    Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(without_repeats)]
)


class Limit(Frozen):
    """Fewer pictures per category, for a quick look. The numbers of a limited run are not the paper's."""

    train: PositiveWholeNumber | None = None
    """Normal pictures to train on, the first by name; all when left out."""
    test: PositiveWholeNumber | None = None
    """Pictures to test on, spread over the good ones and every kind of defect; all when left out."""


class DatasetSpec(Frozen):
    """One data set of a job."""

    layout: Literal["mvtec", "btad", "mvtec3d", "folder", "synthetic"]
    """How the pictures lie on disk: one of the three published sets, `folder` for own pictures in MVTec's form, or
    `synthetic`, which are drawn and need no files."""
    root: Annotated[str | None, Field(validate_default=True)] = None
    """Folder that holds the categories, relative to the working directory; needed by every layout but `synthetic`."""
    categories: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list of category names."""
    limit: Limit | None = None
    """Fewer pictures per category; all when left out."""
    synthetic: Annotated[SyntheticSettings | None, Field(validate_default=True)] = None
    """How the pictures of layout `synthetic` are drawn."""

    @field_validator("root")
    @classmethod
    def _root_where_needed(cls, root: str | None, info: ValidationInfo) -> str | None:
        layout = info.data.get("layout")
        if layout == "synthetic" and root is not None:
            raise ValueError("layout `synthetic` draws its pictures and takes no root")
        if layout not in (None, "synthetic") and not root:
            raise ValueError(f"missing; layout `{layout}` needs the folder that holds its categories")
        return home_expanded(root) if root else None

    @field_validator("categories", mode="plain")
    @classmethod
    def _all_or_known_names(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "all":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError(f"should be `all` or a list of category names, not {describe(value)}")
        # A folder called 2024 is a number in YAML; 01 is not, so nothing is lost.
        names = _CATEGORIES.validate_python([str(name) if type(name) is int else name for name in value])
        layout = info.data.get("layout")
        if layout not in (None, "folder"):  # the names of own pictures are known by their folder only
            known = category_names(layout, None)
            if strange := [(index, name) for index, name in enumerate(names) if name not in known]:
                raise refusal(
                    "categories", [Problem((index,), unknown("category", name, known)) for index, name in strange]
                )
        return names

    @field_validator("synthetic")
    @classmethod
    def _synthetic_where_drawn(cls, synthetic: SyntheticSettings | None, info: ValidationInfo) -> Any:
        layout = info.data.get("layout")
        if layout == "synthetic":
            return synthetic or SyntheticSettings()
        if layout is not None and synthetic is not None:
            raise ValueError(f"is for layout `synthetic` only, not `{layout}`")
        return synthetic

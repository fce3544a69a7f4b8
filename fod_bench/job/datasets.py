"""The parts of a job beside its settings: data sets and resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, field_validator

from fod_bench.datasets import (
    Category,
    FolderSettings,
    LayoutName,
    SyntheticSettings,
    absolute_root,
    category_names,
    open_category,
)
from fod_bench.errors import StoreError
from fod_bench.schema.fields import (
    Frozen,
    Number,
    PositiveWholeNumber,
    home_expanded,
    without_repeats,
)
from fod_bench.schema.problems import MAX_SHOWN, Problem, describe, refusal, unknown
from fod_bench.store.address import bucket_address, is_bucket

_NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(
    Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(without_repeats)]
)


class Limit(Frozen):
    """Fewer images per category, for a quick look. The numbers of a limited run are not the paper's."""

    train: PositiveWholeNumber | None = None
    """Normal images to train on, the first by name; all when left out."""
    test: PositiveWholeNumber | None = None
    """Images to test on, spread over the good ones and every kind of defect; all when left out."""


class DatasetSpec(Frozen):
    """One data set of a job."""

    layout: LayoutName
    """How the images lie on disk: one of the three published sets, `folder` for your own images, or
    `synthetic`, which are drawn and need no files."""
    root: Annotated[str | None, Field(validate_default=True)] = None
    """Folder that holds the categories, relative to the working directory, or a place in a bucket that has a manifest, written as
    that of a store, `s3://bucket/prefix`: each node fetches the job's categories once. Needed by every layout but `synthetic`. Of
    layout `folder` it may be a category itself, which then is the only one."""
    categories: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list of category names."""
    limit: Limit | None = None
    """Fewer images per category; all when left out."""
    good: tuple[str, ...] | None = None
    """Layout `folder`: names or patterns (`*`, `?`) of the folders of normal images in a category, or in its `train` and `test`;
    `[good]` when left out."""
    bad: tuple[str, ...] | None = None
    """Layout `folder`: the same for defective images. When left out, every other folder in `test`, or `[bad]` where there is
    neither `train` nor `test`."""
    masks: Literal["required", "optional"] | None = None
    """Layout `folder`: `required`, as when left out: in a category that has masks every defective image needs one; `optional`:
    those without are left out of the pixel metrics. A category without any mask needs none."""
    train_share: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Layout `folder`: part of the normal images to train on where a category has neither `train` nor `test`; those held out
    are evenly spaced by name. 0.8 when left out."""
    max_pixels: PositiveWholeNumber | None = None
    """Layout `folder`: pixels of the largest image that is read, 400000000 when left out; reading one takes some 4 bytes for each
    pixel, 8 of a mask. A larger one is refused."""
    synthetic: Annotated[SyntheticSettings | None, Field(validate_default=True)] = None
    """How the images of layout `synthetic` are drawn."""

    @field_validator("root")
    @classmethod
    def _root_where_needed(cls, root: str | None, info: ValidationInfo) -> str | None:
        layout = info.data.get("layout")
        if layout == "synthetic" and root is not None:
            raise ValueError("layout `synthetic` draws its images and takes no root")
        if layout not in (None, "synthetic") and not root:
            raise ValueError(f"missing; layout `{layout}` needs the folder that holds its categories")
        if root and is_bucket(root):
            try:
                bucket_address(root, "data set")
            except StoreError as error:
                raise ValueError(str(error)) from None
        return home_expanded(root) if root else None

    @field_validator("categories", mode="plain")
    @classmethod
    def _all_or_known_names(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "all":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError(f"should be `all` or a list of category names, not {describe(value)}")
        # A folder called 2024 is a number in YAML; 01 is not, so nothing is lost.
        names = _NAMES.validate_python([str(name) if type(name) is int else name for name in value])
        layout = info.data.get("layout")
        if layout not in (None, "folder"):  # the names of own images are known by their folder only
            known = category_names(layout, None)
            if strange := [(index, name) for index, name in enumerate(names) if name not in known]:
                told = strange[:MAX_SHOWN]
                raise refusal(
                    "categories", [Problem((index,), unknown("category", name, known)) for index, name in told]
                )
        return names

    @field_validator("good", "bad", mode="plain")
    @classmethod
    def _names_of_folders(cls, value: Any) -> Any:
        if value is None:
            return value
        given = [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
        if not isinstance(given, list | tuple):
            raise ValueError(f"should be a list of names of folders, not {describe(value)}")
        return _NAMES.validate_python([str(name) if type(name) is int else name for name in given])

    @field_validator("bad")
    @classmethod
    def _not_good_too(cls, bad: tuple[str, ...] | None, info: ValidationInfo) -> Any:
        both = sorted(set(bad or ()) & set(info.data.get("good") or ("good",)))
        if both:
            raise ValueError(f"{both[0]!r} is named as a folder of normal images too")
        return bad

    @field_validator("good", "bad", "masks", "train_share", "max_pixels")
    @classmethod
    def _of_own_images(cls, value: Any, info: ValidationInfo) -> Any:
        layout = info.data.get("layout")
        if value is not None and layout not in (None, "folder"):
            raise ValueError(f"is for layout `folder` only, not `{layout}`")
        return value

    @property
    def own(self) -> FolderSettings | None:
        """What layout `folder` takes as what; None for other layouts."""
        if self.layout != "folder":
            return None
        given = {key: getattr(self, key) for key in FolderSettings.__dataclass_fields__}
        return FolderSettings(**{key: value for key, value in given.items() if value is not None})

    def open_category(self, name: str) -> Category:
        """One of its categories, with the root as a process with another working folder finds it. Raises `DatasetError`."""
        root = absolute_root(self.root)
        return open_category(self.layout, root, name, limit=self.limit, synthetic=self.synthetic, own=self.own)

    @field_validator("synthetic")
    @classmethod
    def _synthetic_where_drawn(cls, synthetic: SyntheticSettings | None, info: ValidationInfo) -> Any:
        layout = info.data.get("layout")
        if layout == "synthetic":
            return synthetic or SyntheticSettings()
        if layout is not None and synthetic is not None:
            raise ValueError(f"is for layout `synthetic` only, not `{layout}`")
        return synthetic

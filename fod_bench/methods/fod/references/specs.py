"""Kinds of reference feature and their settings (Appendix B.3): one model per kind, the keys of `reference:` in a job."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, field_validator

from fod_bench.records.names import canonical_digest
from fod_bench.schema.fields import Frozen, PositiveNumber, PositiveWholeNumber, Seed, Switch, WholeNumber
from fod_bench.schema.problems import Problem, describe, problems_of, refusal, suggest, unknown

VERSION = 1
"""Raised when a change of the code changes what is made, so that old references are not taken for new ones."""

MAKER = "fod_bench.methods.fod.references.maker"


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"{side} is even, so no position would stand in its middle; take {side - 1} or {side + 1}")
    return side


class _Reference(Frozen):
    """What all kinds have in common."""

    maker: ClassVar[str] = MAKER

    def key(self, feature_key: str) -> str:
        """Key of the reference features made by these settings of a feature set."""
        return canonical_digest({"features": feature_key, "reference": self.model_dump(), "version": VERSION})[:32]

    def references_per_position(self) -> int:
        """M: features that the inter-image branch looks at per position of the grid."""
        return 1

    def too_few(self, images: int) -> str | None:
        """Why so few training images do not do, and what would; None where they do."""
        return None

    def __str__(self) -> str:
        """As a row's label shows it: the kind, and what is not its default, e.g. `coreset+per_position:2`."""
        given = {
            key: value
            for key, field in type(self).model_fields.items()
            if (value := getattr(self, key)) != field.default and key != "kind"
        }
        words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
        return "+".join([self.model_dump()["kind"], *(f"{key}:{value}" for key, value in words.items())])


def _fewer_images(kind: str, per_position: int, images: int) -> str | None:
    """For kinds that take their features, or begin, from one training image per reference of a position."""
    if images >= per_position:
        return None
    return (
        f"a reference of kind `{kind}` with {per_position} features per position needs as many training images; "
        f"there are {images}, so set `per_position` to {images} at most"
    )


class MeanReference(_Reference):
    """The average over the training images at each position; the paper's default."""

    kind: Literal["mean"] = "mean"
    """The word for it."""


class NearestReference(_Reference):
    """For each position of an image the nearest normal feature around it (Eqs. 14 and 15)."""

    kind: Literal["nearest"] = "nearest"
    """The word for it."""
    neighbourhood: Annotated[WholeNumber, Field(ge=1), AfterValidator(_odd)] = 3
    """p: side of the square around a position in which is searched, in patches; odd."""
    exclude_self: Switch = True
    """A training image never finds features of its own; `false` is the paper to the letter, where while training every
    feature is its own nearest."""

    def too_few(self, images: int) -> str | None:
        if images >= 2 or not self.exclude_self:
            return None
        return (
            "a reference of kind `nearest` needs two training images, since none may find itself; there is one, "
            "for which `exclude_self: false` would do"
        )


class CoresetReference(_Reference):
    """A subset of all training features that covers them (Eqs. 16 and 17), found greedily."""

    kind: Literal["coreset"] = "coreset"
    """The word for it."""
    per_position: PositiveWholeNumber = 1
    """Features are chosen until there are this many times as many as the level has positions."""
    projection: int | Literal["none"] = 128
    """Dimensions of the random projection in which distances are taken, or `none`. Features of no more channels than that are
    taken as they are."""
    layout: Literal["selection", "origin"] = "selection"
    """Place of the chosen features on the grid: row by row in the order of `selection`, or as near as possible to their
    `origin`."""
    seed: Seed = 0
    """Seed of the projection and of the first feature."""

    @field_validator("projection", mode="plain")
    @classmethod
    def _dimensions_or_none(cls, projection: Any) -> int | str:
        if projection == "none" or (type(projection) is int and projection >= 1):
            return projection
        raise ValueError(f"should be a whole number of at least 1, or `none`, not {describe(projection)}")

    def references_per_position(self) -> int:
        return self.per_position

    def too_few(self, images: int) -> str | None:
        return _fewer_images(self.kind, self.per_position, images)


class PrototypeReference(_Reference):
    """Several prototypes for each position, written from the training features there (Eqs. 18 to 21)."""

    kind: Literal["prototype"] = "prototype"
    """The word for it."""
    per_position: PositiveWholeNumber = 2
    """M: prototypes for each position."""
    passes: PositiveWholeNumber = 10
    """Times that the training set is gone through."""
    batch_size: PositiveWholeNumber = 32
    """K: images whose features are written at once."""
    rescale: Switch = True
    """Give each prototype, a unit vector, the mean length of the features that are nearest to it."""
    seed: Seed = 0
    """Seed of the first prototypes and of the order of the images."""

    def references_per_position(self) -> int:
        return self.per_position

    def too_few(self, images: int) -> str | None:
        return _fewer_images(self.kind, self.per_position, images)


class CodebookReference(_Reference):
    """For each position of an image the nearest code of a learned codebook (Eqs. 22 and 23)."""

    kind: Literal["codebook"] = "codebook"
    """The word for it."""
    codes: PositiveWholeNumber = 512
    """N_e: size of the codebook; as many as there are training features where those are fewer."""
    encoder: Literal["none", "linear"] = "none"
    """What is quantised: the features themselves, or a learned `linear` map of them, which starts as the identity."""
    epochs: PositiveWholeNumber = 10
    """Passes over the training images."""
    batch_size: PositiveWholeNumber = 4
    """Images per step."""
    learning_rate: PositiveNumber = 1e-3
    """Learning rate of Adam, for features scaled to a root mean square of 1."""
    seed: Seed = 0
    """Seed of the first codes, the decoder's weights and the order of the images."""


ReferenceSpec: TypeAlias = MeanReference | NearestReference | CoresetReference | PrototypeReference | CodebookReference

REFERENCES: dict[str, type[_Reference]] = {
    "mean": MeanReference,
    "nearest": NearestReference,
    "coreset": CoresetReference,
    "prototype": PrototypeReference,
    "codebook": CodebookReference,
}
"""Kind to the model of its settings."""


def reference_spec(given: Any) -> ReferenceSpec:
    """The settings of a reference from a kind's name or a mapping with `kind`; such a model is returned as it is.

    Raises:
        ValueError: no kind, or an unknown one.
        pydantic.ValidationError: keys that the kind does not take, or values it cannot take; all are named.
    """
    if isinstance(given, _Reference):
        return given  # type: ignore[return-value]
    keys = dict(given) if isinstance(given, dict) else {"kind": given}
    if "kind" not in keys:
        raise ValueError(f"lacks the key `kind`, one of {', '.join(REFERENCES)}")
    kind = keys["kind"]
    if not isinstance(kind, str):
        kinds = ", ".join(REFERENCES)
        raise ValueError(f"should be the name of a kind ({kinds}) or a mapping with `kind`, not {describe(kind)}")
    if kind not in REFERENCES:
        raise ValueError(unknown("kind of reference", kind, REFERENCES))
    model = REFERENCES[kind]
    taken = [key for key in model.model_fields if key != "kind"]
    problems = [Problem((str(key),), _not_taken(kind, key, taken)) for key in keys if key not in model.model_fields]
    try:
        spec = model.model_validate({key: value for key, value in keys.items() if key in model.model_fields})
    except ValidationError as error:
        problems += problems_of(error, model, {})
    if problems:
        raise refusal("reference", problems)
    return spec  # type: ignore[return-value]


def _not_taken(kind: str, key: object, taken: list[str]) -> str:
    if not taken:
        return f"a reference of kind `{kind}` has no settings"
    offered = suggest(key, taken)
    takes = "" if offered.startswith("valid") else f"; it takes {', '.join(taken)}"
    return f"a reference of kind `{kind}` takes no such key; {offered}{takes}"

"""The settings of PatchCore, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.patchcore.stages import Stages, coreset_size, no_row
from fod_bench.methods.settings import BackboneSettings, FirstRow, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import PositiveWholeNumber, WholeNumber
from fod_bench.schema.problems import Problem, describe

_BLOCK_BYTES = 32 * 2**20
"""What is worked on at once, for estimates."""


class PatchCoreSettings(BackboneSettings):
    """PatchCore (CVPR 2022)."""

    implementation: ClassVar[str] = "fod_bench.methods.patchcore.method:PatchCore"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "distance of a patch to the nearest of a memory of normal ones, a greedy coreset"
    works_on: ClassVar[str] = "features after a 3×3 mean; for `embedding: official` features as the backbone gives them"
    wants_gpu: ClassVar[bool] = False
    source: ClassVar[str] = "Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022"
    licence: ClassVar[str] = "official code (amazon-science/patchcore-inspection): Apache-2.0; written anew here"
    costed: ClassVar[bool] = True

    method: str = "patchcore"
    """Method that is trained; `fod-bench methods` lists those there are."""
    embedding: Literal["concat", "official"] = "concat"
    """What a patch is: `concat` lays the levels' 3×3 means end to end, `official` averages every level's 3×3 neighbourhood to
    `pretrain_dimension` numbers, and those of all levels to `target_dimension`, as the official code does."""
    pretrain_dimension: PositiveWholeNumber = 1024
    """Numbers of a patch per level, for `embedding: official`."""
    target_dimension: PositiveWholeNumber = 1024
    """Numbers of a patch, for `embedding: official`."""
    coreset_ratio: float | Literal["all"] = 0.01
    """Share of all training patches that the memory keeps, above 0; `all` or 1 keeps every one, without a selection. The paper's
    tables have 0.25, 0.1 and 0.01."""
    coreset: Literal["approximate", "exact"] = "approximate"
    """Start of the greedy selection: `approximate` is the official code's default, in which each distance begins with the mean of
    those to ten patches drawn; `exact` begins with the patch that is farthest from the mean of all."""
    projection: int | Literal["none"] = 128
    """Dimensions of the random projection in which the selection takes distances, or `none`; the memory keeps whole patches.
    Patches of no more numbers than that are taken as they are."""
    neighbours: PositiveWholeNumber = 1
    """Nearest memory rows whose squared distances are averaged to a patch's score."""
    reweight: Annotated[WholeNumber, Field(ge=0)] = 0
    """b: the image's score is weighted by how far its farthest patch is from b memory rows around the nearest (Eq. 7 of the
    paper), with distances instead of their squares; at most as many as there are. 0 takes the largest patch score, as the official
    code does; 1 has no weight."""

    @field_validator("coreset_ratio", mode="plain")
    @classmethod
    def _share_or_all(cls, value: Any) -> Any:
        if value == "all" or (type(value) in (int, float) and value == 1):
            return "all"
        if type(value) is float and 0 < value < 1:
            return value
        raise ValueError(f"should be a number above 0 and at most 1, or `all`, not {describe(value)}")

    @field_validator("projection", mode="plain")
    @classmethod
    def _dimensions_or_none(cls, value: Any) -> Any:
        if value == "none" or (type(value) is int and value >= 1):
            return value
        raise ValueError(f"should be a whole number of at least 1, or `none`, not {describe(value)}")

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """None: a patch is of all levels together."""
        return ()

    @property
    def ratio(self) -> float:
        """Share of the patches that is kept."""
        return 1.0 if self.coreset_ratio == "all" else self.coreset_ratio

    @property
    def dimension(self) -> int:
        """D: numbers of a patch."""
        channels = backbone_strides(self.backbone)
        return self.target_dimension if self.embedding == "official" else sum(channels[level] for level in self.levels)

    @property
    def projected(self) -> int | None:
        """Dimensions that patches are projected to; None where they are taken as they are."""
        return None if self.projection == "none" or self.projection >= self.dimension else self.projection

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.score_levels != "all":
            yield Problem(("score_levels",), "a patch is of all levels together, and so is its score; leave it out")
        if self.embedding == "concat":
            for key in ("pretrain_dimension", "target_dimension"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    yield Problem((key,), "is for `embedding: official`; set that, or leave it out")

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. What the embedding or the share of kept patches makes ineffective is left out."""
        setting: dict[str, Any] = {
            "method": self.method,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "embedding": self.embedding,
            "coreset_ratio": self.ratio,
            "neighbours": self.neighbours,
            "reweight": self.reweight,
        }
        if self.embedding == "official":
            setting |= {"pretrain_dimension": self.pretrain_dimension, "target_dimension": self.target_dimension}
        if self.ratio < 1:
            setting |= {"coreset": self.coreset, "projection": self.projected or "none"}
        if self.backbone_precision != "float32":
            setting["backbone_precision"] = self.backbone_precision
        return setting | ({"measure": "cost"} if self.measures_cost else {})

    @classmethod
    def first_row(cls, full: bool, epochs: int | None) -> FirstRow:
        remark = "Trains nothing: it keeps a well spread part of all normal patches, and looks how far a new one is from them."
        return FirstRow("PatchCore", remark, {"coreset_ratio": 0.02, "reweight": 9})

    def needs(self) -> Needs:
        return Needs((self.features(pooled=self.embedding == "concat"),))

    def too_small(self, counts: Counts) -> str | None:
        return no_row(counts.train, self._side, self._side, self.ratio)

    def steps(self, counts: Counts) -> int:
        return 0 if self.measures_cost else sum(Stages.of(counts.train, self._rows(counts), self.ratio))

    def work(self, counts: Counts) -> Work:
        if self.measures_cost:
            return Work(0.0, 0.0)
        channels = backbone_strides(self.backbone)
        tested = counts.test_good + counts.test_defect
        rows, patches, dimension = self._rows(counts), self._side**2, self.dimension
        kept = coreset_size(rows, self.ratio)
        given = (counts.train + tested) * sum(
            (self.image_size // level) ** 2 * channels[level] for level in self.levels
        )
        # every number of a patch is a mean of a few, and training patches are made twice where some are selected
        operations = 4.0 * dimension * patches * (counts.train * (1 if self.ratio == 1 else 2) + tested)
        operations += 2.0 * tested * patches * kept * dimension
        # the memory of the method and the detector's, around its mean
        memory = 4.0 * (given + 2 * kept * dimension) + _BLOCK_BYTES
        if self.ratio < 1:
            width = self.projected or dimension
            operations += 2.0 * rows * kept * width + (2.0 * rows * dimension * width if self.projected else 0.0)
            memory += 4.0 * (rows * (width + 2) + kept * width)
        return Work(operations, memory, 4.0 * kept * dimension, tested * kept_bytes(patches))

    @property
    def _side(self) -> int:
        """Side of the finest level's grid, on which patches lie."""
        return self.image_size // self.levels[0]

    def _rows(self, counts: Counts) -> int:
        """N: patches of the training images."""
        return counts.train * self._side**2

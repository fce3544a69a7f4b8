"""The settings of PaDiM: every key with the published default, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.settings import BackboneSettings, Levels, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import PositiveWholeNumber, WholeNumber
from fod_bench.schema.problems import Problem

_BLOCK = 1 << 22
"""Numbers in float64 that a step of the fitting holds, about: 32 MiB."""


def positions_per_step(images: int, kept: int) -> int:
    """Positions whose Gaussians one step fits: their features and covariances take some 32 MiB."""
    return max(1, _BLOCK // (images * kept + 2 * kept**2))


class PadimSettings(BackboneSettings):
    """PaDiM (ICPR 2020)."""

    implementation: ClassVar[str] = "fod_bench.methods.padim.method:PadimMethod"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a Gaussian of the features at every position; the score is the Mahalanobis distance to it"
    works_on: ClassVar[str] = "features without pooling"
    wants_gpu: ClassVar[bool] = False
    source: ClassVar[str] = "Defard et al., PaDiM: a Patch Distribution Modeling Framework, ICPR 2020"
    licence: ClassVar[str] = (
        "authors published no code; written here from the equations and measured against "
        "xiahaifeng1995/PaDiM-Anomaly-Detection-Localization-master (Apache-2.0)"
    )
    costed: ClassVar[bool] = True

    method: str = "padim"
    """Method that is trained; `fod-bench methods` lists those there are."""
    levels: Levels = (8, 16)
    """Feature levels, by stride (pixels per feature); the paper takes 4, 8 and 16 of a ResNet. Every stride is a multiple of the
    smallest, since a coarse level's features are repeated over the positions of the finest."""
    channels: PositiveWholeNumber | Literal["all"] = 100
    """Channels kept, at random, of all that the levels have together; `all` keeps every one. The paper keeps 100 of a ResNet-18's
    448 and 550 of a WideResNet-50's 1792."""
    channels_seed: Annotated[WholeNumber, Field(ge=0)] = 1024
    """Seed of that choice, which is the same for all categories and seeds of a row; without effect for `channels: all`."""

    @property
    def scored_levels(self) -> tuple[int, ...]:
        """None: one Gaussian is of all levels together."""
        return ()

    def _all_channels(self) -> int:
        strides = backbone_strides(self.backbone)
        return sum(strides[level] for level in self.levels)

    def contradictions(self) -> Iterator[Problem]:
        found = list(super().contradictions())
        yield from found
        if self.score_levels != "all":
            text = "the distance is to one Gaussian of all levels together, there is none of a level; leave it out"
            yield Problem(("score_levels",), text)
        finest = self.levels[0]
        for level in self.levels:
            if level % finest:
                text = f"level {level} is no multiple of level {finest}, over whose positions it is repeated"
                yield Problem(("levels",), f"{text}; take strides that are multiples of the smallest")
        if self.channels != "all" and not any(problem.path == ("levels",) for problem in found):
            total = self._all_channels()
            if self.channels > total:
                levels = "+".join(str(level) for level in self.levels)
                text = f"{self.channels} cannot be kept of the {total} that levels {levels} of {self.backbone} have"
                yield Problem(("channels",), f"{text}; take at most {total}, or `all`")

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. To keep as many channels as there are is to keep all: their order changes no distance."""
        kept = "all" if self.channels == self._all_channels() else self.channels
        setting: dict[str, Any] = {
            "method": self.method,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "channels": kept,
        }
        if self.backbone_precision != "float32":
            setting["backbone_precision"] = self.backbone_precision
        if self.measures_cost:
            return setting | {"measure": "cost"}
        if kept != "all":
            setting["channels_seed"] = self.channels_seed
        return setting

    def needs(self) -> Needs:
        return Needs((self.features(pooled=False),))

    def too_small(self, counts: Counts) -> str | None:
        if counts.train >= 2:
            return None
        return "a covariance over the training images needs two of them at least, and there is one"

    def _sizes(self) -> tuple[int, int]:
        """Positions, and channels kept."""
        return (self.image_size // self.levels[0]) ** 2, (
            self._all_channels() if self.channels == "all" else self.channels
        )

    def steps(self, counts: Counts) -> int:
        """Blocks of positions, one after the other; 0 for a measurement, which takes only some."""
        positions, kept = self._sizes()
        return 0 if self.measures_cost else -(-positions // positions_per_step(counts.train, kept))

    def work(self, counts: Counts) -> Work:
        if self.measures_cost:
            return Work(0.0, 0.0)
        positions, kept = self._sizes()
        tested = counts.test_good + counts.test_defect
        strides = backbone_strides(self.backbone)
        fit = positions * (2.0 * counts.train * kept**2 + kept**3 / 3)  # covariances, Cholesky factors
        score = positions * kept**2 + 4.0 * self.image_size**3  # triangular systems; the blur of the map
        features = sum(strides[level] * (self.image_size // level) ** 2 for level in self.levels)
        block = positions_per_step(counts.train, kept) * (counts.train * kept + 2 * kept**2)
        return Work(
            fit + tested * score,
            # features of all images; means and factors, and a copy of them as they are stored; a step; maps on their way
            4.0 * (counts.train + tested) * features
            + 4.0 * positions * (1.5 * kept**2 + 2 * kept)
            + 20.0 * block
            + 12.0 * tested * self.image_size**2,
            weights=4.0 * positions * (kept + kept * (kept + 1) / 2),
            scores=tested * kept_bytes(positions),
        )

"""The settings of DRAEM: every key with the published value as its default, and what the program asks of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from fod_bench.errors import DatasetError
from fod_bench.methods.draem.cost import activations, forward_flops, parameters
from fod_bench.methods.draem.texture_folder import folder_digest
from fod_bench.methods.settings import MethodSettings, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import PositiveNumber, PositiveWholeNumber, home_expanded
from fod_bench.schema.problems import Problem, suggest

SIDES = 32
"""The discriminative network halves a side five times, and Perlin noise has up to 32 cells."""

DRAWN = "drawn"

_NO_COST = ("learning_rate", "epochs", "evaluate_every")
"""What makes no difference to what a training step or an image costs."""


class DraemSettings(MethodSettings):
    """DRAEM (ICCV 2021)."""

    implementation: ClassVar[str] = "fod_bench.methods.draem.method:DraemMethod"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "two networks learn to undo and to find anomalies that are blended into normal images"
    works_on: ClassVar[str] = "images"
    source: ClassVar[str] = "Zavrtanik et al., DRAEM, ICCV 2021"
    licence: ClassVar[str] = "authors' code: MIT; written here from its facts and measured against it"
    costed: ClassVar[bool] = True

    method: str = "draem"
    """Method that is trained; `fod-bench methods` lists those there are."""
    width: PositiveWholeNumber = 128
    """Channels of the reconstructive network's widest map, an even number; the discriminative network has half as many. 128 as
    published; each halving is a quarter of the work, so that a CPU can train it. Results are then not the published method's."""
    textures: str = DRAWN
    """Where the textures of the anomalies come from: `drawn` (procedural patterns, and training images cut to pieces) or the path
    of a folder of images, as DTD, which the authors use. Images are taken up to four folders deep."""
    textures_digest: str | None = None
    """Digest of the names and contents of the images in the folder of `textures`, so that a training is of known textures on every
    machine. Leave it out once: the refusal says what it is."""
    learning_rate: PositiveNumber = 1e-4
    """Learning rate of Adam; a fifth of it from 80 % of the epochs on, and a fifth of that from 90 % on."""
    batch_size: PositiveWholeNumber = 8
    """Samples per training step."""
    epochs: PositiveWholeNumber = 700
    """Epochs; each has as many samples as there are training images, drawn with replacement."""
    evaluate_every: PositiveWholeNumber = 10
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""
    precision: Literal["float32", "tf32"] = "float32"
    """Precision of the convolutions' factors; sums and all else are float32. `tf32` needs a GPU."""

    @field_validator("textures")
    @classmethod
    def _drawn_or_a_path(cls, textures: str) -> str:
        if textures == DRAWN:
            return textures
        if not textures or (textures == Path(textures).name and textures not in (".", "..")):
            hint = suggest(textures, (DRAWN,))
            raise ValueError(f"{textures!r} is neither `{DRAWN}` nor the path of a folder (`./{textures}`); {hint}")
        return home_expanded(textures)

    @field_validator("textures_digest")
    @classmethod
    def _sixteen_digits(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch("[0-9a-f]{16}", digest):
            raise ValueError("should be 16 hexadecimal digits; leave it out to be told what it is")
        return digest

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.image_size % SIDES:
            below = self.image_size - self.image_size % SIDES
            text = (
                f"{self.image_size} pixels are not a multiple of {SIDES}; the nearest are {below} and {below + SIDES}"
            )
            yield Problem(("image_size",), text)
        elif self.image_size == SIDES and self.batch_size == 1:
            yield Problem(
                ("batch_size",), f"must be at least 2 at image_size {SIDES}, or batch norm has one value to scale"
            )
        if self.width % 2:
            text = f"{self.width} is odd, and the discriminative network is half as wide; set an even number"
            yield Problem(("width",), text)
        if self.textures == DRAWN and self.textures_digest is not None:
            yield Problem(("textures_digest",), f"is for a folder of textures, not `textures: {DRAWN}`; leave it out")
        elif self.textures != DRAWN and self.textures_digest is None:
            try:
                text = f"missing; that of the images in {self.textures} is `textures_digest: {folder_digest(Path(self.textures))}`"
            except DatasetError as error:
                yield Problem(("textures",), str(error).removeprefix("textures: "))
            else:
                yield Problem(("textures_digest",), text)

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`.

        A folder of textures is named by its path, by which it is opened, and by its digest, which is held against the images when
        the training begins. `evaluate_every` is in it, because it decides what the record holds. Where costs are measured,
        `measure` and what they depend on are all that is in it.
        """
        folder = {"folder": self.textures, "digest": self.textures_digest}
        setting: dict[str, Any] = {
            "method": self.method,
            "image_size": self.image_size,
            "width": self.width,
            "textures": DRAWN if self.textures == DRAWN else folder,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
            "precision": self.precision,
        }
        if self.measures_cost:
            return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
        return setting

    def needs(self) -> Needs:
        return Needs(images=True)

    def too_small(self, counts: Counts) -> str | None:
        """At 32 pixels the deepest maps are single values, and batch norm cannot scale those of one image."""
        if self.image_size == SIDES and counts.train % self.batch_size == 1:
            text = f"{counts.train} training images leave a last batch of one, whose {SIDES} pixels batch norm cannot scale"
            return f"batch_size: {text}; another batch size does, or image_size {2 * SIDES}"
        return None

    def steps(self, counts: Counts) -> int:
        """Optimiser steps; 0 for a measurement, which takes only some."""
        return 0 if self.measures_cost else -(-counts.train // self.batch_size) * self.epochs

    def work(self, counts: Counts) -> Work:
        """A step costs three forward passes of its samples."""
        if self.measures_cost:
            return Work(0.0, 0.0)
        tested = counts.test_good + counts.test_defect
        evaluations = -(-self.epochs // self.evaluate_every)
        passes = 3.0 * self.epochs * counts.train + evaluations * tested
        size = self.image_size
        # weights, gradients and Adam's two moments; what a step keeps; images of a byte per value, maps of four
        memory = 16.0 * parameters(self.width)
        memory += 4.0 * min(self.batch_size, counts.train) * activations(self.width, size)
        memory += (3.0 * (counts.train + tested) + 4.0 * tested) * size**2
        weights, scores = 4.0 * parameters(self.width), tested * kept_bytes(size**2)
        return Work(passes * forward_flops(self.width, size), memory, weights, scores)

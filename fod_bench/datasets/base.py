"""What every data set looks like from outside: a category is a list of samples with readable images and masks."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GOOD = "good"
"""`Sample.defect` of a normal image, whatever its folder is called."""


@dataclass(frozen=True)
class Sample:
    """One image of a category."""

    name: str
    """Posix path below the category folder, e.g. `test/crack/003.png`; unique within the category."""
    split: Literal["train", "test"]
    label: int
    """0 for a normal image, 1 for a defective one."""
    defect: str
    """`good`, or the type of the defect."""
    masked: bool = True
    """Whether it is known which of its pixels are defective: of every normal image, and of a defective one with a mask."""


class SampleLimit(Protocol):
    """How many images to keep per split; None keeps all. The job file's `limit` is one."""

    @property
    def train(self) -> int | None: ...

    @property
    def test(self) -> int | None: ...


AnyCategory = TypeVar("AnyCategory", bound="Category")


class Category(ABC):
    """One category of a data set: samples, their images and masks. Cheap to send to another process."""

    layout: str
    name: str
    samples: list[Sample]
    """Train, then test, each sorted by name."""

    @property
    def train(self) -> list[Sample]:
        """Normal images to train on."""
        return [sample for sample in self.samples if sample.split == "train"]

    @property
    def test(self) -> list[Sample]:
        """Normal and defective images to test on."""
        return [sample for sample in self.samples if sample.split == "test"]

    @abstractmethod
    def read_image(self, sample: Sample) -> Image.Image:
        """The image in 8-bit RGB. Raises DatasetError when it cannot be read."""

    @abstractmethod
    def read_mask(self, sample: Sample) -> NDArray[np.uint8] | None:
        """The defect's mask of 0 and 1, (h, w) at the image's own size; None for a normal image and where there is none.

        Raises DatasetError when the mask is missing though one is needed, unreadable, or of another size than its image.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the content of the images and masks in use: equal exactly when the data are."""

    def fingerprint_anew(self) -> tuple[str, list[Path]]:
        """`fingerprint` with every file read, whatever is remembered of it; and the files that were remembered wrongly."""
        return self.fingerprint(), []

    def found(self) -> str:
        """What was taken as what, in one line: numbers of images, masks, folders; empty where that goes without saying."""
        return ""

    def notes(self) -> list[str]:
        """What makes the images in use other than a person may think, a line each, from the names of the files, and from their
        bytes once the fingerprint was taken."""
        return []

    def noticed(self) -> list[str]:
        """The same from the content of the images and masks read so far."""
        return []

    def limited(self: AnyCategory, limit: SampleLimit | None) -> AnyCategory:
        """This category with at most `limit.train` and `limit.test` images.

        Training keeps the first images by name. Testing takes turns between the normal images and each type of
        defect, so that every type stays present as long as the limit allows.
        """
        if limit is None:
            return self
        clone = copy.copy(self)
        clone.samples = self.train[: limit.train] + _spread(self.test, limit.test)
        return clone


def _spread(samples: Sequence[Sample], count: int | None) -> list[Sample]:
    """`count` of `samples`, taken by turns from the normal ones and each defect type; in the order given."""
    groups: dict[tuple[int, str], int] = {}
    turns = []
    for sample in samples:
        group = sample.label, sample.defect
        groups[group] = groups.get(group, -1) + 1
        # Normal images go first in every round, so that even a tiny limit leaves a negative to compare with.
        turns.append((groups[group], sample.label, sample.defect, sample.name))
    kept = {name for *_, name in sorted(turns)[:count]}
    return [sample for sample in samples if sample.name in kept]

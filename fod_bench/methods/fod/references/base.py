"""What a reference is to the rest of the program, whichever its kind.

Shape letters: n training and m test images on a grid of H×W positions, C channels; M references per position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Facts: TypeAlias = dict[str, float]
"""What is worth knowing of how a reference turned out, e.g. how many codes of a codebook are in use."""


@dataclass(frozen=True)
class FixedReference:
    """References of one level that are the same for every image."""

    features: NDArray[np.float32]
    """(H, W, M, C)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What has to be kept, by name."""
        return {"features": self.features}


@dataclass(frozen=True)
class ChosenReference:
    """References of one level that depend on the image: for each of its positions one row of a table."""

    train: NDArray[np.int32]
    """(n, H, W), rows of the table."""
    test: NDArray[np.int32]
    """(m, H, W)."""
    table: NDArray[np.float32] | None = None
    """(R, C); None for the training features themselves, (n, H, W, C) as rows, which are there anyway."""
    scale: NDArray[np.float32] | None = None
    """(1,), what features are divided by before they are looked up among the codes of a codebook; so is the table."""
    encoder: NDArray[np.float32] | None = None
    """(C, C + 1), the linear map of a codebook that has one, its bias last; applied after `scale`."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What has to be kept, by name."""
        more = {"table": self.table, "scale": self.scale, "encoder": self.encoder}
        return {"train": self.train, "test": self.test} | {
            name: array for name, array in more.items() if array is not None
        }


LevelReference: TypeAlias = FixedReference | ChosenReference


@dataclass(frozen=True)
class References:
    """References of all levels of a feature set."""

    levels: dict[int, LevelReference]
    facts: dict[str, dict[str, float]]
    """`{fact: {level: value}}`."""


class LevelFeatures(NamedTuple):
    """What a level's reference is made from."""

    stride: int
    train: NDArray[np.float32]
    """(n, H, W, C); memory-mapped, so what is not needed at once should not be read at once."""
    test: NDArray[np.float32]
    """(m, H, W, C)."""
    device: torch.device
    name: str = ""
    """Of the category, for people."""

    def generator(self, seed: int) -> torch.Generator:
        """Random numbers of this level alone, the same on every device: which other levels there are changes nothing."""
        return torch.Generator().manual_seed((seed << 16) + self.stride)


Built: TypeAlias = tuple[LevelReference, Facts]

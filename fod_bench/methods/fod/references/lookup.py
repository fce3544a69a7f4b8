"""References on a device: what the inter-image branch is given for chosen images, and how it is found for new ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fod_bench.errors import TrialError
from fod_bench.features.arrays import as_tensor
from fod_bench.methods.fod.references.base import ChosenReference, LevelReference
from fod_bench.methods.fod.references.codebook import quantise
from fod_bench.methods.fod.references.nearest import nearest


class Lookup:
    """One level's references. Of those that depend on the image only the rows for the images asked for are gathered."""

    def __init__(
        self, reference: LevelReference, spec: dict[str, Any], device: torch.device, train: Tensor | None = None
    ) -> None:
        """`spec`: the reference's settings. `train`: the level's training features (n, N, C) on the device, the table of a
        reference that names no other; one loaded to be complete names its own."""
        self._reference, self._spec = reference, spec
        self.depends_on_image = isinstance(reference, ChosenReference)
        if isinstance(reference, ChosenReference):
            table = train if reference.table is None else as_tensor(reference.table).to(device)
            assert table is not None
            self._features = table.reshape(-1, table.shape[-1])  # (R, C)
        else:
            # always a copy in torch's own memory: see `Split.batch`
            self._features = as_tensor(reference.features).flatten(0, 2)[None].to(device, copy=True)  # (1, N·M, C)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C,) where they depend on the image, else (1, N·M, C)."""
        return tuple(self._features.shape[1:] if self.depends_on_image else self._features.shape)

    def of(self, rows: Tensor | None) -> Tensor:
        """References (B, N, C) of the images whose rows (B, N) of the table are given; (1, N·M, C) where they are the same for
        all."""
        if not self.depends_on_image:
            return self._features
        assert rows is not None
        return self._features[rows]

    def find(self, features: Tensor) -> Tensor | None:
        """The rows (n, N) for new images with features (n, H, W, C), found as those of the test images were; None where the
        references are the same for all.

        Raises:
            TrialError: an older version kept the references without what finds them for new images.
        """
        reference = self._reference
        if not isinstance(reference, ChosenReference):
            return None
        if self._spec["kind"] == "nearest":
            table = self._features.view(-1, *features.shape[1:])  # (n, H, W, C)
            return nearest(features, table, self._spec["neighbourhood"]).flatten(1)
        if reference.scale is None:
            raise TrialError(
                "the codebook was kept by a version that did not keep how new images are looked up in it; delete the reference "
                "in the store, so that it is made anew"
            )
        scale = float(reference.scale[0])
        scaled, codes = features / scale, self._features / scale
        if reference.encoder is not None:
            weight = as_tensor(reference.encoder).to(features.device)  # (C, C + 1), the bias last
            scaled = torch.nn.functional.linear(scaled, weight[:, :-1], weight[:, -1])
        return torch.stack([quantise(image, codes) for image in scaled]).flatten(1)

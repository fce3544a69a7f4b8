"""References on the device that trains: what the inter-image branch is given for chosen pictures."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fod_bench.features.arrays import as_tensor
from fod_bench.methods.fod.references.base import ChosenReference, LevelReference


class Lookup:
    """One level's references. Of those that depend on the picture only the rows for the pictures asked for are gathered."""

    def __init__(self, reference: LevelReference, train: Tensor, device: torch.device) -> None:
        """`train`: the level's training features (n, N, C) on the device, the table of a reference that has no other."""
        self._rows: dict[str, Tensor] = {}
        if isinstance(reference, ChosenReference):
            table = train if reference.table is None else as_tensor(reference.table).to(device)
            self._features = table.reshape(-1, table.shape[-1])  # (R, C)
            for split, rows in (("train", reference.train), ("test", reference.test)):
                self._rows[split] = as_tensor(rows).flatten(1).to(device)  # (n, N) and (m, N)
        else:
            # always a copy in torch's own memory: see `FodMethod`
            self._features = as_tensor(reference.features).flatten(0, 2)[None].to(device, copy=True)  # (1, N·M, C)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C) where they depend on the picture, else (1, N·M, C)."""
        chosen = self._rows.get("train")
        return (*chosen.shape[1:], self._features.shape[-1]) if chosen is not None else tuple(self._features.shape)

    def of(self, split: Literal["train", "test"], pictures: Tensor | slice) -> Tensor:
        """References of pictures of a split, by number: (B, N, C), or (1, N·M, C) where they are the same for all."""
        if not self._rows:
            return self._features
        return self._features[self._rows[split][pictures]]

    def of_any(self) -> Tensor:
        """References of a picture of no split, (1, N·M, C). Raises `ValueError` where they depend on the picture."""
        if self._rows:
            raise ValueError("the references depend on the picture and are known for the pictures of the splits only")
        return self._features

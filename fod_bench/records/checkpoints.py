"""Checkpoints of a trial: two are kept, and only those are gone on from that its claim inherited or made.

    trials/<train key>/checkpoints/<claim name>-<number>.safetensors

What an earlier holder writes after its claim was taken over has a name that no later claim knows.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fod_bench.records.claims import Claim
from fod_bench.records.names import checkpoint_name
from fod_bench.store.tensors import save_tensors

State = dict[str, NDArray[Any]]
"""Named arrays, as they are kept in a store."""


KEPT = 2
"""The newest may turn out damaged."""


class Checkpoints:
    """Those of the trial that `claim` is for."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._names = list(claim.entry.states)  # oldest first
        self._made = 0

    def save(self, arrays: State, metadata: dict[str, str]) -> None:
        """Write one more and drop the oldest. Raises `LostClaimError`, `StoreError`."""
        self._claim.check()
        self._made += 1
        name = checkpoint_name(self._claim.key, self._claim.name, self._made)
        save_tensors(self._claim.store, name, arrays, metadata, new=True)
        self._names.append(name)
        while len(self._names) > KEPT:
            self._claim.store.delete(self._names.pop(0))

    def newest_first(self) -> list[str]:
        """Names of those that may be gone on from; one may be missing by now."""
        return self._names[::-1]

"""What a run has chosen for its machines, and by which measurements: `resources: auto`, kept so that the run goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import resources_name
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import Amount, Count, Part
from fod_bench.text import counted


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AskedResources(_Frozen):
    """What the job says."""

    cpus: Literal["auto"] | float
    gpus: Literal["auto"] | float
    pack: Literal["auto"] | int


class MachineKind(_Frozen):
    """Nodes of one kind."""

    nodes: Count
    cpus: Amount
    gpus: Amount
    gpu: str = ""
    """Kind of its GPUs; empty where it is not known."""


class MeasuredCandidate(_Frozen):
    """A way to share the machines out, and what was expected of it."""

    cpus: Amount
    gpus: Amount
    pack: Count
    workers: Count
    """At once, on all machines."""
    seconds: Amount | None
    """Until all trainings of the kinds that were measured would have ended; None where it did not do."""
    measured: list[list[float]] = Field(default_factory=list)
    """For each kind of training on each kind of machine: seconds of a step that the pack takes together, and of the evaluation of
    an image, the mean of the workers."""


class ChosenResources(_Frozen):
    """What was chosen, for which machines, and what was measured."""

    schema_version: int = 1
    run_id: Part
    created: str
    """UTC, ISO 8601."""
    asked: AskedResources
    machines: list[MachineKind]
    trainings: list[str]
    """Names of the trainings that were measured, one of each kind."""
    candidates: list[MeasuredCandidate]
    """In the order tried."""
    cpus: Amount
    gpus: Literal["auto"] | float
    pack: Count
    workers: Count
    """At once, on all machines."""
    seconds: Amount
    """That measuring took, the start of the workers included."""

    def in_words(self) -> str:
        """E.g. `2 workers of 1 CPU, packs of 4`."""
        gpus = "" if self.gpus in ("auto", 0) else f" and {self.gpus:g} GPU"
        return f"{counted(self.workers, 'worker')} of {self.cpus:g} CPU{'s' * (self.cpus != 1)}{gpus}, " + (
            f"packs of {self.pack}" if self.pack > 1 else "no packs"
        )

    def options(self) -> str:
        """What has a job take the same without measuring."""
        given = {"resources.cpus": f"{self.cpus:g}", "pack": str(self.pack)}
        if self.gpus != self.asked.gpus:
            given["resources.gpus"] = f"{self.gpus:g}"
        return " ".join(f"--set {key}={value}" for key, value in given.items())


def chosen_resources(store: Store, run_id: str) -> ChosenResources | None:
    """What the run has chosen; None where it has not, or what is kept of it cannot be read: then it is chosen anew."""
    try:
        return ChosenResources.model_validate_json(store.get(resources_name(run_id)))
    except (ObjectMissingError, DamagedObjectError, ValidationError):
        return None


def keep_chosen(store: Store, chosen: ChosenResources) -> None:
    """Keep what a run has chosen. Raises `StoreError`."""
    store.put(resources_name(chosen.run_id), chosen.model_dump_json(indent=1).encode())


def machine_kinds(nodes: Sequence[tuple[int, float, float, str]]) -> list[MachineKind]:
    """Of nodes as number, CPUs, GPUs and kind of these, in one order."""
    return [MachineKind(nodes=each[0], cpus=each[1], gpus=each[2], gpu=each[3]) for each in sorted(nodes)]

"""What a run has chosen for its machines, and by which measurements: `resources: auto`, kept so that the run goes on with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fod_bench.errors import DamagedObjectError
from fod_bench.records.names import resources_name
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.reading import Amount, Count, Part
from fod_bench.text import counted

Cores = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Several = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AskedResources(_Frozen):
    """What the job and the command say."""

    cpus: Literal["auto"] | Cores
    gpus: Literal["auto"] | Amount
    pack: Literal["auto"] | Several
    workers: Several | None = None
    """At once at most; None: as many as there is room for."""


class MachineKind(_Frozen):
    """Nodes of one kind."""

    nodes: Count
    cpus: Amount
    gpus: Amount
    gpu: str = ""
    """Kind of its GPUs; empty where it is not known."""


class MeasuredCandidate(_Frozen):
    """A way to share the machines out, and what was expected of it."""

    cpus: Cores
    gpus: Amount
    pack: Several
    workers: Count
    """At once, on all machines."""
    seconds: Amount | None
    """Until all trainings of the kinds that were measured would have ended; None where it did not do."""
    measured: list[list[Amount]] = Field(default_factory=list)
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
    left: Count
    """Trainings that were to be done then."""
    candidates: list[MeasuredCandidate]
    """In the order tried."""
    cpus: Cores
    gpus: Literal["auto"] | Amount
    pack: Several
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
        chosen = ChosenResources.model_validate_json(store.get(resources_name(run_id)))
    except (ObjectMissingError, DamagedObjectError, ValidationError):
        return None
    return chosen if chosen.run_id == run_id else None


def chosen_for(
    store: Store, run_id: str, cpus: float | str, gpus: float | str, pack: int | str
) -> ChosenResources | None:
    """What the run has chosen where its job says this; None where that was chosen for a job that said something else."""
    chosen = chosen_resources(store, run_id)
    if chosen is None or (chosen.asked.cpus, chosen.asked.gpus, chosen.asked.pack) != (cpus, gpus, pack):
        return None
    return chosen


def keep_chosen(store: Store, chosen: ChosenResources) -> None:
    """Keep what a run has chosen. Raises `StoreError`."""
    store.put(resources_name(chosen.run_id), chosen.model_dump_json(indent=1).encode())

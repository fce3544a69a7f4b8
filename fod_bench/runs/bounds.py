"""What `plan` tells of `resources: auto`: what this machine could be asked to do, or what was chosen already."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from fod_bench.machine.memory import host_memory
from fod_bench.machine.system import cores
from fod_bench.plan import Plan
from fod_bench.plan.durations import Durations
from fod_bench.records.chosen import ChosenResources, chosen_for
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import record_name
from fod_bench.runs.choice import is_open, kinds_of, largest_need, machines_of, packs, shares
from fod_bench.runs.resources import NodeResources
from fod_bench.store import Store
from fod_bench.text import format_bytes

_RAYS_PART = 0.7
"""Of the memory that is free Ray leaves so much to workers; the rest holds what they share."""


class Bounds(NamedTuple):
    """Of what is chosen when a run starts, on this machine without its GPUs."""

    keys: tuple[str, ...]
    """Keys of the job that are `auto`, and settled by measuring."""
    cores: int
    memory: float
    """Bytes for workers; 0 where it is not known."""
    training: float
    """Bytes that the largest training takes."""
    cpus: tuple[float, ...]
    """CPUs of a trial that there are to choose from; with fewer, memory would not hold as many workers as there are cores."""
    pack: int
    """Trials that may train together at most."""
    chosen: ChosenResources | None
    """What this run has chosen already, which holds on machines like those then."""

    def in_words(self) -> str:
        """One line for a person."""
        keys = " and ".join(self.keys)
        if self.chosen is not None:
            return f"{keys} chosen on {self.chosen.created[:10]}: {self.chosen.in_words()}"
        each = " to ".join(f"{number:g}" for number in sorted({self.cpus[0], self.cpus[-1]})) if self.cpus else "no"
        line = f"{keys} chosen when the run starts, by measuring: {each} of {self.cores} cores a trial, packs of up to {self.pack}"
        if not self.memory:
            return line
        return f"{line}; {format_bytes(self.memory)} of memory, {format_bytes(self.training)} for a training"

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        chosen = None if self.chosen is None else self.chosen.model_dump(mode="json")
        return {**self._asdict(), "chosen": chosen}


def bounds_of(plan: Plan, store: Store) -> Bounds | None:
    """The bounds for what is left of a plan; None where the job leaves nothing to be measured. Raises `StoreError`."""
    job = plan.job
    if not is_open(job.resources, job.pack):
        return None
    memory = _RAYS_PART * (host_memory() or 0)
    there = Trials(store).names(plan.trials.keys())
    left = [trial for trial in plan.trials.values() if record_name(trial.key) not in there]
    machines = machines_of({"here": NodeResources(cores(), 0.0, memory)})
    kinds = kinds_of(left, partial(Durations().seconds, gpu=False, threads=1))
    if not kinds:
        return None
    need = largest_need(left, machines, on_gpu=False)
    packs_of = {
        share: packs(share, job.pack, machines, need, kinds) for share in shares(job.resources, machines, False)
    }
    offered = {share: found for share, found in packs_of.items() if found}
    keys = {"resources.cpus": job.resources.cpus, "pack": job.pack}
    return Bounds(
        tuple(key for key, given in keys.items() if given == "auto"),
        cores(),
        memory,
        need,
        tuple(share.cpus for share in offered),
        max((found[-1] for found in offered.values()), default=1),
        chosen_for(store, plan.run.run_id, job.resources.cpus, job.resources.gpus, job.pack),
    )

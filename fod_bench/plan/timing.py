"""How long the trainings that are left will take: by what recorded trainings of their method and size took, else by assumption."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fod_bench.errors import JobError
from fod_bench.machine.system import cores
from fod_bench.methods.registry import settings_class
from fod_bench.methods.settings import MethodSettings
from fod_bench.plan.medians import range_medians
from fod_bench.plan.training import TrialJob
from fod_bench.records.index.timings import Timings
from fod_bench.records.index.trials import Trials
from fod_bench.records.record import COST_SCORE, Counts

CPU_CORE = "CPU core"
ASSUMED_FLOPS_PER_CORE = 60e9
"""Operations per second of one CPU core, where no record tells better. With AVX-512 some 100e9 were measured."""
ASSUMED_STEP_SECONDS = 0.06
"""Of a step, whatever its size: launches, the optimiser, and its share of the metrics of evaluations."""
EXTRACTION_SECONDS = 0.25
"""Of one image of 256×256 pixels on one core: reading, resizing, the backbone. Larger ones in proportion to their pixels."""
MEASUREMENT_SECONDS = 60.0
"""Of one measurement of cost."""
STARTUP_SECONDS = 15.0
"""From the command to the first step: Ray, and torch in each worker."""
ASSUMED_FLOPS_PER_GPU = 15e12
"""Operations per second of a GPU, where no record tells better."""
ASSUMED_GPU_STEP_SECONDS = 0.02
"""Of a step on a GPU, whatever its size: a step at a time keeps it busy with launches more than with arithmetic."""
GPU_EXTRACTION_SECONDS = 0.02
"""Of one image of 256×256 pixels where a GPU runs the backbone: reading and resizing take most of it."""
_LIKE = 4.0
"""Trainings are of one size when the operations of a step differ by this factor at most."""


@dataclass(frozen=True)
class Estimate:
    """How long what is left takes on a kind of device."""

    device: str
    """`CPU_CORE`, or a GPU's name."""
    hours: float
    """Of one core; on a GPU of one worker, with as large a share of it as the recorded trainings had."""
    workers: int
    """Cores of this machine that a run would keep busy; 1 for a GPU."""
    seconds: float
    """Wall time with so many, the start included; 0 when nothing is left."""
    basis: str
    """What the time is reckoned from."""


class Rates(NamedTuple):
    """What n recorded trainings of one method tell, on one kind of device."""

    per_step: NDArray[np.float64]
    """(n,): operations of a step, evaluations included, in ascending order."""
    per_second: NDArray[np.float64]
    """(n,): operations per second; on a CPU those of one core."""

    def like(self, per_step: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the trainings of about so many operations a step, (k,), begin and end: (k,), (k,)."""
        return np.searchsorted(self.per_step, per_step / _LIKE), np.searchsorted(
            self.per_step, per_step * _LIKE, "right"
        )


class _Size(NamedTuple):
    """Trainings that are left and take the same."""

    method: str
    operations: float
    """Of one training."""
    steps: int
    trainings: int


def estimates(left: Sequence[TrialJob], to_extract: float, cpus: int, recorded: Trials) -> list[Estimate]:
    """On the cores of this machine, then on each GPU that recorded trainings ran on; nothing where nothing is left.

    Args:
        left: trainings and measurements without a record; those whose images are not counted take no time.
        to_extract: images whose features are not stored, as so many of 256×256 pixels.
        cpus: cores of one worker.
        recorded: the trials of the store, whichever job made them.

    Raises `StoreError`.
    """
    if not left:
        return []
    sizes = _sizes(left)
    rates = rates_of(recorded.timings(), left) if sizes else {}
    further = to_extract * EXTRACTION_SECONDS + MEASUREMENT_SECONDS * sum(trial.measures_cost for trial in left)
    found = []
    for device in (CPU_CORE, *sorted(rates.keys() - {CPU_CORE})):
        told = _reckoned(sizes, rates.get(device, {}), device)
        if told is not None:
            seconds, basis = told[0] + further, told[1]
            workers = max(1, min(cores(), cpus * len(left))) if device == CPU_CORE else 1
            found.append(Estimate(device, seconds / 3600, workers, STARTUP_SECONDS + seconds / workers, basis))
    return found


def _sizes(left: Sequence[TrialJob]) -> list[_Size]:
    counted = Counter(
        (trial.settings.method, *operations_and_steps(trial.settings, trial.counts))
        for trial in left
        if trial.counts is not None and not trial.measures_cost
    )
    return [_Size(*size, trainings) for size, trainings in counted.items()]


def operations_and_steps(settings: MethodSettings, counts: Counts) -> tuple[float, int]:
    """Operations of a training and its steps. Of a method that tells no operations images stand for them."""
    images = counts.train + counts.test_good + counts.test_defect
    return settings.work(counts).operations or float(images), max(1, settings.steps(counts))


def _reckoned(sizes: Sequence[_Size], rates: Mapping[str, Rates], device: str) -> tuple[float, str] | None:
    """Seconds of one core, or of one worker, and what they are reckoned from; None for a GPU that never trained such a size.

    `rates`: of the device, by method.
    """
    medians = np.full(len(sizes), np.nan)
    used = 0
    for method, known in rates.items():
        places = [place for place, size in enumerate(sizes) if size.method == method]
        per_step = np.array([sizes[place].operations / sizes[place].steps for place in places])
        starts, stops = known.like(per_step)
        medians[places] = range_medians(known.per_second, starts, stops)
        edges = np.zeros(len(known.per_step) + 1, np.int64)
        np.add.at(edges, starts, 1)
        np.add.at(edges, stops, -1)
        used += int((np.cumsum(edges) > 0).sum())
    seconds, assumed = 0.0, 0
    for size, per_second in zip(sizes, medians.tolist(), strict=True):
        if not math.isnan(per_second):
            each = size.operations / per_second
        elif device == CPU_CORE:
            assumed += size.trainings
            each = size.operations / ASSUMED_FLOPS_PER_CORE + size.steps * ASSUMED_STEP_SECONDS
        else:
            return None
        seconds += each * size.trainings
    return seconds, _basis(used, assumed, sum(size.trainings for size in sizes))


def _basis(measured: int, assumed: int, trainings: int) -> str:
    supposed = f"{ASSUMED_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s per core assumed"
    if not measured:
        return f"{supposed}; no record of such a size tells yet" if trainings else "no training is left"
    told = f"measured by {measured} recorded training{'s' * (measured > 1)} of this method and size"
    return f"{told}; for {assumed} of {trainings} trainings {supposed}" if assumed else told


def rates_of(timings: Timings, left: Sequence[TrialJob]) -> dict[str, dict[str, Rates]]:
    """What recorded trainings tell, of the methods and backbones of what is left: by device, and by method."""
    planned = {_spelled(each): each for each in {id(trial.settings): trial.settings for trial in left}.values()}
    kinds = {(each.method, each.training().get("backbone")) for each in planned.values()}
    known: dict[tuple[str, str], MethodSettings | None] = {}
    operations, per_step, share = (np.zeros(len(timings.groups)) for _ in range(3))
    of: dict[tuple[str, str], list[int]] = {}
    for number, alike in enumerate(timings.groups):
        setting = json.loads(alike.setting)
        if setting.get("measure") == COST_SCORE or (alike.method, setting.get("backbone")) not in kinds:
            continue
        if (alike.method, alike.setting) not in known:
            own = planned.get(alike.setting)
            known[alike.method, alike.setting] = own if own is not None else _recorded_settings(alike.method, setting)
        settings = known[alike.method, alike.setting]
        if settings is not None:
            operations[number], steps = operations_and_steps(settings, Counts.model_validate_json(alike.counts))
            on_cpu = alike.device.startswith("cpu")
            per_step[number], share[number] = operations[number] / steps, alike.threads if on_cpu else 1
            of.setdefault((CPU_CORE if on_cpu else alike.device, alike.method), []).append(number)
    found: dict[str, dict[str, Rates]] = {}
    for (device, method), groups in of.items():
        usable = np.isin(timings.group, groups) & (timings.seconds > 0)
        group = timings.group[usable]
        order = np.argsort(per_step[group], kind="stable")
        if len(order):
            per_second = operations[group] / timings.seconds[usable] / share[group]
            found.setdefault(device, {})[method] = Rates(per_step[group][order], per_second[order])
    return found


def _spelled(settings: MethodSettings) -> str:
    """What a record says of a training by these settings, as `Alike.setting` is."""
    return json.dumps(settings.training(), sort_keys=True)


def _recorded_settings(method: str, setting: dict[str, Any]) -> MethodSettings | None:
    """The settings that records of a setting were made with; None where this version has others."""
    try:
        kind = settings_class(method)
        known = {key: value for key, value in setting.items() if key in kind.model_fields}
        settings = kind.model_validate_json(json.dumps(known))
    except (JobError, ValidationError):
        return None
    return settings if settings.training() == setting else None

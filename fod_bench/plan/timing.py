"""How long the trainings that are left will take: by what recorded trainings of their method and size took, else by assumption."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from fod_bench.errors import DamagedObjectError, JobError
from fod_bench.machine.system import cores
from fod_bench.methods.registry import settings_class
from fod_bench.methods.settings import MethodSettings
from fod_bench.plan.training import TrialJob
from fod_bench.records.names import record_name
from fod_bench.records.record import Counts, Record
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.many import read_many

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


class Rate(NamedTuple):
    """What one recorded training tells."""

    method: str
    per_step: float
    """Operations of a step, evaluations included."""
    device: str
    per_second: float
    """Operations per second; on a CPU those of one core."""


class _Size(NamedTuple):
    """Trainings that are left and take the same."""

    method: str
    operations: float
    """Of one training."""
    steps: int
    trainings: int


def estimates(
    left: Sequence[TrialJob],
    to_extract: float,
    cpus: int,
    store: Store,
    recorded: Collection[str],
    planned: Mapping[str, TrialJob],
) -> list[Estimate]:
    """On the cores of this machine, then on each GPU that recorded trainings ran on; nothing where nothing is left.

    Args:
        left: trainings and measurements without a record; those whose images are not counted take no time.
        to_extract: images whose features are not stored, as so many of 256×256 pixels.
        cpus: cores of one worker.
        recorded: train keys of all records of the store, whichever job made them.
        planned: trainings of the plan by their keys.

    Raises `StoreError`.
    """
    if not left:
        return []
    sizes = _sizes(left)
    rates = recorded_rates(store, recorded, planned, {setting_of(trial) for trial in left}) if sizes else []
    further = to_extract * EXTRACTION_SECONDS + MEASUREMENT_SECONDS * sum(trial.measures_cost for trial in left)
    found = []
    for device in (CPU_CORE, *sorted({rate.device for rate in rates} - {CPU_CORE})):
        told = _reckoned(sizes, [rate for rate in rates if rate.device == device], device)
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


def _reckoned(sizes: Sequence[_Size], rates: Sequence[Rate], device: str) -> tuple[float, str] | None:
    """Seconds of one core, or of one worker, and what they are reckoned from; None for a GPU that never trained such a size."""
    seconds, used, assumed = 0.0, set[int](), 0
    for size in sizes:
        fits = [index for index, rate in enumerate(rates) if _fits(size, rate)]
        used.update(fits)
        if fits:
            each = size.operations / statistics.median(rates[index].per_second for index in fits)
        elif device == CPU_CORE:
            assumed += size.trainings
            each = size.operations / ASSUMED_FLOPS_PER_CORE + size.steps * ASSUMED_STEP_SECONDS
        else:
            return None
        seconds += each * size.trainings
    return seconds, _basis(len(used), assumed, sum(size.trainings for size in sizes))


def _fits(size: _Size, rate: Rate) -> bool:
    return is_like(size.method, size.operations / size.steps, rate)


def is_like(method: str, per_step: float, rate: Rate) -> bool:
    """Whether what a record tells holds for trainings of a method with so many operations a step."""
    return method == rate.method and 1 / _LIKE <= per_step / rate.per_step <= _LIKE


def _basis(measured: int, assumed: int, trainings: int) -> str:
    supposed = f"{ASSUMED_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s per core assumed"
    if not measured:
        return f"{supposed}; no record of such a size tells yet" if trainings else "no training is left"
    told = f"measured by {measured} recorded training{'s' * (measured > 1)} of this method and size"
    return f"{told}; for {assumed} of {trainings} trainings {supposed}" if assumed else told


def setting_of(trial: TrialJob) -> tuple[str, Any]:
    """What records have to share with a training to be looked at further."""
    return trial.settings.method, trial.settings.training().get("backbone")


def recorded_rates(
    store: Store, recorded: Collection[str], planned: Mapping[str, TrialJob], kinds: Collection[tuple[str, Any]]
) -> list[Rate]:
    """What the records of the store tell, of trainings of these kinds."""
    settings: dict[str, MethodSettings | None] = {}

    def read(key: str) -> Record | None:
        try:
            return Record.model_validate_json(store.get(record_name(key)))
        except (ObjectMissingError, DamagedObjectError, ValueError):
            return None

    def settings_of(record: Record) -> MethodSettings | None:
        if record.key in planned:
            return planned[record.key].settings
        spelled = json.dumps(record.setting, sort_keys=True)
        if spelled not in settings:
            settings[spelled] = _recorded_settings(record)
        return settings[spelled]

    rates = []
    for record in read_many(read, sorted(recorded)):
        if record is None or record.measures_cost or (record.method, record.setting.get("backbone")) not in kinds:
            continue
        run, made_with = record.run, settings_of(record)
        seconds = run.train_seconds + run.evaluate_seconds
        operations, steps = operations_and_steps(made_with, record.counts) if made_with is not None else (0.0, 1)
        if seconds > 0 and operations > 0:
            on_cpu = run.device.startswith("cpu")
            per_second = operations / seconds / (run.threads if on_cpu else 1)
            rates.append(Rate(record.method, operations / steps, CPU_CORE if on_cpu else run.device, per_second))
    return rates


def _recorded_settings(record: Record) -> MethodSettings | None:
    """The settings that a record was made with; None where this version has others."""
    try:
        kind = settings_class(record.method)
        known = {key: value for key, value in record.setting.items() if key in kind.model_fields}
        settings = kind.model_validate_json(json.dumps(known))
    except (JobError, ValidationError):
        return None
    return settings if settings.training() == record.setting else None

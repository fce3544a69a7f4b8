"""How long each training will take: by what recorded trainings took, else by assumption; corrected by those that end meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Hashable, Mapping, Sequence

from fod_bench.methods.settings import MethodSettings
from fod_bench.plan.timing import (
    ASSUMED_FLOPS_PER_CORE,
    ASSUMED_FLOPS_PER_GPU,
    ASSUMED_GPU_STEP_SECONDS,
    ASSUMED_STEP_SECONDS,
    CPU_CORE,
    MEASUREMENT_SECONDS,
    Rate,
    is_like,
    operations_and_steps,
    recorded_rates,
    setting_of,
)
from fod_bench.plan.training import TrialJob
from fod_bench.store import Store

_MOST_READ = 300
"""Records that are read for an estimate at most: those of the plan first."""
_WEIGHT_SECONDS = 60.0
"""Of estimated time that stands for the estimate itself, when it is corrected: one short training does not overturn it."""


class Durations:
    """Seconds of trainings. What it keeps grows with the methods and sizes of a plan, not with its trainings."""

    def __init__(self, rates: Sequence[Rate] = ()) -> None:
        self._rates = rates
        self._sizes: dict[Hashable, tuple[MethodSettings, float, int]] = {}
        """Operations and steps by settings, told apart as objects, which are kept here, and counts: rows share their settings."""
        self._known: dict[Hashable, float] = {}
        self._measured: dict[tuple[str, bool], tuple[float, float]] = {}
        """By method and kind of device: seconds that trainings took, and that they were estimated to take."""

    def on(self, gpu: str) -> Durations:
        """The same for GPUs of a kind, such as `L4`: by trainings on such ones, where there are any."""
        alike = [rate for rate in self._rates if gpu and gpu.casefold() in rate.device.casefold()]
        return Durations([rate for rate in self._rates if rate.device == CPU_CORE or not alike or rate in alike])

    def is_told(self, trial: TrialJob, *, gpu: bool) -> bool:
        """Whether records tell how long it takes, and nothing is assumed."""
        if trial.counts is None or trial.measures_cost:
            return False
        operations, steps = operations_and_steps(trial.settings, trial.counts)
        return bool(self._alike(trial.settings.method, operations / steps, gpu))

    def estimate(self, trial: TrialJob, *, gpu: bool, threads: float) -> float:
        """Seconds of a whole training, evaluations included, on a GPU or on so many CPU cores, before any correction."""
        if trial.measures_cost:
            return MEASUREMENT_SECONDS
        if trial.counts is None:
            return 0.0
        settings, row = trial.settings, (id(trial.settings), trial.counts)
        if row not in self._sizes:
            self._sizes[row] = settings, *operations_and_steps(settings, trial.counts)
        size = (settings.method, *self._sizes[row][1:], gpu, threads)
        if size not in self._known:
            self._known[size] = self._reckoned(*size)
        return self._known[size]

    def seconds(self, trial: TrialJob, *, gpu: bool, threads: float) -> float:
        """`estimate`, corrected by the trainings of this method that have ended."""
        return self.estimate(trial, gpu=gpu, threads=threads) * self._factor(trial.settings.method, gpu)

    def factors(self) -> dict[tuple[str, bool], float]:
        """By what estimates are corrected, by method and whether it is on a GPU."""
        return {kind: self._factor(*kind) for kind in self._measured}

    def _factor(self, method: str, gpu: bool) -> float:
        took, expected = self._measured.get((method, gpu), (0.0, 0.0))
        return (took + _WEIGHT_SECONDS) / (expected + _WEIGHT_SECONDS)

    def took(self, trial: TrialJob, seconds: float, *, gpu: bool, threads: float) -> None:
        """A training has ended that was done in one go."""
        expected = self.estimate(trial, gpu=gpu, threads=threads)
        if expected > 0 and not trial.measures_cost:
            before = self._measured.get((trial.settings.method, gpu), (0.0, 0.0))
            self._measured[trial.settings.method, gpu] = before[0] + seconds, before[1] + expected

    def _reckoned(self, method: str, operations: float, steps: int, gpu: bool, threads: float) -> float:
        told = self._alike(method, operations / steps, gpu)
        if told:
            return operations / statistics.median(told) / (1 if gpu else threads)
        if gpu:
            return operations / ASSUMED_FLOPS_PER_GPU + steps * ASSUMED_GPU_STEP_SECONDS
        return (operations / ASSUMED_FLOPS_PER_CORE + steps * ASSUMED_STEP_SECONDS) / threads

    def _alike(self, method: str, per_step: float, gpu: bool) -> list[float]:
        """Operations per second of recorded trainings of such a size."""
        return [
            rate.per_second
            for rate in self._rates
            if (rate.device != CPU_CORE) is gpu and is_like(method, per_step, rate)
        ]


def recorded_durations(
    trials: Sequence[TrialJob], store: Store, recorded: Collection[str], planned: Mapping[str, TrialJob]
) -> Durations:
    """What the records of the store tell of trainings like these; of a large store a part is read.

    Args:
        recorded: train keys of all records.
        planned: trainings of the plan by their keys.

    Raises `StoreError`.
    """
    first = sorted(recorded, key=lambda key: (key not in planned, key))
    kinds = {setting_of(trial) for trial in trials}
    return Durations(recorded_rates(store, first[:_MOST_READ], planned, kinds) if kinds else [])

"""How long each training will take: by what recorded trainings took, else by assumption; corrected by those that end meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fod_bench.methods.settings import MethodSettings
from fod_bench.plan.timing import (
    ASSUMED_FLOPS_PER_CORE,
    ASSUMED_FLOPS_PER_GPU,
    ASSUMED_GPU_STEP_SECONDS,
    ASSUMED_STEP_SECONDS,
    CPU_CORE,
    MEASUREMENT_SECONDS,
    Rates,
    operations_and_steps,
    rates_of,
)
from fod_bench.plan.training import TrialJob
from fod_bench.records.index.trials import Trials

_MOST_READ = 300
"""Records that are read for an estimate at most, where no index tells of them: those of the plan first."""
_WEIGHT_SECONDS = 60.0
"""Of estimated time that stands for the estimate itself, when it is corrected: one short training does not overturn it."""


class Durations:
    """Seconds of trainings. What it keeps grows with the methods and sizes of a plan, not with its trainings."""

    def __init__(self, rates: Mapping[str, Mapping[str, Rates]] | None = None) -> None:
        """`rates`: see `rates_of`."""
        self._rates = rates or {}
        self._sizes: dict[Hashable, tuple[MethodSettings, float, int]] = {}
        """Operations and steps by settings, told apart as objects, which are kept here, and counts: rows share their settings."""
        self._known: dict[Hashable, float] = {}
        self._measured: dict[tuple[str, bool], tuple[float, float]] = {}
        """By method and kind of device: seconds that trainings took, and that they were estimated to take."""

    def on(self, gpu: str) -> Durations:
        """The same for GPUs of a kind, such as `L4`: by trainings on such ones, where there are any."""
        alike = {device for device in self._rates if gpu and gpu.casefold() in device.casefold()}
        return Durations(
            {
                device: rates
                for device, rates in self._rates.items()
                if device == CPU_CORE or not alike or device in alike
            }
        )

    def is_measured(self, trial: TrialJob, *, gpu: bool) -> bool:
        """Whether records tell how long it takes, and nothing is assumed."""
        if trial.counts is None or trial.measures_cost:
            return False
        operations, steps = operations_and_steps(trial.settings, trial.counts)
        return len(self._alike(trial.settings.method, operations / steps, gpu)) > 0

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
        if len(told):
            return operations / float(np.median(told)) / (1 if gpu else threads)
        if gpu:
            return operations / ASSUMED_FLOPS_PER_GPU + steps * ASSUMED_GPU_STEP_SECONDS
        return (operations / ASSUMED_FLOPS_PER_CORE + steps * ASSUMED_STEP_SECONDS) / threads

    def _alike(self, method: str, per_step: float, gpu: bool) -> NDArray[np.float64]:
        """Operations per second of recorded trainings of such a size."""
        found = [np.zeros(0)]
        for device, of_method in self._rates.items():
            if (device != CPU_CORE) is gpu and method in of_method:
                known = of_method[method]
                (start,), (stop,) = known.like(np.array([per_step]))
                found.append(known.per_second[start:stop])
        return np.concatenate(found)


def recorded_durations(trials: Sequence[TrialJob], recorded: Trials, planned: Collection[str]) -> Durations:
    """What the records of a store tell of trainings like these; of a large store without an index a part is read.

    `planned`: keys of the plan's trainings. Raises `StoreError`.
    """
    return Durations(rates_of(recorded.timings(_MOST_READ, planned), trials) if trials else None)

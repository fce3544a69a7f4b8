"""What a run tells Prometheus, through Ray's metrics: the driver how far it is, each worker what it does.

Ray's agent on each node collects them and serves them with its own, each name with `ray_` before it. The agent comes with
`fod-bench[cluster]`; without it nothing is served, and recording costs next to nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from ray.util.metrics import Counter, Gauge

from fod_bench.records.state import DriverState
from fod_bench.runs.resources import Share
from fod_bench.schema.hidden import hidden
from fod_bench.store.traffic import Traffic, traffic

PREFIX = "ray_"
"""What Ray puts before a name."""

TrialState = Literal["done", "elsewhere", "reused", "failed", "running", "waiting"]


@dataclass(frozen=True)
class MetricEntry:
    """One metric."""

    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    """Beside those that Ray gives every metric, such as the node's address and the worker's id."""
    description: str


_DRIVER, _WORKER = ("run", "job", "driver"), ("run",)

METRICS: dict[str, MetricEntry] = {
    "fod_bench_trials": MetricEntry(
        "gauge", (*_DRIVER, "state"), f"Trainings of the run by state: {', '.join(get_args(TrialState))}."
    ),
    "fod_bench_queue_length": MetricEntry(
        "gauge", _DRIVER, "Trainings that wait for a worker, for their data, or for another try."
    ),
    "fod_bench_sets_in_hand": MetricEntry("gauge", _DRIVER, "Sets of features or images that are being made."),
    "fod_bench_steps_per_second": MetricEntry(
        "gauge",
        _DRIVER,
        "Optimiser steps since the run began, all of its workers together; NaN while it cannot be told.",
    ),
    "fod_bench_seconds_left": MetricEntry("gauge", _DRIVER, "Estimated time left; NaN while it cannot be told."),
    "fod_bench_epochs_total": MetricEntry("counter", _WORKER, "Epochs that were trained."),
    "fod_bench_device_seconds_total": MetricEntry(
        "counter",
        (*_WORKER, "device"),
        "Seconds of work times the worker's share: of GPUs (device=gpu) or, without one, of CPUs (device=cpu).",
    ),
    "fod_bench_store_bytes_total": MetricEntry(
        "counter", (*_WORKER, "direction"), "Bytes that came from the store (read) or went there (written)."
    ),
    "fod_bench_store_retries_total": MetricEntry(
        "counter", _WORKER, "Requests to the store that had to be made again; absent while there was none."
    ),
}
"""Every metric there is, by its name without Ray's prefix."""


class _Recorder:
    """Records values under the same labels; for use by many threads."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = {name: hidden(value) for name, value in labels.items()}
        self._made: dict[str, Gauge | Counter] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        self._lock = threading.Lock()

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge's value."""
        metric = self._metric(name)
        assert isinstance(metric, Gauge)
        metric.set(value, tags=labels)

    def reach(self, name: str, value: float, **labels: str) -> None:
        """What a counter has come to since this process began; Ray is told of the rest."""
        metric, which = self._metric(name), (name, tuple(labels.values()))
        assert isinstance(metric, Counter)
        with self._lock:
            more = value - self._told.get(which, 0.0)
            if more > 0:
                self._told[which] = value
                metric.inc(more, tags=labels)

    def traffic(self, moved: Traffic) -> None:
        """What this process has moved to and from the store."""
        self.reach("fod_bench_store_bytes_total", moved.read, direction="read")
        self.reach("fod_bench_store_bytes_total", moved.written, direction="written")
        self.reach("fod_bench_store_retries_total", moved.retries)

    def _metric(self, name: str) -> Gauge | Counter:
        with self._lock:
            if name not in self._made:
                entry = METRICS[name]
                kind = Gauge if entry.kind == "gauge" else Counter
                made = kind(name, entry.description, entry.labels)
                made.set_default_tags({key: value for key, value in self._labels.items() if key in entry.labels})
                self._made[name] = made
            return self._made[name]


class DriverMetrics:
    """Tells how far a run is."""

    def __init__(self) -> None:
        self._recorder: _Recorder | None = None

    def publish(self, state: DriverState) -> None:
        """What the driver says of itself, of which every value is another metric's."""
        if self._recorder is None:
            self._recorder = _Recorder({"run": state.run_id, "job": state.job, "driver": state.driver})
        recorder, trials = self._recorder, by_state(state)
        for name, count in trials.items():
            recorder.set("fod_bench_trials", count, state=name)
        recorder.set("fod_bench_queue_length", trials["waiting"])
        recorder.set("fod_bench_sets_in_hand", len(state.tasks) - trials["running"])
        for field in ("steps_per_second", "seconds_left"):
            value = getattr(state, field)
            recorder.set(f"fod_bench_{field}", math.nan if value is None else value)
        recorder.traffic(traffic.so_far())


def by_state(state: DriverState) -> dict[TrialState, int]:
    """The run's trainings, each in one state."""
    running = sum(task.kind == "trial" for task in state.tasks)
    settled = state.done + state.elsewhere + state.reused + len(state.failed)
    return {
        "done": state.done,
        "elsewhere": state.elsewhere,
        "reused": state.reused,
        "failed": len(state.failed),
        "running": running,
        "waiting": max(0, state.total - settled - running),
    }


class WorkerMetrics:
    """Tells what one worker does."""

    def __init__(self, run_id: str, share: Share) -> None:
        self._recorder = _Recorder({"run": run_id})
        self._device, self._amount = ("gpu", share.gpus) if share.gpus else ("cpu", share.cpus)
        self._worked = 0.0
        self._since: float | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For as long as there is work in hand."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            since, self._since = self._since, None
            self._worked += time.monotonic() - since

    def publish(self, epochs: int) -> None:
        """`epochs`: trained by this worker so far."""
        since = self._since
        worked = self._worked + (time.monotonic() - since if since is not None else 0.0)
        self._recorder.reach("fod_bench_epochs_total", epochs)
        self._recorder.reach("fod_bench_device_seconds_total", worked * self._amount, device=self._device)
        self._recorder.traffic(traffic.so_far())

"""The metrics that a run tells are those that the dashboard shows and the page lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from fod_bench.cluster import metrics
from fod_bench.cluster.metrics import METRICS, PREFIX, DriverMetrics, TrialState, WorkerMetrics, by_state
from fod_bench.machine.process import ProcessId
from fod_bench.records.state import DriverState, Task
from fod_bench.runs.resources import Share
from fod_bench.store import open_store
from fod_bench.store.traffic import traffic
from tests.helpers.store_builders import task

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "clusters/grafana-dashboard.json").read_text())
_SELECTED = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Every query, those of the variables included."""
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]


def faults(dashboard: dict[str, Any]) -> list[str]:
    """In what the dashboard and the metrics differ."""
    found, shown = [], set[str]()
    for query in queries(dashboard):
        for name, selectors in _SELECTED.findall(query):
            shown.add(name)
            entry = METRICS.get(name.removeprefix(PREFIX))
            if entry is None:
                found.append(f"no metric {name}")
                continue
            asked = set(re.findall(r"(\w+)=~?\"", selectors))
            for labels in re.findall(r"\bby \(([^)]*)\)", query) if query.count("ray_") == 1 else ():
                asked |= set(labels.split(", "))
            found += [f"{name} has no label {label}" for label in sorted(asked - set(entry.labels))]
            states = re.findall(r"state=~?\"([^\"]*)\"", selectors)
            found += [
                f"no state {one}" for text in states for one in text.split("|") if one not in get_args(TrialState)
            ]
    return found + [f"{PREFIX}{name} is not shown" for name in METRICS if f"{PREFIX}{name}" not in shown]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    assert faults(DASHBOARD) == []
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"]), "any Prometheus will do"
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("ray_fod_bench_queue_length", "ray_fod_bench_queue", "no metric ray_fod_bench_queue"),
        ("ray_fod_bench_epochs_total", "ray_fod_bench_trials", "ray_fod_bench_epochs_total is not shown"),
        ("sum by (direction)", "sum by (way)", "ray_fod_bench_store_bytes_total has no label way"),
        ('state=\\"failed\\"', 'state=\\"broken\\"', "no state broken"),
    ],
)
def test_a_dashboard_that_differs_is_found_out(old: str, new: str, fault: str) -> None:
    text = json.dumps(DASHBOARD)
    assert old in text
    assert fault in faults(json.loads(text.replace(old, new)))


def test_the_page_lists_every_metric_as_it_is() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    told = re.findall(r"^\| `ray_(\w+)` \| (\w+) \| ([\w, ]+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert told == [(name, one.kind, ", ".join(one.labels), one.description) for name, one in METRICS.items()]


def test_prometheus_is_to_read_the_list_that_ray_keeps() -> None:
    config = yaml.safe_load((ROOT / "clusters/prometheus.yaml").read_text())
    (listed,) = (one["file_sd_configs"] for one in config["scrape_configs"] if "file_sd_configs" in one)
    assert listed[0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]
    (run,) = (one["static_configs"][0]["targets"] for one in config["scrape_configs"] if "static_configs" in one)
    page = (ROOT / "docs/monitoring.md").read_text()
    assert run == [f"127.0.0.1:{port}" for port in re.findall(r"fod-bench run .*--metrics-port (\d+)", page)]


class Recorded:
    """In place of Ray's metrics: what was recorded, by name and labels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for kind, record in (("Gauge", "set"), ("Counter", "inc")):
            monkeypatch.setattr(getattr(metrics, kind), record, self._noting(kind == "Counter"))

    def _noting(self, adds: bool) -> Any:
        def note(metric: Any, value: float, tags: dict[str, str]) -> None:
            labels = {**metric.info["default_tags"], **tags}
            assert set(labels) == set(METRICS[metric.info["name"]].labels)
            key = metric.info["name"], frozenset(labels.items())
            self.values[key] = value + (self.values.get(key, 0) if adds else 0)

        return note

    def of(self, name: str, **labels: str) -> float:
        """The one value of the metric with these labels among its own."""
        (value,) = (
            v for (known, own), v in self.values.items() if known == name and labels.items() <= dict(own).items()
        )
        return value


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


def state(tasks: list[Task], **changes: Any) -> DriverState:
    given = {"total": 10, "done": 2, "reused": 1, "elsewhere": 1, "failed": {"x": "y"}, "tasks": tasks} | changes
    times = {"started": "2024-05-01T10:00:00+00:00", "updated": "2024-05-01T10:00:00+00:00"}
    return DriverState(run_id="r", job="j", driver="d", process=ProcessId.own(), **times, **given)


def test_each_training_is_in_one_state_and_what_waits_is_the_queue(recorded: Recorded) -> None:
    now = state([task("a"), task("b"), task("f", "features")], seconds_left=60.0)
    assert sum(by_state(now).values()) == now.total
    told = DriverMetrics()
    told.publish(now)
    of_run = {"run": "r", "job": "j", "driver": "d"}
    assert {name: recorded.of("fod_bench_trials", state=name, **of_run) for name in get_args(TrialState)} == {
        "done": 2,
        "elsewhere": 1,
        "reused": 1,
        "failed": 1,
        "running": 2,
        "waiting": 3,
    }
    assert recorded.of("fod_bench_queue_length") == 3 and recorded.of("fod_bench_sets_in_hand") == 1
    assert recorded.of("fod_bench_seconds_left") == 60.0
    told.publish(state([]))
    assert recorded.of("fod_bench_seconds_left") != recorded.of("fod_bench_seconds_left"), "no old estimate stays"


def test_a_worker_tells_its_share_of_the_time(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("fod_bench.cluster.metrics.time.monotonic", lambda: clock[0])
    gpu, cpu = WorkerMetrics("r", Share(2, 0.25)), WorkerMetrics("r", Share(2, 0))
    with gpu.at_work(), cpu.at_work():
        clock[0] += 8
        gpu.publish(3)
    clock[0] += 50
    gpu.publish(5)
    cpu.publish(0)
    assert recorded.of("fod_bench_device_seconds_total", device="gpu") == 2.0
    assert recorded.of("fod_bench_device_seconds_total", device="cpu") == 16.0
    assert recorded.of("fod_bench_epochs_total") == 5


def test_what_a_process_moves_to_and_from_the_store_is_told_once(recorded: Recorded, tmp_path: Path) -> None:
    store, telling = open_store(str(tmp_path / "store")), WorkerMetrics("r", Share(1, 0))
    before = traffic.so_far()
    store.put("a", b"x" * 1000)
    assert store.get("a") == b"x" * 1000
    for _ in range(2):
        with store.open("a") as file:
            assert file.read() == b"x" * 1000
        telling.publish(0)
    after = traffic.so_far()
    assert after.read - before.read == 2000, "a file that was checked is not read again"
    assert 1000 <= after.written - before.written <= 1200, "with its checksum"
    assert recorded.of("fod_bench_store_bytes_total", direction="read") == after.read
    assert recorded.of("fod_bench_store_bytes_total", direction="written") == after.written

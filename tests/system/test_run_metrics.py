"""A real run with a bucket behind a bad network: its metrics as Prometheus fetches them, its messages as a program reads them."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
import uuid
from collections.abc import Callable

import pytest

from fod_bench.cluster.metrics import METRICS, PREFIX
from tests.helpers.commands import LONG, Bench, wait_for
from tests.helpers.faulty_proxy import Fault, FaultyProxy
from tests.helpers.listeners import listeners
from tests.helpers.s3_servers import Server, free_ports

pytest.importorskip("prometheus_client", reason="Ray serves metrics with fod-bench[cluster] only")
SECRET = "KeepMeOutOfEveryMessage"
_SAMPLE = re.compile(r"^(ray_fod_bench_\w+)\{(.*)\} (\S+)$", flags=re.MULTILINE)

Samples = dict[str, list[tuple[dict[str, str], float]]]


def test_prometheus_finds_every_metric_and_each_message_is_a_line_of_json(
    bench: Bench, s3: Callable[[str], Server]
) -> None:
    server, (port,) = s3("moto"), free_ports(1)
    with FaultyProxy(server.endpoint) as proxy:
        store = server.address(f"{uuid.uuid4().hex}/store", proxy.endpoint)
        job = bench.job("watched", store=store, settings=LONG | {"epochs": 4000}, seeds=[1, 2], checkpoint_seconds=0.2)
        environment = server.environment() | {"AWS_SESSION_TOKEN": SECRET, "RAY_metrics_report_interval_ms": "3000"}
        options = ["--workers", "1", "--metrics-port", str(port), "--log-format", "json"]
        running = bench.start("run", job, *options, **environment)

        found: Samples = {}

        def scraped() -> bool:
            found.update(_scraped(port))
            if "ray_fod_bench_epochs_total" in found and not proxy.counts["error"]:
                proxy.inject(Fault("error", status=503, times=20))  # more than boto3 itself repeats
            return found.keys() == {f"{PREFIX}{name}" for name in METRICS}

        running.reaches(scraped, "every metric to be there")
        _check(found)
        open_ports = listeners(running.family())
        assert port in {number for sockets in open_ports.values() for _, number in sockets}
        assert all(address.is_loopback for sockets in open_ports.values() for address, _ in sockets)
        running.reaches(lambda: '"event": "running"' in running.said(), "the first line of progress")
        running.signal(signal.SIGINT)
        done = running.finished()

    assert done.code == 130, done.err
    messages = [json.loads(line) for line in done.err.splitlines()]
    events = [message["event"] for message in messages]
    for event in ("run", "metrics", "features", "running", "stopping", "end", "interrupted"):
        assert event in events, done.err
    assert SECRET not in done.err and server.secret_key not in done.err
    assert messages[-1]["command"].startswith("fod-bench run watched.yaml --workers 1")
    (end,) = (message for message in messages if message["event"] == "end")
    assert end["trials"] == {"total": 2, "done": 0, "elsewhere": 0, "reused": 0, "left": 2, "failed": 0}
    wait_for(lambda: not _scraped(port), "the metrics to go with the run")


def _scraped(port: int) -> Samples:
    """What is served there now; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found: Samples = {}
    for name, labels, value in _SAMPLE.findall(text):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
    return found


def _check(found: Samples) -> None:
    for name, entry in METRICS.items():
        for labels, _ in found[f"{PREFIX}{name}"]:
            assert set(entry.labels) <= labels.keys() and labels["run"].startswith("watched-"), (name, labels)
    states = {labels["state"]: value for labels, value in found["ray_fod_bench_trials"]}
    assert states == {"done": 0, "elsewhere": 0, "reused": 0, "failed": 0, "running": 1, "waiting": 1}
    assert [value for _, value in found["ray_fod_bench_queue_length"]] == [1]
    assert {labels["device"] for labels, _ in found["ray_fod_bench_device_seconds_total"]} == {"cpu"}
    assert {labels["direction"] for labels, _ in found["ray_fod_bench_store_bytes_total"]} == {"read", "written"}
    assert sum(value for _, value in found["ray_fod_bench_store_retries_total"]) >= 1
    assert sum(value for _, value in found["ray_fod_bench_epochs_total"]) >= 1

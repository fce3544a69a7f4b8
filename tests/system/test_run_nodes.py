"""Runs on a real Ray cluster whose nodes share nothing but a bucket, while nodes and workers come, go and die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from fod_bench.store import Store, open_store
from tests.helpers.commands import LONG, Bench, Finished, Running, wait_for
from tests.helpers.ray_nodes import SETTINGS, Node, Nodes
from tests.helpers.s3_servers import Server
from tests.helpers.store_watch import Holder, digests_in, holders, left_behind, records_in, whole

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "KeepMeOutOfEveryFile/0123456789",
    "AWS_SESSION_TOKEN": "AndMeOutOfThemToo/9876543210",
}


@dataclass(frozen=True)
class Cluster:
    """Nodes, and the server that their stores are on."""

    bench: Bench
    server: Server
    nodes: Nodes

    def run(self, job: str, *options: str) -> Running:
        """Start a run on the nodes, with a cache of its own."""
        environment = self.server.environment() | SECRETS | SETTINGS
        cache = str(self.bench.folder / "caches" / "driver")
        return self.bench.start(
            "run", job, "--address", self.nodes.address, *options, FOD_BENCH_CACHE=cache, **environment
        )


@pytest.fixture(scope="module")
def cluster(bench: Bench, moto_servers: dict[str, Server]) -> Cluster:
    server = moto_servers["moto"]
    return Cluster(bench, server, Nodes(bench, server.environment() | SECRETS))


def _at_work(store: Store, running: Running, among: Callable[[], list[int]], checkpoints: int = 0) -> Holder:
    """Wait until one of these processes works on a training that has so many checkpoints of its own."""

    def found() -> Holder | None:
        mine = among()
        return next((one for one in holders(store) if one.process in mine and one.checkpoints >= checkpoints), None)

    holder = running.reaches(found, "a worker at work")
    assert holder is not None
    return holder


def test_a_node_is_killed_one_joins_one_leaves_and_the_records_are_those_of_a_quiet_run(
    cluster: Cluster, s3: Callable[[str], Server]
) -> None:
    bench, nodes = cluster.bench, cluster.nodes
    uri = s3("moto").address("nodes")
    store = open_store(uri)
    options = {"settings": LONG, "seeds": [1, 2, 3, 4, 5], "checkpoint_seconds": 0.5}
    quiet = bench.start("run", bench.job("quiet", store="quiet", **options))
    doomed, leaving, staying = nodes.add(3)
    running = cluster.run(bench.job("shaken", store=uri, **options))

    killed = _at_work(store, running, doomed.workers, checkpoints=1)
    doomed.kill()
    (late,) = nodes.add()
    left = _at_work(store, running, leaving.workers, checkpoints=1)
    leaving.leave()
    _at_work(store, running, late.workers)
    done = running.finished()

    assert done.code == 0, done.err
    assert done.err.endswith("5 trainings: 5 done\n")
    assert done.err.count("asks for no token: whoever reaches it can run code there") == 1
    assert "its worker is out of reach" in done.err or "its machine was lost" in done.err
    assert "its worker was lost" not in done.err, "that would count against the training"
    assert "its worker was told to end, and left a checkpoint" in done.err
    assert quiet.finished().code == 0, quiet.finished().err
    assert digests_in(store) == bench.digests("quiet")
    assert done.out == quiet.finished().out.replace("quiet:", "shaken:")
    records = records_in(store)
    assert records[killed.key].run.resumed_after and records[left.key].run.resumed_after
    assert not left_behind(store)
    _every_node_has_filled_its_own_cache(cluster, [doomed, leaving, staying, late])
    _no_secret_is_anywhere(cluster, store, done)
    for node in (staying, late):
        node.kill()


def test_a_worker_that_is_stopped_is_given_up_and_what_it_does_later_is_not_taken(
    cluster: Cluster, s3: Callable[[str], Server]
) -> None:
    uri = s3("moto").address("stopped")
    store = open_store(uri)
    first, second = cluster.nodes.add(2)
    options = {"settings": LONG, "seeds": [1, 2], "checkpoint_seconds": 0.2, "lease_seconds": 5}
    running = cluster.run(cluster.bench.job("stopped", store=uri, **options))
    stopped = _at_work(store, running, first.workers, checkpoints=1)
    os.kill(stopped.process, signal.SIGSTOP)
    record = running.reaches(lambda: records_in(store).get(stopped.key), "its training is done elsewhere")
    assert record is not None
    with suppress(ProcessLookupError):  # Ray may have ended it by then
        os.kill(stopped.process, signal.SIGCONT)
    done = running.finished()
    assert done.code == 0, done.err
    assert "its worker no longer answers" in done.err and done.err.endswith("2 trainings: 2 done\n")
    assert record.run.claim != stopped.claim and record.run.resumed_after
    wait_for(lambda: not left_behind(store), "the late worker to withdraw")
    assert records_in(store)[stopped.key] == record
    for node in (first, second):
        node.kill()


def test_a_training_that_loses_its_worker_again_and_again_is_set_apart(
    cluster: Cluster, s3: Callable[[str], Server]
) -> None:
    uri = s3("moto").address("apart")
    store = open_store(uri)
    (node,) = cluster.nodes.add()
    options = {"settings": LONG, "seeds": [1, 2], "checkpoint_seconds": 1000}
    job = cluster.bench.job("apart", store=uri, **options)
    running = cluster.run(job)
    victim = _at_work(store, running, node.workers).key
    while running.process.poll() is None:
        for holder in holders(store):
            if holder.key == victim and holder.process in node.workers():
                os.kill(holder.process, signal.SIGKILL)
    done = running.finished()
    assert done.code == 3, done.err
    assert "its worker was lost 2 times without getting further; set apart" in done.err
    assert done.err.endswith("2 trainings: 1 done, 1 failed\n")
    assert records_in(store).keys().isdisjoint({victim})

    again = cluster.run(job, "--retry-failed").finished()
    assert again.code == 0, again.err
    assert again.err.endswith("2 trainings: 1 done, 1 reused\n")
    assert victim in records_in(store) and not left_behind(store)
    node.kill()


def _every_node_has_filled_its_own_cache(cluster: Cluster, nodes: list[Node]) -> None:
    for node in nodes:
        assert any(path.is_file() for path in node.cache.iterdir()), f"{node.name} has kept what it read"
    assert not cluster.nodes.head.cache.exists(), "no worker is on the head"
    shared = cluster.bench.folder / cluster.bench.environment["XDG_CACHE_HOME"] / "fod-bench" / "objects"
    assert not shared.exists(), "nobody used the cache that all would share"


def _no_secret_is_anywhere(cluster: Cluster, store: Store, done: Finished) -> None:
    bench = cluster.bench
    report = bench.run("report", "--store", store.uri, **cluster.server.environment() | SECRETS)
    assert "weave" in report.out
    texts = {"output": done.out + done.err, "report": report.out + report.err}
    searched = {name: text.encode() for name, text in texts.items()} | whole(store)
    places = (bench.folder, cluster.nodes.folder)
    files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("raylet" in path.name for path in files), "Ray's logs are among them"
    searched |= {str(path): path.read_bytes() for path in files}
    lines = {f"process {number}": line.encode() for number, line in cluster.nodes.head.processes().items()}
    for where, content in (searched | lines).items():
        for secret in SECRETS.values():
            assert secret.encode() not in content, where

"""Several `fod-bench run` at once on one store, each with a Ray of its own, and a store that is out of reach for a while."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import kill
from typing import Any

import pytest

from fod_bench.store import Store, open_store
from tests.helpers.commands import LONG, Bench, Finished, Running
from tests.helpers.faulty_proxy import Fault, FaultyProxy
from tests.helpers.s3_servers import Server
from tests.helpers.store_watch import Holder, digests_in, holders, left_behind, records_in


@pytest.fixture(scope="module")
def expected(bench: Bench) -> dict[str, str]:
    """Train key to digest of the result, for all seeds used here, from a run that nothing disturbed."""
    bench.run("run", bench.job("quiet", store="quiet", settings=LONG, seeds=[1, 2, 3, 4]))
    return bench.digests("quiet")


class Shared:
    """A store that several runs use, each as from a machine of its own."""

    def __init__(self, bench: Bench, uri: str, environment: dict[str, str]) -> None:
        self.bench, self.uri, self._environment = bench, uri, environment
        self.store: Store = open_store(uri)

    def run(self, name: str, seeds: list[int], **keys: Any) -> Running:
        """Start a run of a job."""
        job = self.bench.job(name, store=self.uri, settings=LONG, seeds=seeds, **keys)
        return self.bench.start(
            "run", job, **self._environment, FOD_BENCH_CACHE=str(self.bench.folder / "cache" / name)
        )

    def complete(self, name: str, done: Finished, seeds: int) -> None:
        """Check that a run ended with all of its table."""
        assert done.code == 0, done.err
        assert f"{seeds} seeds" in done.out and "n/a" not in done.out
        report = self.bench.run("report", f"{name}.yaml", **self._environment)
        assert report.out == done.out


@pytest.fixture
def shared(request: pytest.FixtureRequest, bench: Bench, s3: Callable[[str], Server]) -> Shared:
    """On the kind of store that the test asks for, by default a bucket; empty for every test."""
    name = re.sub(r"\W+", "-", request.node.name)
    if getattr(request, "param", "moto") == "folder":
        return Shared(bench, str(bench.folder / name), {})
    server = s3("moto")
    return Shared(bench, server.address(name), server.environment())


@pytest.mark.parametrize("shared", ["folder", "moto"], indirect=True)
def test_two_runs_of_overlapping_jobs_share_the_work(shared: Shared, expected: dict[str, str]) -> None:
    jobs = {"one": [1, 2, 3], "two": [2, 3, 4]}
    running = {name: shared.run(name, seeds, lease_seconds=30) for name, seeds in jobs.items()}
    done = {name: one.finished() for name, one in running.items()}
    for name, one in done.items():
        shared.complete(name, one, 3)
    said = "".join(one.err for one in done.values())
    assert digests_in(shared.store) == expected
    assert sum(_done(one) for one in done.values()) == len(expected), said
    assert said.count("features  weave: extracted") == 1, said
    assert not left_behind(shared.store)


def test_a_run_takes_over_from_one_that_was_killed(shared: Shared, expected: dict[str, str]) -> None:
    first = shared.run("killed", [1, 2], checkpoint_seconds=0.2, lease_seconds=600)
    begun = _at_work(shared.store, first)
    with _stopped(first):  # so that it still holds its claims when the other comes
        second = shared.run("heir", [1, 2, 3, 4], checkpoint_seconds=0.2, lease_seconds=30)
        _at_work(shared.store, second)
        assert {holder.claim for holder in begun} <= {holder.claim for holder in holders(shared.store)}
        for process in first.processes():
            _send(process, signal.SIGKILL)
    shared.complete("heir", second.finished(), 4)
    assert digests_in(shared.store) == expected
    records = records_in(shared.store)
    assert all(records[holder.key].run.resumed_after for holder in begun if holder.checkpoints)
    assert not left_behind(shared.store)


def test_a_run_stopped_past_its_lease_finds_its_work_done_by_another(shared: Shared, expected: dict[str, str]) -> None:
    first = shared.run("late", [1], checkpoint_seconds=0.2, lease_seconds=3)
    (begun,) = _at_work(shared.store, first)
    with _stopped(first):
        second = shared.run("prompt", [1], lease_seconds=12)
        done = second.finished()
        assert done.code == 0, done.err
        assert _done(done) == 1
        (record,) = records_in(shared.store).values()
    late = first.finished()
    assert late.code == 0, late.err
    assert late.err.endswith("1 training: 0 done, 1 done by another run\n")
    assert late.out.replace("late:", "prompt:") == done.out
    assert records_in(shared.store) == {begun.key: record}
    assert record.run.claim != begun.claim and record.run.resumed_after
    assert record.result_digest() == expected[begun.key]
    assert not left_behind(shared.store)


def test_a_store_out_of_reach_for_a_while_only_costs_time(
    bench: Bench, s3: Callable[[str], Server], expected: dict[str, str]
) -> None:
    server = s3("moto")
    with FaultyProxy(server.endpoint) as proxy:
        shared = Shared(bench, server.address("outage", proxy.endpoint), server.environment())
        direct = open_store(server.address("outage"))
        running = shared.run("outage", [1, 2, 3, 4], checkpoint_seconds=0.2)
        _at_work(direct, running)
        proxy.go_down()
        time.sleep(5)  # how long it is out of reach
        proxy.lift()
        proxy.inject(Fault("error", status=503, times=30))
        proxy.inject(Fault("swallow", matching="^PUT", times=3))
        proxy.inject(Fault("truncate", after=10, matching="^GET .*safetensors", times=3))
        done = running.finished()
        assert proxy.counts["error"] == 30 and proxy.counts["swallow"] == 3
        shared.complete("outage", done, 4)
    assert done.err.endswith("4 trainings: 4 done\n")
    assert digests_in(direct) == expected
    assert not left_behind(direct)


def _at_work(store: Store, running: Running) -> list[Holder]:
    """Wait until the run's workers train something, with a checkpoint; what they train."""

    def found() -> list[Holder]:
        mine = running.processes()
        theirs = [one for one in holders(store) if one.process in mine]
        return theirs if any(one.checkpoints for one in theirs) else []

    return running.reaches(found, "a training with a checkpoint")


@contextmanager
def _stopped(running: Running) -> Iterator[None]:
    """The whole machine of a run stands still while the block lasts."""
    for process in running.processes():
        _send(process, signal.SIGSTOP)
    yield
    for process in running.processes():
        _send(process, signal.SIGCONT)


def _send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        kill(process, number)


def _done(finished: Finished) -> int:
    """Trainings that this run has done itself."""
    found = re.search(r"trainings?: (\d+) done.*\n\Z", finished.err)
    assert found is not None, finished.err
    return int(found[1])

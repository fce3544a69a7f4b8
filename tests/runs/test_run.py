"""One run from its plan to its end, on a simulated cluster and a store in a folder: what is left, what is told, what is kept."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fod_bench.cli.app import app
from fod_bench.errors import ClusterError, FodBenchError, UsageError
from fod_bench.features.request import SetRequest
from fod_bench.plan import Plan
from fod_bench.records.failures import Failure, kept_failure
from fod_bench.records.index.changes import note_change, noted
from fod_bench.records.index.generations import open_index
from fod_bench.records.names import plan_name, record_name
from fod_bench.records.run import RunPlan
from fod_bench.records.state import DriverState
from fod_bench.runs import index_keeper
from fod_bench.runs.messages import Prepared
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.run import RunOptions, repair, run_plan
from fod_bench.runs.simulate import Behaviour, SimulatedExecutor
from fod_bench.store import Store, open_store
from tests.helpers.commands import wait_for
from tests.helpers.simulation import Scripted

QUIET = RunOptions(quiet=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@dataclass
class Clusters:
    """Opens a simulated cluster for each run that needs one."""

    store: Store
    behaviour: Behaviour = field(default_factory=Scripted)
    cpus: float = 2.0
    memory: float = 0.0
    opened: list[SimulatedExecutor] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Store and object that workers were to know."""

    @contextmanager
    def open(self, store_uri: str, expected_object: str, note: Callable[[str], None]) -> Iterator[SimulatedExecutor]:
        assert self.store.exists(expected_object), "workers look for it"
        self.asked.append((store_uri, expected_object))
        self.opened.append(SimulatedExecutor(self.store, [NodeResources(self.cpus, 0.0, self.memory)], self.behaviour))
        note("simulating")
        yield self.opened[-1]


@pytest.fixture
def clusters(store: Store) -> Clusters:
    return Clusters(store)


def states(store: Store, plan: Plan) -> list[DriverState]:
    names = [info.name for info in store.list(f"runs/{plan.run.run_id}/state/")]
    return [DriverState.model_validate_json(store.get(name)) for name in names]


def test_a_run_does_what_has_no_record_and_tells_how_it_ended(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(seeds=[1, 2, 3])
    first, *others = plan.trials
    store.put(record_name(first), b"{}")
    counts, interrupted = run_plan(plan, store, RunOptions(), clusters.open)
    assert (counts.done, counts.reused, counts.left, interrupted) == (2, 1, 0, False)
    assert all(store.exists(record_name(key)) for key in others)
    assert RunPlan.model_validate_json(store.get(plan_name(plan.run.run_id))) == plan.run
    assert clusters.asked == [(store.uri, plan_name(plan.run.run_id))]
    (state,) = states(store, plan)
    assert (state.ended, state.done, state.reused) == ("done", 2, 1)
    said = capsys.readouterr().err
    assert f"run {plan.run.run_id}: 3 trainings: 0 done, 1 reused, 2 left\nsimulating\n" in said


def test_a_run_with_nothing_to_do_needs_no_cluster(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of()
    for _ in range(2):
        counts, _ = run_plan(plan, store, QUIET, clusters.open)
    assert counts.reused == 1 and len(clusters.opened) == 1


def test_a_run_keeps_the_index(store: Store, clusters: Clusters, plan_of: Callable[..., Plan]) -> None:
    for seeds in ([1], [1, 2, 3]):
        plan = plan_of(seeds=seeds)
        run_plan(plan, store, QUIET, clusters.open)
        for key in plan.trials:  # simulated workers leave no notes
            note_change(store, key)
    run_plan(plan_of(seeds=[4]), store, QUIET, clusters.open)
    index = open_index(store)
    assert index is not None and index.complete and not noted(store)
    assert index.places(plan.trials).keys() == plan.trials.keys()


def test_an_index_that_cannot_be_kept_is_told_and_fails_nothing(
    store: Store,
    clusters: Clusters,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(index_keeper, "MOST_READ", 0)
    counts, _ = run_plan(plan_of(), store, RunOptions(), clusters.open)
    assert counts.done == 1
    assert "not kept up to date: there is none; `fod-bench store index` makes it anew" in capsys.readouterr().err


def test_an_index_that_fails_in_an_unforeseen_way_is_told_once_and_fails_nothing(
    store: Store,
    clusters: Clusters,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_store: Store) -> None:
        tried.append(threading.current_thread().name)
        raise OverflowError("a column is too large")

    def prepare(_request: SetRequest) -> Prepared:
        wait_for(lambda: len(tried) > 2, "several tries")
        return Prepared(True, 0)

    tried: list[str] = []
    monkeypatch.setattr("fod_bench.records.index.append.append_changes", broken)
    monkeypatch.setattr(index_keeper, "KEEP_SECONDS", 0.001)
    clusters.behaviour = Scripted(prepares=prepare)
    counts, _ = run_plan(plan_of(), store, RunOptions(), clusters.open)
    assert counts.done == 1 and "index" in tried, "the thread goes on"
    said = capsys.readouterr().err
    assert said.count("is not kept up to date: OverflowError: a column is too large; `fod-bench store index`") == 1


def test_what_no_machine_has_the_memory_for_is_refused_with_its_size(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(variants={"FOD": {}, "large": {"batch_size": 100_000, "d_model": {8: 512, 16: 512}}})
    clusters.memory = 16 * 2**30
    counts, _ = run_plan(plan, store, RunOptions(), clusters.open)
    assert counts.done == 1 and list(counts.failed) == ["drawn/weave · large · seed 3407"]
    assert re.search(
        r"large · seed 3407: it needs about \d+\.\d GiB of memory, and the largest machine has 16\.0 GiB",
        capsys.readouterr().err,
    )
    clusters.memory *= 10**6
    counts, _ = run_plan(plan, store, QUIET, clusters.open)
    assert (counts.done, counts.reused, counts.failed) == (1, 1, {}), "it was no failure of its own"


def test_only_what_is_asked_for_is_done(store: Store, clusters: Clusters, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(["weave", "board"], variants={"FOD": {}, "Patch": {"views": "patch"}})
    counts, _ = run_plan(plan, store, RunOptions(only="FOD/drawn/w*", quiet=True), clusters.open)
    assert (counts.total, counts.done) == (1, 1)
    with pytest.raises(UsageError, match="matches none of the 4 row/dataset/category names, such as FOD/drawn/weave"):
        run_plan(plan, store, RunOptions(only="nothing"), clusters.open)


def test_what_failed_before_is_tried_again_only_when_asked(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of()
    (key,) = plan.trials
    diverged = Failure("diverged: so", "", "diverged")
    clusters.behaviour = Scripted(fails=lambda trial, share, together: diverged)
    for _ in range(2):
        counts, _ = run_plan(plan, store, QUIET, clusters.open)
        assert [reason.partition(" (log")[0] for reason in counts.failed.values()] == ["diverged: so"]
    assert len(clusters.opened) == 1
    clusters.behaviour = Scripted()
    counts, _ = run_plan(plan, store, RunOptions(retry_failed=True, quiet=True), clusters.open)
    assert counts.done == 1 and kept_failure(store, key) is None


def test_a_record_that_cannot_be_written_is_told_before_anything_is_trained(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(seeds=[1, 2, 3])
    folder, above, _ = (Path(store.location(record_name(key))) for key in plan.trials)
    folder.mkdir(parents=True)
    above.parent.symlink_to(above.parent.name)  # a link that leads to itself
    for _ in range(2):
        counts, _ = run_plan(plan, store, RunOptions(), clusters.open)
        assert len(counts.failed) == 2 and counts.done + counts.reused == 1
        said = capsys.readouterr().err
        assert f"its record cannot be written: a folder stands in its place; move {folder} away" in said
        assert f"its record cannot be written: {above.parent} is in the way, and no folder; move it away" in said
        assert "in an earlier run" not in said
    assert f"move {folder} away" in (folder.parent / "failure.log").read_text()
    assert all(
        task not in list(plan.trials)[:2] for one in clusters.opened for _, given in one.handed_out for task in given
    )
    folder.rmdir()
    above.parent.unlink()
    counts, _ = run_plan(plan, store, QUIET, clusters.open)
    assert (counts.done, counts.reused, counts.failed) == (2, 1, {})


def test_a_damaged_record_is_made_anew(store: Store, clusters: Clusters, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=[1, 2])
    counts, _ = run_plan(plan, store, QUIET, clusters.open)
    counts, _ = run_plan(plan, store, QUIET, clusters.open)
    damaged = {record_name(next(iter(plan.trials))): "does not match its checksum", "runs/other": "so"}
    assert repair(plan, store, QUIET, clusters.open, damaged, counts) == (True, False)
    assert (counts.total, counts.done, counts.reused) == (2, 1, 1)
    assert repair(plan, store, QUIET, clusters.open, {"runs/other": "so"}, counts) == (False, False)


@pytest.fixture
def command(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls a command within this process, which takes simulated clusters for Ray; it must end with exit code `code`."""
    monkeypatch.setattr("fod_bench.cluster.open.open_ray_pool", lambda *known, **_: clusters.open(*known))

    def called(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--store", clusters.store.uri], env={"COLUMNS": "200"})
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return called


def test_a_run_with_failures_ends_with_the_command_that_tries_them_again(
    clusters: Clusters, plan_of: Callable[..., Plan], command: Callable[..., Result]
) -> None:
    plan_of(["weave", "board"])
    reason = "diverged: a loss is not finite in epoch 1, step 2"
    clusters.behaviour = Scripted(fails=lambda *_: Failure(reason, "", "diverged"))
    for retries in ([], ["--retry-failed"]):
        said = command("run", "job.yaml", *retries, code=3).stderr
        again = f"fod-bench run job.yaml --store {clusters.store.uri} --retry-failed"
        assert f"next      {again}   tries again what failed, once the reason is put right\n" in said
        assert said.endswith("2 trainings: 0 done, 2 failed\n") and "--explain" not in said
    shown = command("report", "job.yaml").stdout
    assert f"failed: FOD on drawn: weave, board ({reason}). `{again}` makes them" in shown and "missing" not in shown
    clusters.behaviour = Scripted()
    assert "--retry-failed" not in command("run", *shlex.split(again)[2:3], "--retry-failed").stderr


def test_what_training_anew_does_not_mend_is_trained_anew_once(
    clusters: Clusters, plan_of: Callable[..., Plan], command: Callable[..., Result]
) -> None:
    """The records of simulated trainings are none that a report can read."""
    plan_of()
    done = command("run", "job.yaml")
    assert len(clusters.opened) == 2 and done.stderr.count("trained anew") == 1
    assert "Damaged: trials/" in done.stdout


def test_an_interrupt_is_told_and_the_next_run_goes_on(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(seeds=[1, 2, 3])

    class Interrupted(Scripted):
        def train_seconds(self, trial: object, share: Share) -> float:
            if clusters.opened[-1].clock.now() > 60:
                raise KeyboardInterrupt
            return 60.0

    clusters.behaviour = Interrupted()
    counts, interrupted = run_plan(plan, store, QUIET, clusters.open)
    assert interrupted and (counts.done, counts.left) == (2, 1)
    assert [state.ended for state in states(store, plan)] == ["interrupted"]
    clusters.behaviour = Scripted()
    counts, interrupted = run_plan(plan, store, QUIET, clusters.open)
    assert not interrupted and (counts.done, counts.reused) == (1, 2)


def test_a_cluster_that_fails_or_holds_no_worker_ends_the_run(
    store: Store, clusters: Clusters, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of()
    clusters.cpus = 0.5
    with pytest.raises(ClusterError, match="asks for 1 CPUs and 0 GPUs, which no machine of the cluster has"):
        run_plan(plan, store, QUIET, clusters.open)
    clusters.cpus, clusters.behaviour = 1.0, Scripted(starts=lambda worker: "startup")
    with pytest.raises(ClusterError, match="workers do not start"):
        run_plan(plan, store, QUIET, clusters.open)
    assert {state.ended for state in states(store, plan)} == {"failed"}


def test_a_job_without_data_is_refused(store: Store, clusters: Clusters, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(datasets={"gone": {"layout": "folder", "root": "nowhere"}})
    with pytest.raises(FodBenchError, match=r"nothing can run:\n  datasets.gone: there is no folder nowhere"):
        run_plan(plan, store, QUIET, clusters.open)
    assert not clusters.opened

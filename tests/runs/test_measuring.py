"""`resources: auto` from the measurement to the record of it, on a simulated cluster whose speeds are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import ClusterError
from fod_bench.job import load_job
from fod_bench.plan import Plan
from fod_bench.records.chosen import ChosenResources, chosen_resources
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name, resources_name
from fod_bench.runs import crews, measuring
from fod_bench.runs.bounds import bounds_of
from fod_bench.runs.executor import LossKind
from fod_bench.runs.messages import Speed, SpeedTask
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.run import RunOptions, run_plan
from fod_bench.runs.simulate import SimulatedExecutor
from fod_bench.runs.status import StatusReader
from fod_bench.store import Store, open_store
from tests.helpers.simulation import Scripted

GIB = 2.0**30
Measured = Speed | Failure | LossKind


@dataclass
class Speeds(Scripted):
    """Workers whose speed depends on pack and threads as told."""

    of: Callable[[SpeedTask, Share], Measured] = lambda task, share: Speed(0.1 + 0.02 * task.pack, 0.0, 1)
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Packs and threads that were measured, of each worker."""

    def __post_init__(self) -> None:
        super().__init__()

    def speed(self, task: SpeedTask, share: Share) -> Measured:
        self.asked.append((task.pack, task.threads))
        return self.of(task, share)


@dataclass
class Cluster:
    """A simulated cluster for each run."""

    store: Store
    nodes: Sequence[NodeResources] = (NodeResources(2),)
    speeds: Speeds = field(default_factory=Speeds)
    grows: bool = False
    opened: list[SimulatedExecutor] = field(default_factory=list)

    @contextmanager
    def open(self, store_uri: str, expected_object: str, note: Callable[[str], None]) -> Iterator[SimulatedExecutor]:
        executor = SimulatedExecutor(self.store, self.nodes, self.speeds)
        executor.growing = self.grows
        self.opened.append(executor)
        yield executor

    def run(self, plan: Plan, **options: Any) -> ChosenResources:
        counts, _ = run_plan(plan, self.store, RunOptions(**options), self.open)
        assert not counts.failed
        chosen = chosen_resources(self.store, plan.run.run_id)
        assert chosen is not None
        return chosen

    def packs(self) -> list[int]:
        """Trainings that each worker was given at once in the last run, features left out."""
        return sorted(len(span.keys) for span in self.opened[-1].spans if span.training)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(open_store(str(tmp_path / "store")))


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(seeds=[1, 2, 3, 4, 5, 6], resources="auto")


def test_the_best_way_is_taken_told_and_kept(cluster: Cluster, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = cluster.run(plan)
    assert (chosen.cpus, chosen.gpus, chosen.pack, chosen.workers) == (1, "auto", 3, 2)
    assert cluster.packs() == [3, 3]
    assert [(candidate.cpus, candidate.pack, candidate.workers) for candidate in chosen.candidates][:3] == [
        (1, 1, 2),
        (1, 2, 2),
        (1, 3, 2),
    ]
    assert {candidate.pack: candidate.measured for candidate in chosen.candidates if candidate.cpus == 1}[3] == [
        [0.16, 0.0]
    ]
    assert chosen.trainings == [next(iter(plan.trials.values())).name]
    (kind,) = chosen.machines
    assert (kind.nodes, kind.cpus) == (1, 2)
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("resources ")]
    assert said.startswith("resources 2 workers of 1 CPU, packs of 3: the best of ")
    assert said.endswith("; --set resources.cpus=1 --set pack=3 takes the same unmeasured")
    (status,) = StatusReader(cluster.store, plan.job).read().runs
    assert status.resources == chosen


def test_what_it_says_takes_the_same_without_measuring(cluster: Cluster, plan: Plan, tmp_path: Path) -> None:
    chosen = cluster.run(plan)
    named = load_job(tmp_path / "job.yaml", chosen.options().replace("--set ", "").split())
    assert (named.resources.cpus, named.resources.gpus, named.pack) == (chosen.cpus, "auto", chosen.pack)


def test_all_cores_are_at_work_while_one_way_is_measured(cluster: Cluster, plan: Plan) -> None:
    cluster.nodes = [NodeResources(4)]
    cluster.run(plan)
    asked = cluster.speeds.asked
    assert {threads: asked.count((1, threads)) for _, threads in asked} == {1: 4, 2: 2, 4: 1}
    asked.clear()
    cluster.run(replanned(plan, cluster))
    assert not asked, "a run that goes on keeps what was chosen"
    cluster.run(replanned(plan, cluster), workers=2)
    assert {threads: asked.count((1, threads)) for _, threads in asked} == {1: 2, 2: 2, 4: 1}


def replanned(plan: Plan, cluster: Cluster, keep: int = 3) -> Plan:
    """The plan again, with some of its records gone."""
    for key in list(plan.trials)[keep:]:
        cluster.store.delete(record_name(key))
    return plan


def test_a_run_that_goes_on_keeps_what_was_chosen(
    cluster: Cluster, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    first = cluster.run(plan)
    cluster.speeds.of = lambda task, share: Speed(10.0**task.pack, 0.0, 1)
    assert cluster.run(replanned(plan, cluster)) == first
    assert "resources 2 workers of 1 CPU, packs of 3, as chosen for this run on " in capsys.readouterr().err
    assert max(cluster.packs()) > 1


@pytest.mark.parametrize("change", ["machine", "job", "damage"])
def test_it_is_chosen_anew_for_other_machines_another_wish_or_when_it_cannot_be_read(
    cluster: Cluster, plan: Plan, plan_of: Callable[..., Plan], change: str
) -> None:
    cluster.run(plan)
    cluster.speeds.of = lambda task, share: Speed(10.0**task.pack, 0.0, 1)
    replanned(plan, cluster)
    if change == "machine":
        cluster.nodes = [NodeResources(4)]
    elif change == "job":
        plan = plan_of(seeds=[1, 2, 3, 4, 5, 6], resources={"cpus": 1}, pack="auto")
    else:
        cluster.store.put(resources_name(plan.run.run_id), b"{}")
    assert cluster.run(plan).pack == 1


def test_what_the_job_gives_stays(cluster: Cluster, plan_of: Callable[..., Plan]) -> None:
    chosen = cluster.run(plan_of(seeds=[1, 2, 3, 4], resources={"cpus": 2.0}, pack="auto"))
    assert (chosen.cpus, chosen.pack) == (2, 4)
    assert {candidate.cpus for candidate in chosen.candidates} == {2}
    chosen = cluster.run(plan_of(seeds=[5, 6, 7, 8], resources={"cpus": "auto"}))
    assert chosen.pack == 1 and {candidate.pack for candidate in chosen.candidates} == {1}


def test_nothing_is_measured_where_the_job_gives_everything(cluster: Cluster, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(resources={"cpus": 1.0}, pack=2)
    run_plan(plan, cluster.store, RunOptions(), cluster.open)
    assert not cluster.speeds.asked and chosen_resources(cluster.store, plan.run.run_id) is None


def test_memory_bounds_the_workers_and_their_packs(cluster: Cluster, plan: Plan) -> None:
    trial = next(iter(plan.trials.values()))
    assert trial.counts is not None
    need = trial.settings.work(trial.counts).memory
    cluster.nodes = [NodeResources(2, memory=0.75 * GIB + 2.5 * need)]
    chosen = cluster.run(plan)
    assert (chosen.cpus, chosen.workers) == (2, 1), "there is no memory for two"
    assert {candidate.pack for candidate in chosen.candidates} == {1, 2} and chosen.pack == 2


def test_a_worker_that_is_lost_at_it_rules_the_way_out(cluster: Cluster, plan: Plan) -> None:
    cluster.speeds.of = lambda task, share: "memory" if task.pack > 1 else Speed(1.0, 0.0, 1)
    chosen = cluster.run(plan)
    assert (chosen.cpus, chosen.pack) == (1, 1)
    assert {candidate.pack: candidate.seconds is None for candidate in chosen.candidates if candidate.cpus == 1} == {
        1: False,
        2: True,
    }


def test_where_nothing_can_be_measured_the_reason_is_told(
    cluster: Cluster, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.speeds.of = lambda task, share: Failure("out of luck", "", "fault")
    run_plan(plan, cluster.store, RunOptions(), cluster.open)
    assert cluster.packs() == [1] * 6
    assert (
        "resources 2 workers of 1 CPU, no packs: none of 2 candidates could be measured: out of luck"
        in capsys.readouterr().err
    )
    assert chosen_resources(cluster.store, plan.run.run_id) is None, "it is tried again the next time"


def test_a_way_that_never_ends_is_given_up_and_others_are_tried(
    cluster: Cluster, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.speeds.measure_seconds = crews.CANDIDATE_SECONDS + 1
    run_plan(plan, cluster.store, RunOptions(), cluster.open)
    assert "none of 2 candidates could be measured" in capsys.readouterr().err
    assert chosen_resources(cluster.store, plan.run.run_id) is None


def test_a_choice_for_a_part_of_the_job_does_not_hold_for_more_of_it(
    cluster: Cluster, plan_of: Callable[..., Plan]
) -> None:
    rows = {f"row{number}": {"lambda1": float(number)} for number in range(1, 5)}
    plan = plan_of(seeds=[1, 2], variants=rows, resources="auto")
    first = cluster.run(plan, only="row1/*")
    assert (first.left, first.pack) == (2, 1)
    more = cluster.run(plan)
    assert (more.left, more.pack) == (6, 3)
    assert cluster.run(replanned(plan, cluster)) == more


def test_where_only_costs_are_left_the_cores_that_the_job_gives_stay(
    cluster: Cluster, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(variants={"Cost": {"measure": "cost"}}, resources={"cpus": 2.0}, pack="auto")
    run_plan(plan, cluster.store, RunOptions(), cluster.open)
    assert {span.share.cpus for span in cluster.opened[-1].spans if span.training} == {2.0}
    assert chosen_resources(cluster.store, plan.run.run_id) is None


def test_what_wants_no_gpu_is_measured_on_all_machines_and_asks_for_none(
    cluster: Cluster, plan_of: Callable[..., Plan]
) -> None:
    cluster.nodes = [NodeResources(8), NodeResources(2, 1, gpu_memory=80 * GIB)]
    cluster.speeds.of = lambda task, share: Speed(1 / task.threads**2, 0.0, 1)
    rows: dict[str, Any] = {"FOD": {}, "PaDiM": {"method": "padim", "channels": 20}}
    chosen = cluster.run(plan_of(variants=rows, seeds=[1], resources="auto"), only="PaDiM/*")
    assert (chosen.cpus, chosen.gpus) == (8, 0), "which the node with the GPU does not have"
    given: dict[str, Any] = {"cpus": "auto", "gpus": 1}
    chosen = cluster.run(plan_of(variants=rows, seeds=[2], resources=given, pack="auto"), only="PaDiM/*")
    assert (chosen.gpus, chosen.workers) == (1, 1), "a number holds for all"


def test_workers_are_not_blamed_for_a_node_that_took_them_along(cluster: Cluster, plan: Plan) -> None:
    cluster.nodes = [NodeResources(4)]
    lost = iter(range(4))
    cluster.speeds.startup_loss = lambda worker: "node" if next(lost, None) is not None else None  # type: ignore[method-assign]
    assert cluster.run(plan).candidates


def test_measuring_ends_after_a_while(cluster: Cluster, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "ENOUGH_SECONDS", 0.0)
    assert len(cluster.run(plan).candidates) == 1


def test_a_node_of_each_kind_is_measured_and_the_whole_cluster_counts(cluster: Cluster, plan: Plan) -> None:
    cluster.nodes = [NodeResources(2), NodeResources(2), NodeResources(4)]
    chosen = cluster.run(plan)
    assert [(kind.nodes, kind.cpus) for kind in chosen.machines] == [(2, 2), (1, 4)], (
        "in the order of what was measured"
    )
    first = chosen.candidates[0]
    assert (first.workers, len(first.measured)) == (8, 2)


def test_on_a_gpu_its_parts_and_packs_are_measured(cluster: Cluster, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(seeds=list(range(40)), resources="auto")
    cluster.nodes = [NodeResources(8, 1, gpu_memory=80 * GIB)]
    cluster.speeds.measure_seconds = 0.5
    cluster.speeds.of = lambda task, share: Speed(0.01 * task.pack**0.5, 0.0, 1)
    chosen = cluster.run(plan)
    assert {candidate.gpus for candidate in chosen.candidates} == {1, 0.5, 0.25}
    assert (chosen.cpus, chosen.gpus) == (1, 0.25), "made up: four processes do not slow each other down"
    assert "--set resources.gpus=0.25" in chosen.options()
    assert all(span.share == Share(1, 0.25) for span in cluster.opened[-1].spans)


def test_beside_what_wants_no_gpu_the_part_of_one_stays_reckoned(
    cluster: Cluster, plan_of: Callable[..., Plan]
) -> None:
    rows: dict[str, Any] = {"FOD": {}, "PaDiM": {"method": "padim", "channels": 20}}
    plan = plan_of(settings={"method": "fod"}, seeds=[1, 2], variants=rows, resources="auto")
    cluster.nodes = [NodeResources(8, 1, gpu_memory=80 * GIB)]
    chosen = cluster.run(plan)
    assert chosen.gpus == "auto" and {candidate.gpus for candidate in chosen.candidates} == {1}


def test_a_cluster_without_a_node_cannot_be_measured(cluster: Cluster, plan: Plan) -> None:
    cluster.nodes, cluster.grows = [], True
    with pytest.raises(ClusterError, match=r"no node yet that trains.*--set resources\.cpus=1 --set pack=1"):
        cluster.run(plan)


def test_workers_that_do_not_start_are_told(cluster: Cluster, plan: Plan) -> None:
    cluster.speeds.startup_loss = lambda worker: "startup"  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="workers do not start: simulated: startup"):
        cluster.run(plan)
    cluster.speeds.startup_loss = lambda worker: None  # type: ignore[method-assign]
    cluster.speeds.startup_seconds = crews.START_SECONDS + 1
    with pytest.raises(
        ClusterError, match="2 workers did not start within 120 s, so what is best here cannot be measured"
    ):
        cluster.run(plan)


def test_more_gpus_than_a_machine_has_are_refused_before_anything_is_measured(
    cluster: Cluster, plan_of: Callable[..., Plan]
) -> None:
    with pytest.raises(ClusterError, match="asks for 1 CPUs and 2 GPUs, which no machine of the cluster has"):
        cluster.run(plan_of(resources={"cpus": "auto", "gpus": 2}))
    assert not cluster.speeds.asked


def test_an_interrupt_lets_the_workers_go(cluster: Cluster, plan: Plan) -> None:
    def interrupt(task: SpeedTask, share: Share) -> Measured:
        raise KeyboardInterrupt

    cluster.speeds.of = interrupt
    _, interrupted = run_plan(plan, cluster.store, RunOptions(quiet=True), cluster.open)
    assert interrupted and not cluster.opened[-1]._workers
    assert chosen_resources(cluster.store, plan.run.run_id) is None


def test_plan_tells_the_bounds_and_then_what_was_chosen(
    cluster: Cluster, plan: Plan, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fod_bench.runs.bounds.cores", lambda: 2)
    monkeypatch.setattr("fod_bench.runs.bounds.host_memory", lambda: 10 * 2**30)
    found = bounds_of(plan, cluster.store)
    assert found is not None and (found.cpus, found.pack, found.cores) == ((1, 2), 6, 2)
    assert found.in_words().startswith(
        "resources.cpus and pack chosen when the run starts, by measuring: 1 to 2 of 2 cores a trial, packs of up to 6; 7.0 GiB"
    )
    chosen = cluster.run(plan)
    assert bounds_of(plan, cluster.store) is None, "nothing is left"
    replanned(plan, cluster)
    found = bounds_of(plan, cluster.store)
    assert found is not None and found.chosen == chosen and "packs of 3" in found.in_words()
    other = plan_of(seeds=[1, 2, 3, 4, 5, 6], resources={"cpus": 1.0}, pack="auto")
    found = bounds_of(other, cluster.store)
    assert found is not None and found.chosen is None, "of a job that leaves other things open"
    (status,) = StatusReader(cluster.store, other.job).read().runs
    assert status.resources is None
    assert bounds_of(plan_of(), cluster.store) is None

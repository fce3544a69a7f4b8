"""What the scheduler hands out, and how it meets faults, on a simulated cluster, where hours pass in a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from fod_bench.errors import ClusterError, StoreError
from fod_bench.features.request import SetRequest
from fod_bench.plan import Plan, TrialJob
from fod_bench.records.failures import Failure, keep_failure, kept_failure
from fod_bench.records.names import failure_log_name, record_name
from fod_bench.records.record import Trial
from fod_bench.runs.messages import Prepared
from fod_bench.runs.resources import NodeResources, Share
from fod_bench.runs.retries import LIMITS
from fod_bench.runs.scheduler import SCALE_SECONDS, STOP_SECONDS
from fod_bench.store.open import RUN_PATIENCE
from tests.helpers.simulation import Scripted, Simulation

TWO = (NodeResources(1), NodeResources(1))
STARTED, PREPARED = 8.0, 28.0
"""When the first worker has started, and when it has prepared features: see `Behaviour`."""


@pytest.fixture
def trials(plan_of: Callable[..., Plan]) -> list[TrialJob]:
    """Three trainings on one feature set."""
    return list(plan_of(seeds=[1, 2, 3]).trials.values())


@pytest.fixture
def mixed(plan_of: Callable[..., Plan]) -> list[TrialJob]:
    """Two trainings on each of two feature sets."""
    return list(plan_of(["weave", "board"], seeds=[1, 2]).trials.values())


def features(trial: TrialJob) -> str:
    assert trial.wanted is not None
    return trial.wanted.key


def keys(trials: list[TrialJob]) -> list[str]:
    return sorted(trial.key for trial in trials)


class TestCalm:
    def test_each_training_is_done_once_after_its_features(self, mixed: list[TrialJob]) -> None:
        simulation = Simulation(mixed, TWO)
        counts = simulation.run()
        assert (counts.done, counts.left, counts.failed) == (4, 0, {})
        handed = [key for _, keys in simulation.cluster.handed_out for key in keys]
        assert Counter(handed) == Counter([*keys(mixed), *{features(trial) for trial in mixed}])
        assert all(handed.index(features(trial)) < handed.index(trial.key) for trial in mixed)
        assert all(simulation.store.exists(record_name(trial.key)) for trial in mixed)

    def test_a_worker_goes_on_with_the_features_it_has(self, mixed: list[TrialJob]) -> None:
        simulation = Simulation(mixed, TWO)
        simulation.run()
        used = {simulation.worker_of(trial): features(trial) for trial in mixed}
        assert len(used) == 2, "both had work"
        assert all(used[simulation.worker_of(trial)] == features(trial) for trial in mixed)

    def test_there_are_no_more_workers_than_the_nodes_hold_or_the_work_needs(self, trials: list[TrialJob]) -> None:
        few = Simulation(trials, [NodeResources(2), NodeResources(0.5)])
        many = Simulation(trials, [NodeResources(64)])
        for simulation, workers in ((few, 2), (many, 3)):
            simulation.run()
            assert {worker for worker, _ in simulation.cluster.handed_out} == set(range(workers))

    @pytest.mark.parametrize("workers", [1, 2, 9])
    def test_there_are_no_more_workers_than_asked_for_whoever_is_lost_and_whichever_node_joins(
        self, mixed: list[TrialJob], workers: int
    ) -> None:
        simulation, most = Simulation(mixed, [NodeResources(2)], workers=workers), []
        cluster = simulation.cluster

        simulation.every(1.0, lambda: most.append(len(cluster.working())))
        simulation.at(PREPARED + 5, lambda: cluster.lose(cluster.working()[0], "killed"))
        simulation.at(PREPARED + 10, lambda: cluster.add_node(NodeResources(64)))
        assert simulation.run().done == len(mixed)
        assert max(most) == min(workers, len(mixed))

    def test_a_node_that_joins_gets_work(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        simulation.at(PREPARED + 1, lambda: simulation.cluster.add_node(NodeResources(1)))
        simulation.run()
        assert {worker for worker, _ in simulation.cluster.handed_out} == {0, 1}

    def test_a_person_is_told_what_comes_to_an_end(self, trials: list[TrialJob]) -> None:
        made = Prepared(True, 1 << 20, notes=("damaged   so",))
        simulation = Simulation(trials, behaviour=Scripted(prepares=lambda request: made))
        simulation.run()
        assert "damaged   so\nfeatures  weave: extracted, 14 images, 1 MiB\n" in simulation.said
        assert [line for line in simulation.said.splitlines() if line.startswith("done")] == [
            f"done      {trial.name}   [{number}/3]" for number, trial in enumerate(trials, 1)
        ]

    def test_a_reference_that_cannot_be_made_ends_the_trainings_that_need_it(
        self, plan_of: Callable[..., Plan]
    ) -> None:
        rows = {"mean": {}, "coreset": {"reference": {"kind": "coreset", "per_position": 2}}}
        trials = list(plan_of(variants=rows, seeds=[1, 2]).trials.values())
        doomed = [trial for trial in trials if trial.settings.reference.kind == "coreset"]
        unmade = {doomed[0].reference_key or "": Failure("too large", "Traceback")}
        simulation = Simulation(trials, behaviour=Scripted(prepares=lambda request: Prepared(True, 1, unmade)))
        counts = simulation.run()
        assert counts.failed.keys() == {trial.name for trial in doomed} and counts.done == 2
        assert kept_failure(simulation.store, doomed[0].key) is not None

    def test_features_that_cannot_be_made_end_their_trainings_and_no_others(self, mixed: list[TrialJob]) -> None:
        def prepares(request: SetRequest) -> Prepared | Failure:
            return Failure("unreadable", "", "data") if request.category.name == "board" else Prepared(True, 0)

        counts = Simulation(mixed, behaviour=Scripted(prepares=prepares)).run()
        assert counts.done == 2 and counts.failed.keys() == {trial.name for trial in mixed if trial.category == "board"}


class TestWorkersLost:
    def test_a_trial_goes_on_from_its_checkpoint_on_another_worker(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1], checkpoint_seconds=10)
        simulation.at(PREPARED + 45, lambda: simulation.cluster.lose(0, "killed"))
        assert simulation.run().done == 1
        assert f"again     {trials[0].name}: its worker was lost\n" in simulation.said
        restart = 2 * SCALE_SECONDS + STARTED
        assert PREPARED + 45 + 20 < simulation.clock.now() < PREPARED + 45 + 20 + restart, "40 seconds were kept"

    def test_work_that_is_killed_again_without_getting_further_is_set_apart(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, checkpoint_seconds=1000)
        victim = trials[1].key

        def strike() -> None:
            worker, keys = simulation.cluster.handed_out[-1]
            if keys == [victim] and worker in simulation.cluster.working():
                simulation.cluster.lose(worker, "memory")

        simulation.every(5, strike, since=PREPARED)
        counts = simulation.run()
        assert (counts.done, counts.failed.keys()) == (2, {trials[1].name})
        reason, log = kept_failure(simulation.store, victim) or pytest.fail()
        assert reason.startswith(
            "its worker was ended, as its machine ran out of memory 2 times without getting further"
        )
        assert f"failed    {trials[1].name}: {reason}\n          log: {log}\n" in simulation.said
        assert b"simulated: memory" in simulation.store.get(f"trials/{victim}/failure.log")

    def test_work_that_gets_further_each_time_is_tried_again_and_again(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1], behaviour=Scripted(600.0), checkpoint_seconds=1)

        def strike() -> None:
            for worker in simulation.cluster.working():
                simulation.cluster.lose(worker, "killed")

        simulation.every(60, strike)
        assert simulation.run().done == 1
        assert simulation.said.count("its worker was lost") > LIMITS["killed"]

    def test_the_loss_of_a_node_is_not_held_against_the_work(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1], checkpoint_seconds=1000)
        for _ in range(LIMITS["killed"] + 1):
            simulation.cluster.add_node(NodeResources(1))

        def strike() -> None:
            for worker in simulation.cluster.working():
                simulation.cluster.lose_node(simulation.cluster.node_of(worker) or pytest.fail())

        for number in range(LIMITS["killed"] + 1):
            simulation.at(PREPARED + 10 + 60 * number, strike)
        assert simulation.run().done == 1
        assert simulation.said.count("its machine was lost") == LIMITS["killed"] + 1

    def test_but_it_is_not_tried_for_ever(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1], behaviour=Scripted(1e9), checkpoint_seconds=1e9)

        def strike() -> None:
            for worker in simulation.cluster.working():
                simulation.cluster.lose(worker, "unreachable")

        simulation.every(30, strike)
        counts = simulation.run()
        assert list(counts.failed) == [trials[0].name]
        assert "its worker is out of reach 10 times without getting further; set apart" in simulation.said

    def test_a_silent_worker_is_given_up_after_the_lease_and_its_late_result_is_refused(
        self, trials: list[TrialJob]
    ) -> None:
        simulation = Simulation(trials, TWO, Scripted(300.0), lease_seconds=60)
        simulation.at(PREPARED + 30, lambda: simulation.cluster.silence(0))
        given_up: list[float] = []
        simulation.at(
            PREPARED + 30 + 61.5, lambda: given_up.append(simulation.said.count("its worker no longer answers"))
        )
        assert simulation.run().done == 3
        assert given_up == [1]
        assert simulation.cluster.work.refused == 1

    def test_a_driver_that_stood_still_itself_gives_nobody_up(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, TWO, lease_seconds=60)
        for moment in (40, 41, 60):
            simulation.at(PREPARED + moment, lambda: simulation.clock.sleep(300))
        assert simulation.run().done == 3
        assert "again" not in simulation.said

    def test_a_worker_told_to_end_leaves_a_checkpoint_and_counts_for_nothing(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1], checkpoint_seconds=1000)
        simulation.at(PREPARED + 50, lambda: simulation.cluster.leave_node("node0"))
        simulation.at(PREPARED + 50, lambda: simulation.cluster.add_node(NodeResources(1)))
        assert simulation.run().done == 1
        assert "its worker was told to end, and left a checkpoint" in simulation.said
        assert simulation.clock.now() < PREPARED + 60 + 30

    def test_a_record_made_just_before_its_worker_was_lost_counts_as_done(self, trials: list[TrialJob]) -> None:
        """Set apart, it would be a failure with a record."""
        simulation = Simulation(trials[:1], checkpoint_seconds=1000)

        def strike() -> None:
            if len(simulation.packs()) == LIMITS["killed"]:
                simulation.store.put(record_name(trials[0].key), b"{}")
            for worker in simulation.cluster.working():
                simulation.cluster.lose(worker, "killed")

        simulation.every(25, strike, since=PREPARED)
        counts = simulation.run()
        assert (counts.done, counts.failed) == (1, {}) and len(simulation.packs()) == LIMITS["killed"]


class TestStartupFailures:
    def test_three_in_a_row_end_the_run_with_the_reason(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, behaviour=Scripted(starts=lambda worker: "startup"))
        with pytest.raises(ClusterError, match="workers do not start: simulated: startup"):
            simulation.run()
        assert simulation.said.count("again     a worker did not start: simulated: startup") == 2

    def test_a_node_without_memory_is_waited_for(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, behaviour=Scripted(starts=lambda worker: "memory" if worker < 9 else None))
        assert simulation.run().done == 3
        assert simulation.said.count("a worker did not start: its machine ran out of memory") == 9
        pauses = 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60
        assert simulation.clock.now() > pauses + 10 * STARTED + 20 + 3 * 60

    def test_one_that_starts_makes_those_before_it_forgotten(self, trials: list[TrialJob]) -> None:
        behaviour = Scripted(starts=lambda worker: None if worker % 3 == 2 else "startup")
        simulation = Simulation(trials, behaviour=behaviour)

        def strike() -> None:
            for worker in simulation.cluster.working():
                simulation.cluster.lose(worker, "node")

        simulation.at(100, strike)
        assert simulation.run().done == 3
        assert simulation.said.count("a worker did not start") == 4 and "its machine was lost" in simulation.said

    def test_as_long_as_others_work_the_run_goes_on(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, TWO, Scripted(starts=lambda worker: "startup" if worker else None))
        assert simulation.run().done == 3
        assert {worker for worker, _ in simulation.cluster.handed_out} == {0}
        assert simulation.said.count("a worker did not start") > 3

    def test_a_worker_that_waits_for_its_share_is_given_nothing(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, behaviour=Scripted(startup_seconds=500.0), lease_seconds=60)
        assert simulation.run().done == 3 and "again" not in simulation.said


class TestStore:
    def test_an_outage_within_the_workers_patience_only_costs_time(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        simulation.at(PREPARED + 30, lambda: simulation.cluster.work.lose_store(200))
        assert simulation.run().done == 3
        assert "again" not in simulation.said and simulation.clock.now() == pytest.approx(PREPARED + 230 + 120, abs=2)

    def test_a_longer_one_is_tried_three_times(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1])
        simulation.at(PREPARED + 30, lambda: simulation.cluster.work.lose_store(1e9))
        with pytest.raises(StoreError, match="cannot be reached; when that is put right, the same command goes on"):
            simulation.run()
        assert simulation.said.count(f"again     {trials[0].name}: the store cannot be reached") == 2
        pauses = 1 + 2
        assert simulation.clock.now() == pytest.approx(PREPARED + 3 * (60 + RUN_PATIENCE) + pauses, abs=1.5)

    def test_an_object_that_cannot_be_had_ends_only_what_needs_it_and_at_once(self, mixed: list[TrialJob]) -> None:
        blocked = Failure("a folder stands in its place; move it away", "Traceback", "object")
        doomed = {mixed[0].key, *(trial.key for trial in mixed if trial.category == "board")}

        def prepares(request: SetRequest) -> Prepared | Failure:
            return blocked if request.category.name == "board" else Prepared(True, 0)

        def fails(trial: Trial, share: Share, together: int) -> Failure | None:
            return blocked if trial.key in doomed else None

        simulation = Simulation(mixed, behaviour=Scripted(prepares=prepares, fails=fails))
        counts = simulation.run()
        assert counts.failed.keys() == {trial.name for trial in mixed if trial.key in doomed} and counts.done == 1
        assert (
            "again" not in simulation.said and simulation.said.count("a folder stands in its place; move it away") == 3
        )
        for trial in mixed:
            assert kept_failure(simulation.store, trial.key) is None, "the next run tries it again"
            told = simulation.store.exists(failure_log_name(trial.key))
            assert told == (trial.key in doomed)

    def test_features_that_are_gone_are_made_again(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        simulation.at(PREPARED + 30, lambda: simulation.cluster.work.lose_features(features(trials[0])))
        assert simulation.run().done == 3
        handed = [keys for _, keys in simulation.cluster.handed_out]
        assert handed.count([features(trials[0])]) == 2 and "the features are gone" in simulation.said


class TestOthers:
    """Another run works on the same store."""

    def test_what_it_has_claimed_and_does_is_counted_as_its_own(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        theirs = trials[1].key
        simulation.cluster.work.claim_elsewhere(theirs, 1e9)
        simulation.at(200, lambda: simulation.store.put(record_name(theirs), b"{}"))
        counts = simulation.run()
        assert (counts.done, counts.elsewhere) == (2, 1)
        assert f"done      {trials[1].name} by another run" in simulation.said

    def test_what_it_lets_go_of_is_done_here(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials[:1])
        simulation.cluster.work.claim_elsewhere(trials[0].key, 500)
        assert simulation.run().done == 1
        looked = len(simulation.packs())
        assert 30 <= looked <= 36, "every 15 seconds, a quarter of the lease"
        assert simulation.clock.now() > 560

    def test_what_fails_there_has_failed(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        theirs = trials[2]
        simulation.cluster.work.claim_elsewhere(theirs.key, 1e9)
        diverged = Failure("diverged: so", "", "diverged")
        simulation.at(100, lambda: keep_failure(simulation.store, theirs.key, theirs.name, diverged))
        counts = simulation.run()
        assert counts.done == 2 and counts.failed[theirs.name].startswith("diverged: so (log: ")

    def test_features_that_it_prepares_are_waited_for(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials)
        simulation.cluster.work.claim_elsewhere(features(trials[0]), 100)
        assert simulation.run().done == 3
        assert simulation.clock.now() > 100 + 20 + 3 * 60


class TestGpu:
    FULL = Failure("out of GPU memory", "", "memory")

    def test_a_trial_that_does_not_fit_a_shared_gpu_gets_a_whole_one(self, trials: list[TrialJob]) -> None:
        large = trials[0].key

        def fails(trial: Trial, share: Share, together: int) -> Failure | None:
            return self.FULL if trial.key == large and share.gpus < 1 else None

        simulation = Simulation(trials, [NodeResources(8, 1)], Scripted(fails=fails), share=Share(1, 0.5))
        assert simulation.run().done == 3
        assert [keys for keys in simulation.packs() if large in keys] == [[large]] * 2

    def test_one_that_does_not_fit_a_whole_one_fails(self, trials: list[TrialJob]) -> None:
        behaviour = Scripted(fails=lambda trial, share, together: self.FULL)
        simulation = Simulation(trials[:1], [NodeResources(8, 1)], behaviour, share=Share(1, 0.5))
        assert next(iter(simulation.run().failed.values())).startswith("out of GPU memory (log:")
        assert len(simulation.packs()) == 2, "in its share and alone"


class TestTheEnd:
    def _interrupted(self, simulation: Simulation, *moments: float) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        for moment in moments:
            simulation.at(moment, interrupt)
        with pytest.raises(KeyboardInterrupt):
            simulation.run()

    def test_an_interrupt_has_trials_leave_checkpoints_from_which_the_next_run_goes_on(
        self, trials: list[TrialJob]
    ) -> None:
        simulation = Simulation(trials, TWO, checkpoint_seconds=1000)
        self._interrupted(simulation, PREPARED + 45)
        assert "stopping: 2 trials leave a checkpoint (again Ctrl-C: at once)" in simulation.said
        assert simulation.clock.now() == pytest.approx(PREPARED + 45 + 1, abs=0.5)
        counts, begun = simulation.run("second"), PREPARED + 46 + STARTED
        assert (counts.total, counts.done) == (3, 3)
        assert simulation.clock.now() == pytest.approx(begun + 15 + 60, abs=1), "two had 15 seconds left, one had all"

    def test_trials_that_do_not_stop_are_not_waited_for_longer_than_is_said(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, behaviour=Scripted(stop_seconds=1e6))
        self._interrupted(simulation, PREPARED + 20)
        assert simulation.clock.now() == pytest.approx(PREPARED + 20 + STOP_SECONDS, abs=0.5)

    def test_a_second_interrupt_ends_at_once(self, trials: list[TrialJob]) -> None:
        simulation = Simulation(trials, behaviour=Scripted(stop_seconds=1e6))
        self._interrupted(simulation, PREPARED + 20, PREPARED + 22)
        assert simulation.clock.now() == pytest.approx(PREPARED + 22, abs=0.5)

    def test_a_cluster_that_is_gone_ends_the_run(self, trials: list[TrialJob]) -> None:
        def gone() -> None:
            raise ClusterError("the cluster is gone")

        simulation = Simulation(trials)
        simulation.at(PREPARED + 20, gone)
        with pytest.raises(ClusterError, match="the cluster is gone"):
            simulation.run()

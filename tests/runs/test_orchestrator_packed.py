"""What the driver does with each trial of a pack, when the worker answers and when it dies; Ray's answers are made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.exceptions import RayActorError

from fod_bench.cluster import orchestrator as module
from fod_bench.cluster.orchestrator import Orchestrator
from fod_bench.cluster.session import Share
from fod_bench.cluster.slot import Slot
from fod_bench.job import load_job
from fod_bench.plan import TrialJob, make_plan
from fod_bench.records.failures import Failure
from fod_bench.records.names import record_name
from fod_bench.runs.messages import Done, Status
from fod_bench.runs.progress import Progress, stderr_console
from fod_bench.store import Store, open_store
from tests.helpers.commands import DRAWN, TINY

WHOLE = Share(1, 1)
FULL = Failure("out of GPU memory", "", "memory")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[TrialJob]:
    monkeypatch.chdir(tmp_path)
    content = {"name": "tiny", "datasets": {"drawn": DRAWN}, "settings": TINY, "seeds": [1, 2, 3, 4]}
    Path("job.yaml").write_text(yaml.safe_dump(content))
    return list(make_plan(load_job("job.yaml"), download=False).trials.values())


class Driver:
    """An orchestrator with the first trials packed on its one worker, and the others waiting."""

    def __init__(self, store: Store, trials: list[TrialJob], packed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.progress = Progress(trials, stderr_console(), quiet=True)
        self.orchestrator = Orchestrator(
            store, "none", WHOLE, self.progress, driver="d", checkpoint_seconds=1e9, lease_seconds=60, pack=4
        )
        self.backlog = self.orchestrator._backlog
        self.backlog.add(trials)
        request, _ = self.backlog.next_features() or pytest.fail()
        self.backlog.prepared(request.key, True)
        self.packed = self.backlog.next_trials(None, packed)
        self.slot = Slot(0, None, task="task")
        self.slot.begin(request.key, *((trial, self.orchestrator._attempt(trial)) for trial in self.packed))
        monkeypatch.setattr(self.slot, "on_lost_node", lambda: False)
        self.orchestrator._slots.append(self.slot)
        self._monkeypatch = monkeypatch

    def finish(self, answer: Any) -> None:
        def get(_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        self._monkeypatch.setattr(module, "ray", SimpleNamespace(get=get, kill=lambda actor: None))
        self.orchestrator._finish(self.slot, WHOLE)

    def next_pack(self) -> list[TrialJob]:
        """What would be handed out next, with everything that was put off."""
        for waiting in list(self.backlog._put_off.values()):
            self.backlog.put_off(waiting.trial, 0.0)
        self.orchestrator._look_again()
        return self.backlog.next_trials(None, 4)


def test_each_trial_of_a_pack_is_settled_by_itself(
    store: Store, trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(store, trials, 4, monkeypatch)
    first, second, third, fourth = driver.packed
    diverged = Failure("diverged: so", "", "diverged")
    driver.finish([Done(first.key, True), diverged, FULL, Failure("RuntimeError: allocation failed", "")])
    assert driver.progress.counts.done == 1 and list(driver.progress.counts.failed) == [second.name]
    assert not driver.slot.work and driver.slot.task is None
    apart = [driver.next_pack(), driver.next_pack()]
    assert sorted(apart, key=str) == sorted([[third], [fourth]], key=str), (
        "what the others may be to blame for is tried alone"
    )


def test_a_dead_workers_trials_go_on_one_by_one_and_what_has_a_record_is_done(
    store: Store, trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(store, trials, 3, monkeypatch)
    first, second, third = driver.packed
    driver.slot.marks[second.key] = (3, 1)
    store.put(record_name(first.key), b"{}")
    driver.finish(RayActorError())
    assert driver.progress.counts.done == 1 and driver.progress.counts.elsewhere == 0
    assert driver.orchestrator._retries._histories[second.key].furthest == (3, 1)
    assert driver.orchestrator._retries._histories[third.key].furthest == (-1, -1)
    assert len(driver.next_pack()) == 1, "one of them may be what killed it"
    assert driver.orchestrator._lost.keys() == {second.key, third.key}


def test_a_lost_machines_trials_stay_together(
    store: Store, trials: list[TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(store, trials, 3, monkeypatch)
    monkeypatch.setattr(driver.slot, "on_lost_node", lambda: True)
    driver.finish(RayActorError())
    assert len(driver.next_pack()) == 4, "the machine was to blame"


def test_a_person_sees_each_of_those_that_share_steps(trials: list[TrialJob]) -> None:
    progress = Progress(trials, stderr_console(), quiet=True)
    progress.status(
        0, trials[:3], [Status("trial", trial.key, epochs=2, step=at) for at, trial in enumerate(trials[:2])]
    )
    progress.status(1, trials[3:], [Status("trial", trials[3].key, epochs=2, step=7)])
    assert {key: running.status.step for (_, key), running in progress._running.items()} == {
        trials[0].key: 0,
        trials[1].key: 1,
        trials[2].key: 0,
        trials[3].key: 7,
    }
    progress.status(0, [])
    assert [key for _, key in progress._running] == [trials[3].key]

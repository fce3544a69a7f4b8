"""Claims and their fence: one holder at a time, a dead one's work goes on elsewhere, a late one's result is not taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import StoreError
from fod_bench.machine import system
from fod_bench.records.claims import Claim, Held, LostClaimError, held_keys, sweep, take
from fod_bench.records.names import checkpoints_prefix, record_name
from fod_bench.records.record import Record
from fod_bench.store import ObjectInfo, Store, open_store
from fod_bench.store.folder.store import LocalStore
from tests.helpers.commands import LIMIT, wait_for
from tests.helpers.trial_builders import names, run, trial_data

RESULT = "trials/a1/record.json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


class Later(LocalStore):
    """The same folder, seen some seconds later."""

    def __init__(self, store: Store, seconds: float) -> None:
        super().__init__(Path(store.uri))
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


def claimed(store: Store, **options: Any) -> Claim:
    """A claim of `a1` that must be had."""
    found = take(store, "a1", **({"attempt": "mine:1"} | options))
    assert isinstance(found, Claim), found
    return found


def held(store: Store, **options: Any) -> Held:
    """Who keeps `a1` from us."""
    found = take(store, "a1", **({"attempt": "yours:1"} | options))
    assert isinstance(found, Held), found
    return found


class TestTaking:
    def test_one_holder_at_a_time(self, store: Store) -> None:
        mine = claimed(store, lease=600)
        other = held(store)
        assert (other.generation, other.entry.token) == (1, mine.entry.token)
        assert other.entry.process.number == os.getpid() and 0 < other.lease_left <= 600
        assert held_keys(store) == {"a1": True}
        assert isinstance(take(store, "b2", attempt="yours:1"), Claim), "another key is free"

    def test_of_many_at_once_one_gets_it(self, store: Store) -> None:
        start, found = threading.Barrier(8), []

        def grab(number: int) -> None:
            start.wait()
            found.append(take(store, "a1", attempt=f"worker:{number}"))

        threads = [threading.Thread(target=grab, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(one).__name__ for one in found) == ["Claim"] + ["Held"] * 7

    def test_silence_for_a_lease_gives_it_away_by_the_stores_clock(self, store: Store) -> None:
        first = claimed(store, lease=600)
        assert isinstance(take(Later(store, 300), "a1", attempt="yours:1"), Held)
        second = take(Later(store, 601), "a1", attempt="yours:1")
        assert isinstance(second, Claim) and second.generation == 2
        with pytest.raises(LostClaimError):
            first.renew()
        assert first.lost and not second.lost

    def test_the_last_heartbeat_counts(self, store: Store) -> None:
        claimed(store, lease=600).renew()
        entry, beat = (Path(store.location(f"claims/a1/00000001.{kind}")) for kind in ("json", "beat"))
        os.utime(entry, (0, 0))
        assert held(store).age < 300
        os.utime(beat, (0, 0))
        assert claimed(store, attempt="yours:1").generation == 2

    def test_heartbeats_go_on_while_the_work_does(self, store: Store) -> None:
        with claimed(store, lease=0.2).beating() as mine:
            wait_for(lambda: store.exists("claims/a1/00000001.beat"), "a heartbeat")
            first = _modified(store)
            wait_for(lambda: _modified(store) > first, "another heartbeat")
        assert not mine.lost

    def test_a_heartbeat_notices_the_loss(self, store: Store) -> None:
        with claimed(store, lease=0.2).beating() as mine:
            assert isinstance(take(Later(store, 1), "a1", attempt="yours:1"), Claim)
            wait_for(lambda: mine.lost, "the loss to be noticed")

    def test_what_was_let_go_is_free_at_once(self, store: Store) -> None:
        claimed(store).release()
        assert held_keys(store) == {"a1": False}
        assert claimed(store, attempt="yours:1").generation == 2

    def test_an_attempt_known_to_be_dead_is_not_waited_for(self, store: Store) -> None:
        claimed(store, attempt="mine:1")
        assert isinstance(take(store, "a1", attempt="mine:2", previous="mine:0"), Held)
        assert claimed(store, attempt="mine:2", previous="mine:1").generation == 2

    def test_a_dead_process_of_this_machine_is_not_waited_for_but_a_stopped_one_is(self, store: Store) -> None:
        script = (
            "import sys; from fod_bench.records.claims import take; from fod_bench.store import open_store\n"
            "take(open_store(sys.argv[1]), 'a1', attempt='child:1'); print('ready', flush=True); sys.stdin.read()"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", script, store.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGSTOP)
            assert held(store).entry.process.number == child.pid
        finally:
            child.kill()
        wait_for(lambda: isinstance(take(store, "a1", attempt="yours:1"), Claim), "the child to be dead")
        child.wait()
        assert child.stdin is not None and child.stdout is not None
        child.stdin.close()
        child.stdout.close()

    def test_a_listing_that_lags_behind_makes_no_second_holder(self, store: Store) -> None:
        class Stale(LocalStore):
            def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
                return iter(())

        claimed(store, attempt="mine:1").release()
        claimed(store, attempt="mine:2")
        assert held(Stale(Path(store.uri))).generation == 2

    def test_sweeping_leaves_nothing(self, store: Store) -> None:
        claimed(store).renew()
        claimed(store, attempt="mine:2", previous="mine:1").renew()
        sweep(store, "a1")
        assert list(store.list()) == []
        assert claimed(store).generation == 1


class TestFence:
    def test_the_result_of_a_claim_taken_over_is_not_taken(self, store: Store) -> None:
        late = claimed(store)
        newer = claimed(store, attempt="mine:2", previous="mine:1")
        with pytest.raises(LostClaimError):
            late.commit(RESULT, b"late")
        assert not store.exists(RESULT)
        newer.commit(RESULT, b"good")
        assert store.get(RESULT) == b"good"
        sweep(store, "a1")
        with pytest.raises(LostClaimError):
            late.commit(RESULT, b"late")
        assert store.get(RESULT) == b"good" and [info.name for info in store.list()] == [RESULT]

    def test_of_a_commit_and_a_takeover_at_the_same_moment_one_happens(self, tmp_path: Path) -> None:
        outcomes = set()
        for number in range(40):
            store = open_store(str(tmp_path / f"{number}"))
            mine, start = claimed(store), threading.Barrier(2)
            taken: list[Claim | Held] = []

            def take_over(store: Store = store, start: threading.Barrier = start, taken: list[Any] = taken) -> None:
                start.wait()
                taken.append(take(store, "a1", attempt="mine:2", previous="mine:1"))

            thread = threading.Thread(target=take_over)
            thread.start()
            start.wait()
            try:
                mine.commit(RESULT, b"result")
                committed = True
            except LostClaimError:
                committed = False
            thread.join()
            (claim,) = taken
            assert isinstance(claim, Claim)
            assert store.exists(RESULT) == committed, "who takes over after a commit finds its result"
            assert claim.generation == 3 if committed else claim.generation == 2
            outcomes.add(committed)
        assert outcomes <= {True, False}

    def test_a_holder_that_dies_between_commit_and_result_has_committed(self, store: Store) -> None:
        class Dying(LocalStore):
            def create(self, name: str, data: bytes | Path) -> bool:
                if name == RESULT:
                    raise StoreError("the power is gone")
                return super().create(name, data)

        mine = claimed(Dying(Path(store.uri)))
        with pytest.raises(StoreError, match="power"):
            mine.commit(RESULT, b"result")
        assert not store.exists(RESULT)
        claimed(store, attempt="yours:1")
        assert store.get(RESULT) == b"result"

    def test_states_written_after_the_takeover_do_not_count(self, store: Store) -> None:
        prefix = checkpoints_prefix("a1")

        def save(claim: Claim, number: int) -> str:
            name = f"{prefix}{claim.name}-{number:06d}.safetensors"
            store.put(name, b"state")
            return name

        first = claimed(store, states=prefix)
        counted = (save(first, 1), save(first, 2))
        second = claimed(store, attempt="mine:2", previous="mine:1", states=prefix)
        assert second.entry.states == counted
        save(first, 3)  # it was only stopped, and goes on
        more = save(second, 1)
        third = claimed(store, attempt="mine:3", previous="mine:2", states=prefix)
        assert third.entry.states == (*counted, more)

    def test_a_worker_stopped_past_its_lease_goes_on_in_vain(self, store: Store) -> None:
        """SIGSTOP, the trial is done elsewhere with other numbers, SIGCONT: the store holds one record, the other's."""
        script = """
import sys
from tests.helpers.trial_builders import Watcher, run_trial, trial, trial_data
from fod_bench.records.names import checkpoints_prefix
from fod_bench.records.claims import LostClaimError, take
from fod_bench.store import open_store
class Waiting(Watcher):
    def should_stop(self):
        if self.steps == 5:
            print("ready", flush=True)
            sys.stdin.readline()
            self.steps += 100
        return False
claim = take(open_store(sys.argv[1]), "a1", attempt="slow:1", lease=1.0, states=checkpoints_prefix("a1"))
try:
    with claim.beating():
        run_trial(trial(0.0), trial_data(), claim, Waiting())
    print("recorded")
except LostClaimError as error:
    print(error)
"""
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-c", script, store.uri],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        wait_for(lambda: _stopped_between_changes(child.pid, Path(store.uri)), "a moment without a change under way")
        taken: list[Claim] = []

        def take_over() -> bool:
            found = take(store, "a1", attempt="quick:1", states=checkpoints_prefix("a1"))
            taken.extend([found] if isinstance(found, Claim) else [])
            return bool(taken)

        wait_for(take_over, "the lease to run out")
        taken[0].release()
        record = run(store, data=trial_data(seed=5))
        before = {info.name: store.get(info.name) for info in store.list()}
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate("go on\n", timeout=LIMIT)
        assert said == "a1 was taken over by another worker; this one's work is not taken\n"
        assert {info.name: store.get(info.name) for info in store.list()} == before
        assert names(store)[-1] == "record.json" and not list(store.list("claims/"))
        assert Record.model_validate_json(store.get(record_name("a1"))) == record
        assert record.run.claim.startswith("00000003-")


def _stopped_between_changes(process: int, store: Path) -> bool:
    """Stop a child, and let it go on again if it was just writing: stopped then, it would keep the store from all others."""
    with (store / ".lock").open("rb") as lock:
        if not system.try_lock(lock):
            return False
        os.kill(process, signal.SIGSTOP)
        os.waitid(os.P_PID, process, os.WSTOPPED)
        if any((store / ".temporary").iterdir()):
            os.kill(process, signal.SIGCONT)
            return False
    return True


def _modified(store: Store) -> float:
    info = store.info("claims/a1/00000001.beat")
    assert info is not None
    return info.modified


def test_no_heartbeat_is_left_behind_by_a_result(tmp_path: Path) -> None:
    """The thread that renews a claim may be about to when the result is committed and the claim swept."""
    store = open_store(str(tmp_path / "store"))
    claimed = take(store, "k1", attempt="a")
    assert isinstance(claimed, Claim)
    claimed.commit("trials/k1/record.json", b"{}")
    sweep(store, "k1")
    claimed.renew()
    assert [info.name for info in store.list()] == ["trials/k1/record.json"]

"""What a worker leaves that dies between its result and the end of its work goes away, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.errors import StoreError
from fod_bench.records.claims import Claim, take
from fod_bench.records.names import record_name
from fod_bench.records.record import Record
from fod_bench.records.tidy import tidy_leftovers
from fod_bench.store import Store, open_store
from fod_bench.store.folder.store import LocalStore
from tests.helpers.trial_builders import Killed, Watcher, names, run, trial

EPOCHS_KEPT = ("best_image", "best_pixel", "last")
WHOLE = [
    *sorted([f"*/{kind}{epoch}.safetensors" for kind in ("", "scores-") for epoch in EPOCHS_KEPT] + ["*/curves.json"]),
    "record.json",
]


class Dying(LocalStore):
    """A folder whose user dies as soon as it has a record."""

    def delete(self, name: str) -> None:
        if self.exists(record_name("a1")):
            raise Killed
        super().delete(name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a trial that is recorded, whose worker then died; an earlier one's weights are there too."""
    made = open_store(str(tmp_path / "store"))
    with pytest.raises(Killed):
        run(made, trial(0.0), watcher=Watcher(5, "kill"))
    made.put("trials/a1/00000001-deadbeef/last.safetensors", b"never recorded")
    with pytest.raises(Killed):
        run(Dying(tmp_path / "store"), trial(0.0))
    assert made.exists(record_name("a1"))
    assert list(made.list("trials/a1/checkpoints/")) and list(made.list("claims/a1/"))
    return made


def test_the_next_worker_tidies_up(store: Store) -> None:
    before = Record.model_validate_json(store.get(record_name("a1")))
    assert run(store) == before
    assert names(store) == WHOLE and not list(store.list("claims/"))


def test_so_does_the_next_driver_without_training(store: Store) -> None:
    tidy_leftovers(store, ["a1", "b2"], [])
    assert names(store) == WHOLE and not list(store.list("claims/"))


def test_work_that_is_not_done_or_not_asked_about_is_left_alone(store: Store) -> None:
    store.delete(record_name("a1"))
    before = [info.name for info in store.list()]
    tidy_leftovers(store, ["a1"], [])
    assert [info.name for info in store.list()] == before
    run(store, trial(0.0))
    taken = take(store, "b2", attempt="mine:1")
    tidy_leftovers(store, ["c3"], [])
    assert isinstance(taken, Claim) and not taken.lost and list(store.list("claims/b2/"))


def test_a_damaged_record_is_left_to_whoever_repairs_it(store: Store) -> None:
    path = Path(store.location(record_name("a1")))
    path.write_bytes(path.read_bytes()[:-1])
    before = [info.name for info in store.list()]
    tidy_leftovers(store, ["a1"], [])
    assert [info.name for info in store.list()] == before
    with pytest.raises(StoreError):
        store.get(record_name("a1"))


def test_claims_of_other_results_go_when_the_result_is_there_and_nobody_holds_them(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    claims = {key: take(store, key, attempt="mine:1") for key in ("done", "held", "missing")}
    for key in ("done", "held"):
        store.put(f"features/{key}/manifest.json", b"{}")
    for key in ("done", "missing"):
        claim = claims[key]
        assert isinstance(claim, Claim)
        claim.release()
    tidy_leftovers(store, [], [(key, f"features/{key}/manifest.json") for key in claims])
    assert {info.name.split("/")[1] for info in store.list("claims/")} == {"held", "missing"}

"""What is found out about a store before anything is trained."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fod_bench.errors import StoreError
from fod_bench.machine.process import ProcessId
from fod_bench.store.folder.store import LocalStore
from fod_bench.store.open import open_store
from fod_bench.store.probe import MARK, check_store
from tests.helpers.commands import LIMIT
from tests.helpers.s3_servers import BUCKET, Server


class LateConditions(LocalStore):
    """A store that looks for the object before it writes, as some servers do: all who look at once may write."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._all_looked = threading.Barrier(16)

    def create(self, name: str, data: bytes | Path) -> bool:
        if name.startswith("probe/") and not self.exists(name):
            self._all_looked.wait(LIMIT)
            self.put(name, data)
            return True
        return super().create(name, data)


class NoConditions(LocalStore):
    """A store that ignores the condition, as s3rver does."""

    def create(self, name: str, data: bytes | Path) -> bool:
        self.put(name, data)
        return True


class Forgetful(LocalStore):
    """A store that gives back something else."""

    def get(self, name: str) -> bytes:
        return super().get(name)[:-1]


def names(store: LocalStore) -> list[str]:
    return [info.name for info in store.list()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_folder_is_marked_and_nothing_else_left(root: Path) -> None:
    store = LocalStore(root)
    for _ in range(2):
        assert check_store(store) == (True, (1,) * 6 + (0,))
        assert names(store) == [MARK]
    assert store.get(MARK) == b'{"format": 1}'


def test_what_a_dead_probe_left_is_cleared_and_a_living_ones_is_not(root: Path) -> None:
    store = LocalStore(root)
    code = "from fod_bench.machine.process import ProcessId; print(ProcessId.own().model_dump_json())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    for folder, owner in (("dead", dead), ("living", ProcessId.own().model_dump_json().encode()), ("young", b"{")):
        store.put(f"probe/{folder}/owner.json", owner)
        store.put(f"probe/{folder}/0", b"x")
    store.put("probe/old/0", b"x")  # of a version that named no owner
    os.utime(root / "probe" / "old" / "0", (1, 1))
    check_store(store)
    assert {name.rpartition("/")[0] for name in names(store)} == {"", "probe/living", "probe/young"}


def test_a_probe_that_fails_leaves_nothing(root: Path) -> None:
    class Failing(LocalStore):
        def create(self, name: str, data: bytes | Path) -> bool:
            if name.endswith("/3"):
                raise StoreError("no more")
            return super().create(name, data)

    with pytest.raises(StoreError, match="no more"):
        check_store(Failing(root))
    assert names(LocalStore(root)) == [MARK]


def test_a_bucket(s3: Callable[[str], Server]) -> None:
    server = s3("moto")
    store = open_store(server.address("probed"))
    assert check_store(store).exclusive_create
    assert [info.name for info in store.list()] == [MARK]


def test_a_store_that_lets_several_create(root: Path) -> None:
    probe = check_store(LateConditions(root))
    assert not probe.exclusive_create and probe.winners == (16,) * 6 + (0,)


def test_a_store_that_creates_over_what_is_there(root: Path) -> None:
    probe = check_store(NoConditions(root))
    assert not probe.exclusive_create and probe.winners == (16,) * 6 + (1,)


def test_a_store_from_before_the_mark_is_taken(root: Path) -> None:
    store = LocalStore(root)
    for name in ("trials/a/record.json", "features/b/train.safetensors", "claims/a/1", "runs/c/plan.json"):
        store.put(name, b"x")
    assert check_store(store).exclusive_create
    assert MARK in names(store)


@pytest.mark.parametrize("name", ["photos/cat.jpg", "trial.json", "fod-bench.jsonl"])
def test_other_things_are_not_written_among(root: Path, name: str) -> None:
    store = LocalStore(root)
    store.put("trials/a/record.json", b"x")
    store.put(name, b"x")
    with pytest.raises(StoreError, match=f"store {root}: it holds other things, such as {name}; give an empty"):
        check_store(store)
    assert MARK not in names(store)


def test_other_things_in_a_bucket(s3: Callable[[str], Server]) -> None:
    server = s3("moto")
    server.client().put_object(Bucket=BUCKET, Key="taken/photos/cat.jpg", Body=b"x")
    with pytest.raises(StoreError, match=f"store s3://{BUCKET}/taken: it holds other things, such as photos/cat.jpg"):
        check_store(open_store(server.address("taken")))


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (b'{"format": 2}', "has format 2, this version of fod-bench knows formats up to 1; use a newer one"),
        (b'{"format": "1"}', "does not say which format"),
        (b"[]", "does not say which format"),
        (b"\xff", "does not say which format"),
    ],
)
def test_a_mark_that_is_not_understood(root: Path, mark: bytes, said: str) -> None:
    store = LocalStore(root)
    store.put(MARK, mark)
    with pytest.raises(StoreError, match=said) as caught:
        check_store(store)
    assert str(root / MARK) in str(caught.value) and names(store) == [MARK]


def test_what_is_read_must_be_what_was_written(root: Path) -> None:
    LocalStore(root).put(MARK, b'{"format": 1} ')
    with pytest.raises(StoreError, match="reads otherwise than it was written"):
        check_store(Forgetful(root))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        check_store(LocalStore(tmp_path / "file" / "store"))


def test_a_bucket_that_is_not_there(s3: Callable[[str], Server]) -> None:
    endpoint = s3("moto").endpoint
    with pytest.raises(StoreError, match="there is no bucket 'nowhere' at"):
        check_store(open_store(f"s3://nowhere/a?endpoint={endpoint}"))

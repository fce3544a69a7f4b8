"""The store in a folder: killed at any point, damaged from outside, out of space, locked by a stopped process."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fod_bench.errors import BlockedObjectError, DamagedObjectError, StoreError
from fod_bench.store import ObjectMissingError
from fod_bench.store.folder import files
from fod_bench.store.folder.store import LocalStore

NAME = "trials/a/record.json"
OLD, NEW = b"old value\n" * 50, b"new value, of another length\n" * 70

REWRITE = """
import sys
from fod_bench.store import open_store
store, number = open_store(sys.argv[1]), 0
while True:
    number += 1
    store.put("state.json", b"%08d" % number * 20000)
    print(number, flush=True)
"""

CHANGING = {
    "open",
    "write",
    "flush",
    "fsync",
    "flock",
    "mkdir",
    "replace",
    "link",
    "unlink",
    "rmdir",
    "close",
    "__exit__",
}


def killed_at(call: int, action: Callable[[], object]) -> bool:
    """Run `action` in a forked process that gets SIGKILL before its `call`-th call that changes files; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = call

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal left
            if event == "c_call" and getattr(argument, "__name__", "") in CHANGING:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            action()
            sys.setprofile(None)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def state(root: Path) -> bytes | None:
    """What a process that comes later finds under NAME; the folder must be in order."""
    store = LocalStore(root)
    assert list((root / ".temporary").glob("*")) == []
    listed = [info.name for info in store.list()]
    assert listed in ([], [NAME])
    return store.get(NAME) if listed else None


class TestKilledAnywhere:
    """A process is killed before each single call of an operation that changes files, so in every state there is."""

    def outcomes(
        self, root: Path, prepare: Callable[[LocalStore], None], action: Callable[[LocalStore], object]
    ) -> list:
        found, call, killed = [], 0, True
        while killed:
            call += 1
            prepare(LocalStore(root))
            killed = killed_at(call, lambda: action(LocalStore(root)))
            found.append(state(root))
        return found

    def test_put(self, tmp_path: Path) -> None:
        found = self.outcomes(tmp_path, lambda store: store.put(NAME, OLD), lambda store: store.put(NAME, NEW))
        turn = found.index(NEW)
        assert turn > 10
        assert found[:turn] == [OLD] * turn
        assert set(found[turn:]) == {NEW}

    def test_put_after_put_without_repair(self, tmp_path: Path) -> None:
        """The next writer is killed as well, on what the last one left."""
        LocalStore(tmp_path).put(NAME, OLD)
        contents, call, killed = {OLD}, 0, True
        while killed:
            call += 1
            content = b"%d " % call * 100
            contents.add(content)
            killed = killed_at(call, lambda content=content: LocalStore(tmp_path).put(NAME, content))
            assert state(tmp_path) in contents
        assert state(tmp_path) == content
        assert (tmp_path / ".checksums" / NAME).read_text().count("\n") == 1

    def test_create(self, tmp_path: Path) -> None:
        found = self.outcomes(tmp_path, lambda store: store.delete(NAME), lambda store: store.create(NAME, NEW))
        assert set(found) == {None, NEW}
        assert found[-1] == NEW

    def test_delete(self, tmp_path: Path) -> None:
        found = self.outcomes(tmp_path, lambda store: store.put(NAME, OLD), lambda store: store.delete(NAME))
        assert set(found) == {OLD, None}
        assert found[-1] is None

    def test_a_busy_writer_at_random_moments(self, tmp_path: Path) -> None:
        rng = random.Random(0)
        for _ in range(5):
            writer = subprocess.Popen([sys.executable, "-c", REWRITE, str(tmp_path)], stdout=subprocess.PIPE)
            assert writer.stdout is not None
            for _ in range(rng.randrange(1, 12)):
                said = int(writer.stdout.readline())
            for _ in range(rng.randrange(20_000)):  # some way into the next put
                pass
            writer.kill()
            writer.communicate()
            store = LocalStore(tmp_path)
            content = store.get("state.json")
            assert content == content[:8] * 20000
            assert int(content[:8]) >= said
            assert list((tmp_path / ".temporary").iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def without_checksum(path: Path) -> None:
    (path.parents[2] / ".checksums" / NAME).unlink()


def with_empty_checksum(path: Path) -> None:
    (path.parents[2] / ".checksums" / NAME).write_text("")


class TestDamage:
    @pytest.mark.parametrize("damage", [flip, truncate, without_checksum, with_empty_checksum])
    def test_is_found_and_named(self, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        damage(tmp_path / NAME)
        for read in (store.get, store.open, lambda name: list(store.stream(name))):
            with pytest.raises(DamagedObjectError, match=f"{NAME} is damaged"):
                read(NAME)
        store.put(NAME, NEW)  # made anew
        assert store.get(NAME) == store.open(NAME).read() == NEW

    def test_is_found_after_it_was_opened(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        store.open(NAME).close()
        truncate(tmp_path / NAME)
        with pytest.raises(DamagedObjectError):
            store.open(NAME)

    def test_is_found_again_by_sha256sum(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        check = ["sha256sum", "--check", "--status", f".checksums/{NAME}"]
        assert subprocess.run(check, cwd=tmp_path).returncode == 0
        flip(tmp_path / NAME)
        assert subprocess.run(check, cwd=tmp_path).returncode == 1

    def test_opening_checks_a_large_file_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        store.open(NAME).close()
        monkeypatch.setattr(files, "digest_of", None)
        assert store.open(NAME).read() == OLD


class TestRefusals:
    def test_no_space_leaves_the_old_value(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # stands in for a full disk
        try:
            with pytest.raises(StoreError, match=f"cannot write object {NAME}: File too large"):
                store.put(NAME, b"x" * 100_000)
            with pytest.raises(StoreError, match="cannot write object b"):
                store.create("b", b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert state(tmp_path) == OLD

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StoreError, match="cannot write object a: Not a directory"):
            LocalStore(tmp_path / "file" / "store").put("a", b"")

    @pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
    def test_a_name_inside_another(self, tmp_path: Path, first: str, second: str) -> None:
        store = LocalStore(tmp_path)
        store.put(first, b"x")
        for write in (store.put, store.create):
            with pytest.raises(StoreError, match=f"cannot write object {second}: "):
                write(second, b"y")
        assert [info.name for info in store.list()] == [first]
        assert store.get(first) == b"x"

    def test_a_lock_that_is_not_let_go(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path, lock_seconds=0.02)
        store.put("a", b"x")
        with (tmp_path / ".lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(StoreError, match=r"another process has held .*\.lock"):
                store.put("a", b"y")
            assert store.get("a") == b"x"  # reading needs no lock
        store.put("a", b"y")
        assert store.get("a") == b"y"


WAYS: dict[str, Callable[[Path], object]] = {
    "file": lambda place: place.write_text("by hand"),
    "pipe": os.mkfifo,
    "link to itself": lambda place: place.symlink_to(place.name),
    "link to nowhere": lambda place: place.symlink_to("nowhere"),
    "link to a file": lambda place: place.symlink_to(os.devnull),
}


class TestWhatStandsInTheWay:
    """What a person must move concerns one object; it is no fault of the store."""

    def blocked(self, root: Path, place: Path, odd: str) -> None:
        """No object NAME can be had, `place` is named, and others are as ever."""
        store = LocalStore(root)
        for write in (store.put, store.create):
            with pytest.raises(BlockedObjectError, match=rf"cannot write object {NAME}: .*move .*away") as caught:
                write(NAME, NEW)
            assert str(place) in str(caught.value)
        assert str(place) in (store.obstacle(NAME) or "")
        assert store.info(NAME) is None and not store.exists(NAME)
        with pytest.raises(ObjectMissingError):
            store.get(NAME)
        store.delete(NAME)
        store.put("trials/b/record.json", OLD)
        assert store.get("trials/b/record.json") == OLD and store.obstacle("trials/b/record.json") is None
        assert "trials/b/record.json" in [info.name for info in store.list("trials/")]
        assert list(store.list("trials/a/")) == [] and os.path.lexists(place), odd

    @pytest.mark.parametrize("odd", WAYS)
    def test_what_is_no_folder_in_a_folders_place(self, tmp_path: Path, odd: str) -> None:
        (tmp_path / "trials").mkdir()
        WAYS[odd](tmp_path / "trials/a")
        self.blocked(tmp_path, tmp_path / "trials/a", odd)

    def test_a_folder_in_an_objects_place(self, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir(parents=True)
        self.blocked(tmp_path, tmp_path / NAME, "folder")

    @pytest.mark.parametrize("odd", WAYS)
    def test_in_the_place_of_its_checksums_folder(self, tmp_path: Path, odd: str) -> None:
        (tmp_path / ".checksums/trials").mkdir(parents=True)
        WAYS[odd](tmp_path / ".checksums/trials/a")
        self.blocked(tmp_path, tmp_path / ".checksums/trials/a", odd)

    @pytest.mark.parametrize("odd", WAYS)
    def test_in_the_place_of_its_checksum(self, tmp_path: Path, odd: str) -> None:
        """An object without a checksum is damaged, and what can be replaced is."""
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        checksum = tmp_path / ".checksums" / NAME
        checksum.unlink()
        WAYS[odd](checksum)
        with pytest.raises(DamagedObjectError, match="it has no checksum"):
            store.get(NAME)
        store.delete(NAME)
        assert store.create(NAME, NEW) and store.get(NAME) == NEW

    def test_a_folder_in_the_place_of_its_checksum(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put(NAME, OLD)
        checksum = tmp_path / ".checksums" / NAME
        checksum.unlink()
        checksum.mkdir()
        with pytest.raises(DamagedObjectError, match="it has no checksum"):
            store.get(NAME)
        with pytest.raises(BlockedObjectError, match=f"cannot delete object {NAME}: .*move {checksum} away"):
            store.delete(NAME)
        self.blocked(tmp_path, checksum, "folder")

    def test_the_folder_of_a_kind_is_the_stores(self, tmp_path: Path) -> None:
        (tmp_path / "trials").write_text("by hand")
        with pytest.raises(StoreError, match="cannot write object trials/a") as caught:
            LocalStore(tmp_path).put(NAME, OLD)
        assert not isinstance(caught.value, BlockedObjectError)


class TestTemporaryFiles:
    def test_of_the_dead_are_swept_and_of_the_living_kept(self, tmp_path: Path) -> None:
        LocalStore(tmp_path).put("a", b"x")
        dead, living = tmp_path / ".temporary/dead", tmp_path / ".temporary/living"
        dead.write_bytes(b"x")
        with living.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            LocalStore(tmp_path)
            assert not dead.exists()
            assert living.exists()
        LocalStore(tmp_path)
        assert not living.exists()

    def test_files_of_other_hands_are_not_listed(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.put("a", b"x")
        (tmp_path / ".DS_Store").write_text("x")
        (tmp_path / "with a space.txt").write_text("x")
        assert [info.name for info in store.list()] == ["a"]

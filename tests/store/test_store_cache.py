"""The node's cache: bounded, shared, checked, and never a reason to fail."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.store import cache, open_store
from fod_bench.store.cache import NodeCache
from tests.helpers.commands import LIMIT, wait_for
from tests.helpers.s3_servers import Server

CONTENT = b"content" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Reader = Callable[[], subprocess.Popen[str]]

READER = """
import sys, time
from pathlib import Path
from fod_bench.store.cache import NodeCache
folder, digest, log, gate = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
def pieces():
    with log.open("a") as file:
        file.write("begun\\n")
    yield b"content" * 500
    while not gate.exists():
        time.sleep(0.01)
    yield b"content" * 500
print("ready", flush=True)
with NodeCache(folder).open(digest, 7000, pieces) as file:
    print(len(file.read()), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def pieces() -> Iterator[bytes]:
    yield CONTENT[:3000]
    yield CONTENT[3000:]


def never() -> Iterator[bytes]:
    raise AssertionError("read although it is there")


def put_in(node: NodeCache, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    with node.open(digest, len(content), lambda: iter([content])) as file:
        assert file.read() == content
    return digest


def kept(folder: Path) -> set[str]:
    """Names of all files in the cache, unfinished ones too."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def reader(folder: Path, tmp_path: Path) -> Iterator[Reader]:
    """Starts a process that reads the content through the cache, and halts in the middle until there is a file `gate`."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        arguments = (str(folder), DIGEST, str(tmp_path / "log"), str(tmp_path / "gate"))
        process = subprocess.Popen([sys.executable, "-c", READER, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def begun(tmp_path: Path) -> int:
    """How many have begun to read."""
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


class TestKeeping:
    def test_read_once(self, folder: Path) -> None:
        for node, source in ((NodeCache(folder), pieces), (NodeCache(folder), never)):
            for given in (source, never):
                with node.open(DIGEST, len(CONTENT), given) as file:
                    assert file.read() == CONTENT
                    assert os.fstat(file.fileno()).st_size == len(CONTENT)
        assert kept(folder) == {DIGEST}

    def test_an_empty_object(self, folder: Path) -> None:
        put_in(NodeCache(folder), b"")

    def test_what_fails_in_the_middle_is_not_kept(self, folder: Path) -> None:
        def failing() -> Iterator[bytes]:
            yield b"half"
            raise DamagedObjectError("damaged")

        node = NodeCache(folder)
        with pytest.raises(DamagedObjectError):
            node.open(DIGEST, len(CONTENT), failing)
        assert kept(folder) == set()
        with node.open(DIGEST, len(CONTENT), pieces) as file:
            assert file.read() == CONTENT

    def test_a_damaged_file_is_read_anew(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        put_in(NodeCache(folder), CONTENT)
        (folder / DIGEST).write_bytes(CONTENT[:-1] + b"X")
        with NodeCache(folder).open(DIGEST, len(CONTENT), pieces) as file:
            assert file.read() == CONTENT
        assert "in this node's cache: read anew" in caplog.text
        assert (folder / DIGEST).read_bytes() == CONTENT


class TestBounds:
    def test_what_was_not_used_for_longest_goes(self, folder: Path) -> None:
        node = NodeCache(folder, 3000)
        digests = [put_in(node, b"%d" % number * 1000) for number in range(3)]
        for age, digest in enumerate(digests):
            os.utime(folder / digest, (1000 + age, 1000 + age))
        node.open(digests[0], 1000, never).close()  # used again
        digests.append(put_in(node, b"3" * 1000))
        assert kept(folder) == {digests[0], digests[2], digests[3]}

    def test_an_open_file_outlives_its_removal(self, folder: Path) -> None:
        node = NodeCache(folder, len(CONTENT))
        with node.open(DIGEST, len(CONTENT), pieces) as file:
            put_in(node, b"x" * len(CONTENT))
            assert DIGEST not in kept(folder)
            assert file.read() == CONTENT

    def test_what_is_too_large_goes_by(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        node = NodeCache(folder, 2000)
        small = put_in(node, b"x" * 1000)
        put_in(node, CONTENT)
        assert kept(folder) == {small}
        assert "kept in memory" in caplog.text

    def test_no_cache_at_all(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        put_in(NodeCache(folder, 0), CONTENT)
        assert not folder.exists() and not caplog.text

    def test_by_default_half_of_what_the_disk_has(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Usage:
            free = 2500

        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
        node = NodeCache(folder)
        digests = [put_in(node, b"%d" % number * 1000) for number in range(2)]
        assert kept(folder) == {digests[1]}, "the second would leave the others less than the cache has"

    def test_the_environment_says_where_and_how_large(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FOD_BENCH_CACHE", str(folder))
        monkeypatch.setenv("FOD_BENCH_CACHE_GIB", "0.000002")  # 2147 bytes
        node = NodeCache.of_this_node()
        digests = [put_in(node, b"%d" % number * 1000) for number in range(3)]
        assert digests[2] in kept(folder) and len(kept(folder)) == 2
        for wrong in ("much", "-1", "", "nan"):
            monkeypatch.setenv("FOD_BENCH_CACHE_GIB", wrong)
            with pytest.raises(StoreError, match=f"FOD_BENCH_CACHE_GIB is '{wrong}'; it should be a number of GiB"):
                NodeCache.of_this_node()


class TestSharing:
    def test_two_at_once_read_once(self, folder: Path, tmp_path: Path, reader: Reader) -> None:
        readers = [reader()]
        wait_for(lambda: begun(tmp_path) == 1, "a reader to begin")
        readers.append(reader())
        (tmp_path / "gate").touch()
        assert [process.communicate(timeout=LIMIT)[0] for process in readers] == ["7000\n"] * 2
        assert begun(tmp_path) == 1
        assert kept(folder) == {DIGEST}

    def test_a_killed_reader_leaves_the_way_free(self, folder: Path, tmp_path: Path, reader: Reader) -> None:
        process = reader()
        wait_for(lambda: begun(tmp_path) == 1, "a reader to begin")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT)
        assert kept(folder) == {DIGEST}, "unfinished"
        other = put_in(NodeCache(folder), b"another object")
        assert kept(folder) == {other}, "what the dead one left is swept"
        put_in(NodeCache(folder), CONTENT)

    def test_a_stopped_reader_is_not_waited_for(
        self,
        folder: Path,
        tmp_path: Path,
        reader: Reader,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(cache, "_STALLED_SECONDS", 0.1)
        process = reader()
        wait_for(lambda: begun(tmp_path) == 1, "a reader to begin")
        put_in(NodeCache(folder), CONTENT)
        assert "another process has stopped" in caplog.text
        (tmp_path / "gate").touch()
        assert process.communicate(timeout=LIMIT)[0] == "7000\n"


class TestFullDisk:
    @pytest.fixture
    def disk(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Limit the room that the file system has for the cache, in bytes."""

        def limit(capacity: int) -> None:
            def reserve(file: int, start: int, size: int) -> None:
                if size + sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > capacity:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(os, "posix_fallocate", reserve)

        return limit

    def test_older_files_make_room(
        self, folder: Path, disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        disk(8000)
        node = NodeCache(folder)
        put_in(node, b"x" * 5000)
        put_in(node, CONTENT)
        assert kept(folder) == {DIGEST} and not caplog.text

    def test_without_room_it_is_read_into_memory(
        self, folder: Path, disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        disk(100)
        node = NodeCache(folder)
        for number in range(3):
            put_in(node, b"%d" % number * 5000)
        assert kept(folder) == set()
        assert [record.levelno for record in caplog.records] == [logging.WARNING], "said once"
        assert f"{folder} cannot be used (No space left on device)" in caplog.text

    def test_where_no_room_can_be_taken_beforehand_it_works_as_well(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)  # as on macOS
        node = NodeCache(folder, 2 * len(CONTENT))
        digests = {put_in(node, CONTENT), put_in(node, b"")}
        assert kept(folder) == digests and not caplog.text
        with NodeCache(folder).open(DIGEST, len(CONTENT), never) as file:
            assert file.read() == CONTENT

    def test_a_disk_that_fills_up_in_the_middle(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def source() -> Iterator[bytes]:
            asked.append(1)
            yield CONTENT[:3000]
            if len(asked) < 3:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # as the write of it would
            yield CONTENT[3000:]

        with NodeCache(folder).open(DIGEST, len(CONTENT), source) as file:
            assert file.read() == CONTENT
        assert len(asked) == 3 and kept(folder) == set()

    def test_a_folder_that_cannot_be_one(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder.write_text("a file")
        node = NodeCache(folder)
        put_in(node, CONTENT)
        put_in(node, b"other")
        assert len(caplog.records) == 1 and "let FOD_BENCH_CACHE name another folder" in caplog.text


class TestBehindAStore:
    def test_each_content_is_read_once(self, s3: Callable[[str], Server], tmp_path: Path) -> None:
        server = s3("moto")
        store = open_store(server.address("cached"))
        for name, content in (("a", CONTENT), ("b", CONTENT), ("a", b"replaced")):
            store.put(name, content)
            with store.open(name) as file:
                assert file.read() == content
        files = kept(tmp_path / "cache")
        assert files == {DIGEST, hashlib.sha256(b"replaced").hexdigest()}
        inode = (tmp_path / "cache" / DIGEST).stat().st_ino
        with open_store(store.uri).open("b") as file:
            assert os.fstat(file.fileno()).st_ino == inode, "the file itself, which all processes of a node share"

"""The contract that every store keeps, on every server. Another store joins by a further parameter of the fixture `kind`.

Where a bucket differs from a folder the tests say so: a name can be an object and the beginning of others, and its clock may
count whole seconds. A listing of Swift may lag behind what was written; that of the small Swift of these tests does not.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fod_bench.errors import StoreError
from fod_bench.store import ObjectMissingError, Store, open_store
from fod_bench.store.probe import check_store
from tests.helpers.commands import LIMIT, wait_for
from tests.helpers.s3_servers import Server

KINDS = [
    "folder",
    "moto",
    "moto-tls",
    "swift",
    "swift-tls",
    pytest.param("ceph", marks=pytest.mark.ceph),
    pytest.param("ceph-tls", marks=pytest.mark.ceph),
]
NOT_EXCLUSIVE = ("swift", "swift-tls")
"""Servers that tell several of those who create one object at once that they did."""


BAD_NAMES = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "../a",
    "a/.hidden",
    ".lock",
    "a b",
    "ä",
    "a\\b",
    "a\nb",
    "a\n",
    "a:b",
]

RACERS, ROUNDS = 3, 5
CREATE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from fod_bench.store import open_store
store = open_store(sys.argv[1])
values = [f"{sys.argv[2]}.{number}" for number in range(4)]
with ThreadPoolExecutor(len(values)) as pool:
    list(pool.map(store.exists, values))  # connections are made
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        created = pool.map(lambda value: store.create(name, value.encode()), values)
        print(json.dumps([value for value, mine in zip(values, created) if mine]), flush=True)
"""

VALUES = 25
REWRITE = """
import sys, threading
from fod_bench.store import open_store
store, stop = open_store(sys.argv[1]), threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
print("ready", flush=True)
number = 0
while not stop.is_set():
    number += 1
    store.put("state.json", b"%08d" % number * 3000)
print(number)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that runs `script`, has said it is ready, and waits at its standard input."""
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(processes: list[subprocess.Popen[str]], line: str) -> list[str]:
    """Give all `processes` a line at once, and join what they answer with."""
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        answers += json.loads(process.stdout.readline())
    return answers


def names(store: Store, prefix: str = "") -> list[str]:
    """What a listing names."""
    return [info.name for info in store.list(prefix)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path, s3: Callable[[str], Server]) -> Store:
    if kind == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(s3(kind).address(f"{uuid.uuid4().hex}/store"))


class TestContract:
    def test_what_was_put_is_got(self, store: Store) -> None:
        for content in (b"", b"one", b"\x00\xff" * 100_000, b"two"):
            store.put("trials/a/record.json", content)
            assert store.get("trials/a/record.json") == content
            assert b"".join(store.stream("trials/a/record.json")) == content
            with store.open("trials/a/record.json") as file:
                assert file.read() == content
                assert os.fstat(file.fileno()).st_size == len(content), "a real file, which can be mapped"
            assert store.exists("trials/a/record.json")

    def test_a_large_file(self, store: Store, tmp_path: Path) -> None:
        content = random.Random(7).randbytes(68_000_001)  # more than goes in one request, and an odd end
        source = tmp_path / "source.bin"
        source.write_bytes(content)
        store.put("a", source)
        assert store.get("a") == content
        assert b"".join(store.stream("a")) == content
        with store.open("a") as file:
            assert file.read() == content
        store.put("a", b"small")
        assert store.get("a") == b"small"

    def test_many_threads_use_one_store(self, store: Store) -> None:
        def work(number: int) -> bool:
            name, content = f"trials/{number}/record.json", b"%d" % number * 1000
            store.put(name, content)
            return store.get(name) == content and store.exists(name)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert len(names(store, "trials/")) == 24

    def test_an_open_file_stays_whole(self, store: Store) -> None:
        store.put("a", b"first" * 1000)
        with store.open("a") as file:
            store.put("a", b"other")
            store.delete("a")
            assert file.read() == b"first" * 1000

    def test_a_file_is_taken_in_as_a_copy(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(b"content" * 400_000)
        store.put("a", source)
        assert store.create("b", source)
        source.write_bytes(b"changed")
        assert store.get("a") == store.get("b") == b"content" * 400_000

    def test_a_file_that_is_not_there_is_named(self, store: Store, tmp_path: Path) -> None:
        store.put("a", b"before")
        with pytest.raises(StoreError, match=r"nowhere\.bin.*No such file"):
            store.put("a", tmp_path / "nowhere.bin")
        assert store.get("a") == b"before"

    def test_create_takes_the_first_value_only(self, store: Store) -> None:
        assert store.create("claims/a/1", b"mine") is True
        assert store.create("claims/a/1", b"yours") is False
        assert store.get("claims/a/1") == b"mine"
        store.delete("claims/a/1")
        assert store.create("claims/a/1", b"yours") is True
        assert store.get("claims/a/1") == b"yours"

    def test_of_racing_processes_one_creates(self, store: Store, kind: str) -> None:
        processes = [start(CREATE, store.uri, f"worker-{number}") for number in range(RACERS)]
        for name in (f"claims/a/{number}" for number in range(ROUNDS)):
            won = ask(processes, name)
            assert store.get(name).decode() in won
            assert len(won) == 1 or kind in NOT_EXCLUSIVE
            assert ask(processes, name) == [], "there is one now, and no race"
        for process in processes:
            process.communicate(timeout=LIMIT)

    def test_the_probe_tells_whether_one_creates(self, store: Store, kind: str) -> None:
        probe = check_store(store)
        assert probe.exclusive_create is (kind not in NOT_EXCLUSIVE), probe
        assert names(store) == ["fod-bench.json"]

    def test_a_reader_beside_a_writer_sees_whole_values(self, store: Store) -> None:
        store.put("state.json", b"%08d" % 0 * 3000)
        writer = start(REWRITE, store.uri)
        seen = set()

        def enough() -> bool:
            content = store.get("state.json")
            assert content == content[:8] * 3000
            seen.add(int(content[:8]))
            return len(seen) >= VALUES

        wait_for(enough, f"{VALUES} values")
        last = int(writer.communicate(timeout=LIMIT)[0])
        assert int(store.get("state.json")[:8]) == last

    def test_missing_objects(self, store: Store) -> None:
        store.put("trials/a/record.json", b"x")
        for name in ("none", "trials/a", "trials/b/record.json", "trials/a/record.json/deeper"):
            assert not store.exists(name)
            assert store.info(name) is None
            for read in (store.get, store.open, lambda name: list(store.stream(name))):
                with pytest.raises(ObjectMissingError, match=f"no object {name}$"):
                    read(name)
            store.delete(name)
        assert issubclass(ObjectMissingError, StoreError)
        assert issubclass(ObjectMissingError, LookupError)

    def test_list_is_by_the_beginning_of_names_and_sorted(self, store: Store, kind: str) -> None:
        put = ["a/x", "a-b/x", "a.b", "ab/c/d", "ab/c/e", "b"]
        if kind != "folder":
            put.append("a")  # a folder cannot also be a file; in a bucket nothing is a folder
        for name in put:
            store.put(name, name.encode())
        assert names(store) == sorted(put)
        for prefix in ("a", "a/", "ab/c", "ab/c/", "ab/c/e", "none", "none/x"):
            assert names(store, prefix) == sorted(name for name in put if name.startswith(prefix))
        assert [store.get(name).decode() for name in put] == put

    def test_a_listing_of_many_pages(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bucket gives a thousand names at a time; here it gives three."""
        monkeypatch.setattr("fod_bench.store.s3.listing.PAGE", 3)
        names = sorted(
            f"trials/{key}/x" for key in ("0a", "0b", "0c", "0d", "1", "10", "7f", "70", "a", "f0", "ff", "z", "G", "-")
        )
        for name in [*names, "trials.x", "other/0"]:
            store.put(name, b"")
        assert [info.name for info in store.list("trials/")] == names
        assert [info.name for info in store.list("trials/0")] == [name for name in names if name.startswith("trials/0")]

    def test_size_and_time(self, store: Store) -> None:
        before = store.now()
        store.put("a", b"12345")
        (listed,) = store.list()
        asked = store.info("a")
        assert asked is not None
        for info in (listed, asked):
            assert (info.name, info.size) == ("a", 5)
            assert before - 2 <= info.modified <= store.now() + 2, "by one clock, be it in whole seconds"
        earlier, now, later = time.time(), store.now(), time.time()
        assert earlier - 2 <= now <= later + 2

    def test_an_empty_store(self, store: Store) -> None:
        assert list(store.list()) == []
        assert not store.exists("a")
        store.delete("a")

    def test_delete(self, store: Store) -> None:
        store.put("a/b/c", b"x")
        store.put("a/d", b"y")
        store.delete("a/b/c")
        assert names(store) == ["a/d"]
        with pytest.raises(ObjectMissingError):
            store.open("a/b/c")
        store.put("a/b", b"z")  # where a folder was needed before
        assert store.get("a/b") == b"z"

    def test_the_uri_opens_it_again(
        self, store: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put("a", b"x")
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert open_store(store.uri).get("a") == b"x"
        assert store.location("a").endswith("/a")

    def test_bad_names_are_refused(self, store: Store) -> None:
        for name in BAD_NAMES:
            calls = (
                lambda name: store.put(name, b""),
                lambda name: store.create(name, b""),
                store.get,
                store.open,
                lambda name: list(store.stream(name)),
                store.info,
                store.exists,
                store.delete,
                store.location,
            )
            for call in calls:
                with pytest.raises(ValueError, match="cannot name an object"):
                    call(name)
            if name not in ("", "a/"):  # these are beginnings of names
                with pytest.raises(ValueError, match="cannot name an object"):
                    list(store.list(name))

    def test_all_permitted_characters(self, store: Store) -> None:
        name = "Az09._+@=-/rec_div@8+16=x.json"
        store.put(name, b"x")
        assert names(store) == [name]
        assert store.get(name) == b"x"


class TestOpen:
    def test_paths_and_file_addresses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        open_store("my store").put("a", b"x")
        for uri in (str(tmp_path / "my store"), (tmp_path / "my store").as_uri(), "~/my store", "./my store"):
            assert open_store(uri).get("a") == b"x"

    def test_opening_makes_nothing(self, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "new"))
        assert not store.exists("a")
        assert list(store.list("a/")) == []
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("gs://bucket/prefix", "unknown kind of store 'gs'"),
            ("file://host/path", "three slashes"),
            ("", "empty"),
        ],
    )
    def test_refused_addresses(self, uri: str, message: str) -> None:
        with pytest.raises(StoreError, match=message):
            open_store(uri)

    def test_a_file_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StoreError, match="this is a file"):
            open_store(str(tmp_path / "file"))

    def test_heavy_libraries_are_not_imported(self) -> None:
        script = (
            "import sys, fod_bench.store, fod_bench.store.tensors, fod_bench.evaluation.ranking\n"
            "print(sorted({'torch', 'ray', 'timm', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

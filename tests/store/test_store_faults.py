"""A store in a bucket behind a network that fails: every operation comes to its right end, or says in one line that it did not."""

from __future__ import annotations

import contextlib
import io
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fod_bench.errors import DamagedObjectError, StoreError
from fod_bench.store import Store, open_store
from fod_bench.store.probe import MARK, check_store
from fod_bench.store.s3 import connection
from tests.helpers.commands import LIMIT, wait_for
from tests.helpers.faulty_proxy import Fault, FaultyProxy
from tests.helpers.s3_servers import BUCKET, Server
from tests.helpers.stale_list import StaleListStore

SMALL = b"small" * 1000
LARGE = random.Random(7).randbytes(68_000_001)
"""More than goes in one request either way."""


class Place(NamedTuple):
    """A prefix of moto's bucket, seen through the proxy and without it."""

    server: Server
    prefix: str
    proxy: FaultyProxy
    direct: Store

    def store(self, patience: float) -> Store:
        """The store behind the proxy."""
        return open_store(self.server.address(self.prefix, self.proxy.endpoint), patience=patience)


@pytest.fixture
def place(s3: Callable[[str], Server]) -> Iterator[Place]:
    server, prefix = s3("moto"), f"{uuid.uuid4().hex}/store"
    with FaultyProxy(server.endpoint) as proxy:
        yield Place(server, prefix, proxy, open_store(server.address(prefix)))


def read_file(store: Store, name: str) -> bytes:
    """Content of an object's file."""
    with store.open(name) as file:
        return file.read()


OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "put": lambda store: store.put("put", b"new" * 1000),
    "create": lambda store: store.create("created", b"new" * 1000),
    "get": lambda store: store.get("a/1"),
    "stream": lambda store: b"".join(store.stream("a/2")),
    "open": lambda store: read_file(store, "a/3"),
    "exists": lambda store: store.exists("a/1"),
    "list": lambda store: [info.name for info in store.list("a/")],
    "delete": lambda store: store.delete("deleted"),
}
RESULTS = {
    "put": None,
    "create": True,
    "get": b"1" + SMALL,
    "stream": b"2" + SMALL,
    "open": b"3" + SMALL,
    "exists": True,
    "list": ["a/1", "a/2", "a/3"],
    "delete": None,
}
FAULTS = {
    "delayed": Fault("delay", seconds=100),
    "dropped": Fault("drop"),
    "failing": Fault("error", status=500),
    "throttled": Fault("error", status=503),
    "reset while asking": Fault("break_upload", after=100),
    "unanswered": Fault("swallow"),
    "cut in the status": Fault("cut_head", after=11),
    "cut in the headers": Fault("cut_head", after=70),
    "cut before the empty line": Fault("cut_head", after=1 << 20),
    "reset while answering": Fault("reset", after=50),
    "cut while answering": Fault("truncate", after=50),
}


def prepare(store: Store) -> None:
    """What the operations find."""
    for name in ("a/1", "a/2", "a/3"):
        store.put(name, name[2:].encode() + SMALL)
    store.put("put", b"old")
    store.put("deleted", b"old")


def check_written(store: Store) -> None:
    """What the operations leave."""
    assert store.get("put") == store.get("created") == b"new" * 1000
    assert not store.exists("deleted")


@contextlib.contextmanager
def running(store: Store, works: dict[str, Callable[[Store], Any]]) -> Iterator[dict[str, Future[Any]]]:
    """All of `works` at once, in threads."""
    with ThreadPoolExecutor(len(works)) as pool:
        yield {name: pool.submit(work, store) for name, work in works.items()}


class TestFaultsThatPass:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
    def test_everything_ends_well_after_a_fault(self, place: Place, fault: Fault) -> None:
        prepare(place.direct)
        store = place.store(patience=LIMIT)
        place.proxy.inject(fault)
        with running(store, OPERATIONS) as futures:
            # Each has met the fault, and some more than once, before it ends.
            repeated = 0 if fault.kind == "delay" else 3
            wait_for(lambda: place.proxy.counts[fault.kind] >= len(OPERATIONS) + repeated, "the operations to fail")
            place.proxy.lift()
            assert {name: future.result(LIMIT) for name, future in futures.items()} == RESULTS
        check_written(place.direct)

    def test_everything_ends_well_after_an_outage(self, place: Place) -> None:
        prepare(place.direct)
        store = place.store(patience=LIMIT)
        place.proxy.go_down()
        end_of_outage = threading.Timer(1.0, place.proxy.lift)
        with running(store, OPERATIONS) as futures:
            end_of_outage.start()
            assert {name: future.result(LIMIT) for name, future in futures.items()} == RESULTS
        check_written(place.direct)

    def test_a_server_that_falls_silent_is_asked_again(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "_READ_SECONDS", 2.0)
        place.direct.put("a", SMALL)
        place.proxy.inject(Fault("delay", seconds=100, times=1))
        assert place.store(patience=LIMIT).get("a") == SMALL
        assert place.proxy.counts["delay"] == 1

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("drop", matching="^POST .*uploads", times=3),
            Fault("break_upload", after=1_000_000, matching="partNumber=[24]", times=4),
            Fault("error", status=503, matching="partNumber", times=4),
            Fault("swallow", matching="partNumber", times=4),
            Fault("swallow", matching="^POST .*uploadId", times=3),
        ],
        ids=["begin", "parts broken", "parts throttled", "parts unanswered", "end unanswered"],
    )
    def test_a_large_object_is_written(self, place: Place, tmp_path: Path, fault: Fault) -> None:
        (tmp_path / "source").write_bytes(LARGE)
        place.proxy.inject(fault)
        place.store(patience=LIMIT).put("a", tmp_path / "source")
        assert place.proxy.counts[fault.kind] == fault.times
        assert place.direct.get("a") == LARGE

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("reset", after=1_000_000, matching="^GET", times=3),
            Fault("truncate", after=5_000_000, matching="^GET", times=3),
            Fault("error", status=503, matching="^GET", times=3),
            Fault("drop", matching="^GET", times=3),
        ],
        ids=lambda fault: fault.kind,
    )
    def test_a_large_object_is_read(self, place: Place, tmp_path: Path, fault: Fault) -> None:
        place.direct.put("a", LARGE)
        store = place.store(patience=LIMIT)
        place.proxy.inject(fault)
        assert store.get("a") == LARGE
        assert place.proxy.counts[fault.kind] == fault.times
        place.proxy.inject(fault)
        assert read_file(store, "a") == LARGE
        assert place.proxy.counts[fault.kind] == 2 * (fault.times or 0)


class TestProbe:
    """What is asked of a store at the start waits as everything else does."""

    def test_an_outage_is_waited_for(self, place: Place) -> None:
        place.proxy.go_down()
        threading.Timer(1.0, place.proxy.lift).start()
        assert check_store(place.store(patience=LIMIT)).exclusive_create
        assert [info.name for info in place.direct.list()] == [MARK]

    @pytest.mark.parametrize("fault", [Fault("swallow", times=20), Fault("cut_head", after=40, times=20)], ids=str)
    def test_lost_answers_do_not_make_a_store_look_shared_by_none_or_all(self, place: Place, fault: Fault) -> None:
        place.proxy.inject(replace(fault, matching="^PUT.*probe"))
        assert check_store(place.store(patience=LIMIT)).exclusive_create
        assert place.proxy.counts[fault.kind] == 20
        assert [info.name for info in place.direct.list()] == [MARK]


class TestFaultsThatStay:
    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("fault", [None, Fault("error", status=503)], ids=["unreachable", "throttled"])
    def test_one_line_names_the_store(self, place: Place, name: str, fault: Fault | None) -> None:
        prepare(place.direct)
        store = place.store(patience=0.3)
        if fault is None:
            place.proxy.go_down()
        else:
            place.proxy.inject(fault)
        with pytest.raises(StoreError) as caught:
            OPERATIONS[name](store)
        message = str(caught.value)
        assert message.startswith(f"store s3://{BUCKET}/{place.prefix}: cannot ")
        assert "unreachable for " in message
        assert "\n" not in message
        assert place.server.secret_key not in message and place.server.access_key not in message
        assert place.direct.get("put") == b"old", "nothing changed"
        assert not place.direct.exists("created")
        assert place.direct.exists("deleted")

    @pytest.mark.parametrize("content", [SMALL * 20, LARGE], ids=["small", "large"])
    def test_nothing_half_written_is_seen(self, place: Place, content: bytes) -> None:
        """Neither while an upload breaks off again and again, nor when its author has given up."""
        place.direct.put("a", b"old")
        store = place.store(patience=1)
        place.proxy.inject(Fault("break_upload", after=60_000, matching="^PUT"))
        with running(store, {"put": lambda store: store.put("a", content)}) as futures:
            while not futures["put"].done():
                assert place.direct.get("a") == b"old"
            with pytest.raises(StoreError, match=r"cannot write object a: .*unreachable"):
                futures["put"].result()
        assert place.proxy.counts["break_upload"] > 1
        assert place.direct.get("a") == b"old"
        assert [info.name for info in place.direct.list()] == ["a"]
        place.proxy.lift()
        place.store(patience=LIMIT).put("a", content)
        assert place.direct.get("a") == content

    def test_an_upload_given_up_leaves_no_parts(self, place: Place) -> None:
        place.proxy.inject(Fault("error", status=503, matching="partNumber=3"))
        with pytest.raises(StoreError, match="503 SlowDown"):
            place.store(patience=8).put("a", LARGE)  # a part is answered late on a busy machine
        assert "Uploads" not in place.server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=place.prefix)


class TestCreate:
    @pytest.mark.parametrize("kind", ["swallow", "cut_head", "drop", "error"])
    def test_one_of_many_wins_although_answers_are_lost(self, place: Place, kind: Any) -> None:
        stores = [place.store(patience=LIMIT) for _ in range(8)]
        for number in range(2):
            place.proxy.inject(Fault(kind, matching="^PUT", times=8))

            def create(racer: int, name: str = f"claims/a/{number}") -> bool:
                return stores[racer].create(name, b"%d" % racer)

            with ThreadPoolExecutor(len(stores)) as pool:
                won = list(pool.map(create, range(len(stores))))
            assert won.count(True) == 1
            assert place.direct.get(f"claims/a/{number}") == b"%d" % won.index(True)
        assert place.proxy.counts[kind] == 16

    def test_anothers_object_stays_although_answers_are_lost(self, place: Place) -> None:
        place.direct.create("a", b"mine")
        place.proxy.inject(Fault("swallow", matching="^PUT", times=3))
        assert place.store(patience=LIMIT).create("a", b"yours") is False
        assert place.direct.get("a") == b"mine"


class TestDamage:
    """What is wrong in the server itself does not pass, and is told from a fault of the network."""

    @pytest.mark.parametrize(
        ("fault", "content"),
        [("altered", SMALL), ("truncated", SMALL), ("no checksum", SMALL), ("altered", LARGE)],
        ids=["altered", "truncated", "no checksum", "altered large"],
    )
    def test_a_damaged_object_is_named(self, place: Place, fault: str, content: bytes) -> None:
        client = place.server.client()
        key = {"Bucket": BUCKET, "Key": f"{place.prefix}/a/b"}
        place.direct.put("a/b", content)
        metadata = {} if fault == "no checksum" else client.head_object(**key)["Metadata"]
        worse = {"altered": content[:-1] + b"?", "truncated": content[:-1], "no checksum": content}[fault]
        client.upload_fileobj(io.BytesIO(worse), **key, ExtraArgs={"Metadata": metadata})
        store = place.store(patience=LIMIT)
        for read in (store.get, store.open, lambda name: list(store.stream(name))):
            with pytest.raises(DamagedObjectError, match=r"object a/b is damaged: .*; delete it to have it made anew$"):
                read("a/b")
        store.delete("a/b")
        assert store.create("a/b", content)
        assert store.get("a/b") == content


def test_a_stale_list_store_lists_what_was_there(place: Place) -> None:
    place.direct.put("a", b"1")
    store = StaleListStore(place.direct)
    store.put("b", b"2")
    store.delete("a")
    assert [info.name for info in store.list()] == ["a"]
    assert store.get("b") == b"2"
    assert not store.exists("a")
    store.catch_up()
    assert [info.name for info in store.list()] == ["b"]

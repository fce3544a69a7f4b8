"""The index of records: what it says is what the records say, whatever was done to either; and it is kept while others work."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fod_bench.errors import StoreError
from fod_bench.records.claims import Claim, take
from fod_bench.records.failures import Failure, forget_failure, keep_failure
from fod_bench.records.index import append, generations, trials
from fod_bench.records.index.append import append_changes, refresh
from fod_bench.records.index.changes import changing, note_change, noted
from fod_bench.records.index.generations import UnusableError, open_index
from fod_bench.records.index.rows import NOTHING, names_of
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import failure_name, newest_name, record_name
from fod_bench.records.tidy import tidy_trial
from fod_bench.runs.simulate.memory_store import MemoryStore
from fod_bench.store import ObjectMissingError, Store, open_store
from tests.helpers.report_builders import record
from tests.helpers.store_builders import age, call, cell, save_trial, whole_store

KEYS = [f"{number:02d}" for number in range(12)]


def content(key: str, value: float) -> bytes:
    """A record of that image AUROC."""
    return record(key, cell(key), [(value, 0.5)]).model_dump_json().encode()


def replace(store: Store, key: str, value: float) -> None:
    """As a run does what it finds damaged."""
    with changing(store, key):
        store.delete(record_name(key))
    note_change(store, key)
    store.create(record_name(key), content(key, value))


def truth(store: Store, keys: list[str]) -> tuple[set[str], dict[str, bytes]]:
    """What there is of trials, one object after the other: names, and records by key."""
    names = {info.name for info in store.list("trials/") if not info.name.endswith(".safetensors")}
    names -= {name for key in keys if record_name(key) in names for name in names_of(key)[1:]}
    found = {}
    for key in keys:
        try:
            found[key] = store.get(record_name(key))
        except ObjectMissingError:
            continue
    return {name for name in names if name.split("/")[1] in keys}, found


def told(store: Store, keys: list[str]) -> tuple[set[str], dict[str, bytes]]:
    """The same by the index, and of what it leaves to be read by reading."""
    known = Trials(store)
    names, read = known.names(keys), dict(known.records(keys))
    names -= {name for key in keys if record_name(key) in names for name in names_of(key)[1:]}
    _, records = truth(store, [key for key in keys if key not in read])
    return names, records | {key: found for key, found in read.items() if found is not None}


def hold(store: Store, key: str) -> Claim:
    """A claim of the key."""
    claim = take(store, key, attempt="test")
    assert isinstance(claim, Claim)
    return claim


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's index is used for any number of records."""
    monkeypatch.setattr(trials, "FEW", 0)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store that would have to be asked of each object by itself, and of which so nothing is compared with the index."""
    monkeypatch.setattr(trials, "COMPARED", 0)
    clock = iter(range(10**9))
    return MemoryStore(lambda: float(next(clock)))


@pytest.fixture(params=["folder", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store in a folder, then one in a bucket."""
    if request.param == "folder":
        yield open_store(str(tmp_path / "store"))
    else:
        yield open_store(request.getfixturevalue("s3")("moto").address(f"index-{random.randbytes(4).hex()}"))


class TestNotes:
    """What a program of this project changes is known without a look at it, by the notes alone."""

    @pytest.mark.parametrize("seed", range(12))
    def test_whatever_is_done_the_index_says_what_the_records_say(
        self, bucket: MemoryStore, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw = random.Random(seed)
        monkeypatch.setattr(append, "MOST_ROWS", draw.choice([4, 8, 1000]))
        refresh(bucket)

        def commit(key: str) -> None:
            if not bucket.exists(record_name(key)):
                claim = hold(bucket, key)
                note_change(bucket, key)
                if draw.random() < 0.3:
                    append_changes(bucket)
                claim.commit(record_name(key), content(key, draw.random()))
                if draw.random() < 0.3:
                    append_changes(bucket)
                tidy_trial(bucket, key, claim.name)

        actions: list[Callable[[str], object]] = [
            commit,
            lambda key: replace(bucket, key, draw.random()),
            lambda key: keep_failure(bucket, key, key, Failure("it broke", "")),
            lambda key: keep_failure(bucket, key, key, Failure("no data", "", "data")),
            lambda key: forget_failure(bucket, key),
            lambda key: append_changes(bucket),
            lambda key: refresh(bucket, anew=draw.random() < 0.5),
        ]
        for _ in range(60):
            draw.choices(actions, [4, 2, 1, 1, 1, 3, 0.3])[0](draw.choice(KEYS))
            assert told(bucket, KEYS) == truth(bucket, KEYS)
        append_changes(bucket)
        assert not noted(bucket) and Trials(bucket).index is not None

    def test_a_note_of_who_is_still_at_work_stays(self, bucket: MemoryStore) -> None:
        refresh(bucket)
        claim = hold(bucket, "a")
        note_change(bucket, "a")
        assert append_changes(bucket) == 0
        claim.commit(record_name("a"), content("a", 0.7))
        assert append_changes(bucket) == 0 and told(bucket, ["a"]) == truth(bucket, ["a"])
        tidy_trial(bucket, "a", claim.name)
        assert append_changes(bucket) == 1 and not noted(bucket)
        assert told(bucket, ["a"]) == truth(bucket, ["a"])

    def test_a_change_while_it_is_appended_is_not_lost(
        self, bucket: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The record is replaced, by a run that appends too, right after it was read for another generation."""
        refresh(bucket)
        replace(bucket, "a", 0.1)
        read, times = append.read_row, []

        def read_row(store: Store, key: str) -> object:
            row = read(store, key)
            if not times:
                times.append(1)
                replace(bucket, "a", 0.2)
                append_changes(bucket)
            return row

        monkeypatch.setattr(append, "read_row", read_row)
        append_changes(bucket)
        assert told(bucket, ["a"]) == truth(bucket, ["a"])
        assert b"0.2" in told(bucket, ["a"])[1]["a"]

    @pytest.mark.parametrize("anew", [False, True])
    def test_an_index_made_anew_takes_nothing_older_than_what_others_append(
        self, bucket: MemoryStore, anew: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(append, "MOST_ROWS", 3)
        for key in KEYS:
            bucket.put(record_name(key), content(key, 0.1))
        refresh(bucket)
        for key in KEYS:
            bucket.put(record_name(key), content(key, 0.2))
        read = append.read_row

        def read_row(store: Store, key: str, *before: object) -> object:
            row = read(store, key, *before)  # type: ignore[arg-type]
            if before and key in KEYS[::4]:
                replace(bucket, key, 0.3)
                with contextlib.suppress(UnusableError):
                    append_changes(bucket)
            return row

        monkeypatch.setattr(append, "read_row", read_row)
        refresh(bucket, anew)
        assert told(bucket, KEYS) == truth(bucket, KEYS)
        assert b"0.3" in told(bucket, KEYS)[1]["04"]

    def test_many_at_once_in_a_folder(self, tmp_path: Path) -> None:
        store = open_store(str(tmp_path / "store"))
        refresh(store)
        faults: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for key in KEYS[number::3]:
                    claim = hold(store, key)
                    note_change(store, key)
                    claim.commit(record_name(key), content(key, 0.5))
                    tidy_trial(store, key, claim.name)
                    append_changes(store)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        append_changes(store)
        index = open_index(store)
        assert not faults and index is not None and not noted(store)
        assert {key: place.kept for key, place in index.places(KEYS).items()} == dict.fromkeys(KEYS, True)


class TestGenerations:
    def test_there_are_few_and_each_trial_is_told_once(
        self, bucket: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refresh(bucket)
        keys = [f"{number:03d}" for number in range(100)]
        for key in keys:
            replace(bucket, key, 0.5)
            append_changes(bucket)
        index = open_index(bucket)
        assert index is not None and len(index.generations) <= 8
        assert sorted(index.keys().to_pylist()) == keys
        left = [name for name in bucket.objects if name.startswith("index/")]
        assert len(left) == 2 * len(index.generations) + 1

    @pytest.mark.parametrize("twice", [0, 7])
    def test_keys_that_are_hashes_are_told_once_too(self, bucket: MemoryStore, twice: int) -> None:
        refresh(bucket)
        keys = [hashlib.md5(b"%d" % number).hexdigest() for number in range(30)]
        for key in keys:
            replace(bucket, key, 0.5)
        append_changes(bucket)
        for key in keys[:twice]:
            replace(bucket, key, 0.25)
        append_changes(bucket)
        index = open_index(bucket)
        assert index is not None and len(index.generations) == 1 + bool(twice)
        assert sorted(index.keys().to_pylist()) == sorted(keys)
        assert told(bucket, keys) == truth(bucket, keys)

    def test_large_ones_are_not_written_again(self, bucket: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(append, "MOST_ROWS", 4)
        for key in KEYS:
            bucket.put(record_name(key), content(key, 0.5))
        assert refresh(bucket) == append.Appended(12, 12, 3)
        before = {name for name in bucket.objects if name.startswith("index/records")}
        replace(bucket, "03", 0.9)
        append_changes(bucket)
        assert before < {name for name in bucket.objects if name.startswith("index/records")}
        assert told(bucket, KEYS) == truth(bucket, KEYS)

    def test_only_what_differs_is_read(self, store: Store) -> None:
        for key in KEYS:
            store.put(record_name(key), content(key, 0.5))
        assert refresh(store).read == 12
        store.put(record_name("03"), content("03", 0.25))
        store.delete(record_name("05"))
        assert refresh(store) == append.Appended(11, 1, 1 + 1)
        assert refresh(store).read == 0 and refresh(store, anew=True) == append.Appended(11, 11, 1)

    def test_times_are_those_of_the_records(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def times() -> list[tuple[object, float]]:
            found = Trials(store).timings()
            return sorted(
                (found.groups[group], seconds)
                for group, seconds in zip(found.group.tolist(), found.seconds.tolist(), strict=True)
            )

        for number, key in enumerate(KEYS):
            made = record(key, cell(key), [(0.5, 0.5)], setting={"heads": number % 3})
            run = made.run.model_copy(update={"train_seconds": float(number), "device": f"gpu{number % 2}"})
            store.put(record_name(key), made.model_copy(update={"run": run}).model_dump_json().encode())
        store.put(record_name("bad"), b"{}")
        refresh(store)
        replace(store, "03", 0.25)
        append_changes(store)
        replace(store, "04", 0.25)
        indexed = times()
        monkeypatch.setenv(trials.SWITCH, "0")
        assert indexed == times() and len(indexed) == 12


def spoil(store: Store, name: str, data: bytes) -> None:
    """Put another content where an object is, with its right checksum."""
    store.put(name, data)


def first(store: Store, prefix: str) -> str:
    return next(iter(store.list(prefix))).name


def newest(store: Store) -> str:
    return [info.name for info in store.list("index/generations/")][-1]


def earlier_index(store: Store) -> None:
    """The index as it was before the last change of a record, as a person may copy it back."""
    kept = {info.name: store.get(info.name) for info in store.list("index/")}
    replace(store, "02", 0.125)
    append_changes(store)
    for info in list(store.list("index/")):
        store.delete(info.name)
    for name, data in kept.items():
        store.put(name, data)


def half_made(store: Store) -> None:
    """The first part of an index made anew, by who died then."""
    parts = append._Parts(store, None)
    parts.add(append.read_row(store, "01"))
    parts._make(last=False)


MISHAPS: dict[str, Callable[[Store], object]] = {
    "nothing": lambda store: None,
    "a record replaced": lambda store: store.put(record_name("03"), content("03", 0.25)),
    "a record of the same size": lambda store: store.put(
        record_name("03"), store.get(record_name("03")).replace(b"0.5", b"0.6")
    ),
    "a record gone": lambda store: store.delete(record_name("03")),
    "a record added": lambda store: store.put(record_name("new"), content("new", 0.25)),
    "a failure added": lambda store: store.put(failure_name("new"), b'{"reason": "no"}'),
    "a failure gone": lambda store: store.delete(failure_name("failed")),
    "no newest": lambda store: store.delete(newest_name()),
    "a newest that is none": lambda store: store.put(newest_name(), b"[]"),
    "a newest that is gone": lambda store: store.delete(newest(store)),
    "an earlier generation gone": lambda store: store.delete(first(store, "index/generations/")),
    "records gone": lambda store: store.delete(first(store, "index/records/")),
    "records cut short": lambda store: spoil(
        store, first(store, "index/records/"), store.get(first(store, "index/records/"))[:-40]
    ),
    "records of another": lambda store: spoil(
        store, first(store, "index/records/"), store.get([info.name for info in store.list("index/records/")][-1])
    ),
    "a generation cut short": lambda store: spoil(store, newest(store), store.get(newest(store))[:-100]),
    "a generation that is none": lambda store: spoil(store, newest(store), b"PAR1" * 100),
    "a generation under another number": lambda store: spoil(
        store, "index/generations/00000099.parquet", store.get(newest(store))
    ),
    "another version": lambda store: spoil(
        store, newest(store), store.get(newest(store)).replace(b'{"version":1', b'{"version":2')
    ),
    "an earlier one": earlier_index,
    "half of one": half_made,
    "none": lambda store: [store.delete(info.name) for info in list(store.list("index/"))],
    "notes left": lambda store: note_change(store, "03"),
}


@pytest.mark.parametrize("mishap", MISHAPS)
def test_no_mishap_makes_it_say_anything_else(store: Store, mishap: str) -> None:
    for key in KEYS[:9]:
        store.put(record_name(key), content(key, 0.5))
    keep_failure(store, "failed", "failed", Failure("it broke", ""))
    refresh(store)
    for key in KEYS[9:]:
        replace(store, key, 0.5)
    append_changes(store)
    keys = [*KEYS, "new", "failed", "none"]
    assert len(dict(Trials(store).records(keys))) >= 12  # none of which was read
    MISHAPS[mishap](store)
    assert told(store, keys) == truth(store, keys)
    refresh(store)
    assert told(store, keys) == truth(store, keys) and Trials(store).index is not None


def test_a_file_changed_in_place_with_its_time_put_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put(record_name("a"), content("a", 0.5))
    refresh(store)
    path = Path(store.location(record_name("a")))
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert dict(Trials(store).records(["a"])) == {}


def test_of_many_in_a_bucket_some_are_compared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(lambda: 1.0)
    for key in KEYS:
        store.put(record_name(key), content(key, 0.5))
    refresh(store)
    monkeypatch.setattr(trials, "COMPARED", 11)
    assert len(dict(Trials(store).records(KEYS))) == 12 and not caplog.messages
    for key in KEYS[:2]:  # of two at least one is among eleven of twelve
        store.objects[record_name(key)] = (content(key, 0.25), 2.0)
    assert told(store, KEYS) == truth(store, KEYS)
    assert "has changed without a note of it" in caplog.text and "`fod-bench store index`" in caplog.text


def test_a_generation_is_read_once_by_who_asks_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(record_name("a"), content("a", 0.5))
    refresh(store)
    known: generations.Known = {}
    assert Trials(store, known).index is not None
    monkeypatch.setattr(generations, "read_generation", None)
    index = Trials(store, known).index
    assert index is not None and "a" in index.places(["a"])


def test_a_temporary_folder_that_cannot_be_written_is_named(
    bucket: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match=r"temporary folder .*/gone \(set by TMPDIR\): No such file"):
        refresh(bucket)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by Linux's /proc")
def test_arrow_has_no_thread_that_could_outlive_python(tmp_path: Path) -> None:
    store = whole_store(open_store(str(tmp_path / "store")))
    refresh(store)
    script = """if True:
        import os, sys, threading
        import pyarrow.parquet
        from fod_bench.records.index import append, trials
        from fod_bench.store import open_store

        def others():
            return len(os.listdir("/proc/self/task")) - threading.active_count()

        trials.FEW = 0
        store, before = open_store(sys.argv[1]), others()
        known = trials.Trials(store)
        assert known.index is not None
        keys = [key for generation in known.index.generations for key in generation.table["key"].to_pylist()]
        assert len(keys) == 2 and len(dict(known.records(keys))) == 2
        append.refresh(store, anew=True)
        print(others() - before)
    """
    done = subprocess.run([sys.executable, "-c", script, store.uri], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


class TestCommands:
    def test_index_says_what_it_did(self, tmp_path: Path) -> None:
        store = whole_store(open_store(str(tmp_path / "store")))
        said = call("index", "--store", store.uri).stdout
        assert said == f"{store.uri}: 2 trials in the index, 2 read, 1 generation\n"
        assert "2 trials in the index, 0 read" in call("index", "--store", store.uri).stdout
        assert "2 trials in the index, 2 read, 1 generation" in call("index", "--anew", "--store", store.uri).stdout
        assert "no fault found" in call("verify", "--store", store.uri).output
        assert "0 objects, 0 B can go" in call("gc", "--store", store.uri).output

    def test_a_store_that_is_none(self, tmp_path: Path) -> None:
        assert "there is no folder" in call("index", "--store", str(tmp_path / "none"), code=1).output

    def test_what_gc_deletes_is_no_longer_told(self, tmp_path: Path) -> None:
        store = whole_store(open_store(str(tmp_path / "store")))
        save_trial(store, "b1")
        keep_failure(store, "b2", "b2", Failure("it broke", ""))
        refresh(store)
        age(store)
        call("gc", "--store", store.uri, "--delete")
        index = open_index(store)
        assert index is not None and not noted(store)
        assert {key for key, place in index.places(["a1", "b1", "b2"]).items() if place.state != NOTHING} == {"a1"}

    def test_what_cp_brings_is_told(self, tmp_path: Path) -> None:
        source = whole_store(open_store(str(tmp_path / "source")))
        refresh(source)
        target = open_store(str(tmp_path / "target"))
        refresh(target)
        call("cp", source.uri, target.uri)
        index = open_index(target)
        assert index is not None and not noted(target) and sorted(index.places(["a1", "a2"])) == ["a1", "a2"]
        assert len(list(target.list("index/"))) == 3

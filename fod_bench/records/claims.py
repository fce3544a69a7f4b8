"""Who works on what: claims by which several runs share one store, and the fence that keeps late results out.

    claims/<key>/<generation>.json    a claim, or the commit that ends it
    claims/<key>/<generation>.beat    rewritten by the claim's holder for as long as it lives

A claim is made by creating the entry of the next generation, which only one of many can. It is another's turn when the
holder has let go, is known to be dead, or has not renewed its heartbeat for its lease, by the store's own clock. A holder
that was only stopped or cut off may go on working, so a result is taken by one more entry: it is committed by creating the
*next* generation with the result in it. Taking over and committing want the same name, and one of the two gets it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fod_bench.errors import DamagedObjectError, FodBenchError, StoreError
from fod_bench.machine.process import ProcessId
from fod_bench.records.names import CLAIMS, beat_name, claim_folder, claim_name
from fod_bench.store import ObjectMissingError, Store
from fod_bench.store.base import is_name
from fod_bench.store.reading import Amount, Name, Part

LEASE_SECONDS = 60.0
_BEATS_PER_LEASE = 4
_RELEASED = b"released\n"
_HELD = b"held\n"


class LostClaimError(FodBenchError):
    """Another worker has taken over: what is done from here on would not be taken."""


class Entry(BaseModel):
    """One generation of a key: somebody's claim, or the commit of the claim before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["claim", "commit"]
    token: Part
    """Random; tells two holders of one generation number apart."""
    attempt: str
    """The attempt of a run that the claim was made for, e.g. `<driver>:12`."""
    process: ProcessId
    lease: Amount
    """Seconds without a heartbeat after which another may take over."""
    states: tuple[Name, ...] = ()
    """Store names of the states that the work goes on from, oldest first. Later ones of earlier holders do not count."""
    result_name: str = ""
    result: str = ""
    """Of a commit: the object that is decided, whole, so that anybody can write it should the holder die here."""


@dataclass(frozen=True)
class Held:
    """Somebody else is at work on the key."""

    entry: Entry
    generation: int
    age: float
    """Seconds since its last heartbeat."""

    @property
    def lease_left(self) -> float:
        """Seconds after which it may be taken over, should no heartbeat come."""
        return max(0.0, self.entry.lease - self.age)


@dataclass
class Claim:
    """The right to work on a key. `check`, `renew` and `commit` raise `LostClaimError` once another has taken over."""

    store: Store
    key: str
    generation: int
    entry: Entry
    _lost: threading.Event = field(default_factory=threading.Event)
    _beat: threading.Lock = field(default_factory=threading.Lock)
    _committed: bool = False

    @property
    def name(self) -> str:
        """What is written under this claim carries this name: generation and token."""
        return f"{self.generation:08d}-{self.entry.token}"

    @property
    def lost(self) -> bool:
        """Whether the loss has been noticed; asks nobody."""
        return self._lost.is_set()

    def check(self) -> None:
        """Make sure that the claim still stands: the next generation is free, and this one was not swept after an end."""
        if self.store.exists(claim_name(self.key, self.generation + 1)) or not self.store.exists(
            claim_name(self.key, self.generation)
        ):
            self._lose()

    def renew(self) -> None:
        """One heartbeat; none once a result is being committed, or it would be left behind when the claim is swept."""
        with self._beat:
            if not self._committed:
                self.check()
                self.store.put(beat_name(self.key, self.generation), _HELD)

    @contextlib.contextmanager
    def beating(self) -> Iterator[Claim]:
        """Renew the claim from a thread of its own while the block lasts. A store out of reach is tried again each time."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self.entry.lease / _BEATS_PER_LEASE):
                try:
                    self.renew()
                except LostClaimError:
                    return
                except StoreError:
                    continue

        thread = threading.Thread(target=beat, name=f"heartbeat-{self.key[:8]}", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()  # a beat under way does no harm: nobody waits for it

    def commit(self, name: str, content: bytes) -> None:
        """Store `content` as `name` for good, unless another has taken over or was first."""
        with self._beat:
            self._committed = True
        self.check()
        if self.store.exists(name):
            self._lose()
        commit = self.entry.model_copy(update={"kind": "commit", "result_name": name, "result": content.decode()})
        if not self.store.create(claim_name(self.key, self.generation + 1), _dump(commit)):
            self._lose()
        if not self.store.create(name, content) and self.store.get(name) != content:
            self._lose()  # whoever came by after the commit may have written it for us; this is another

    def release(self) -> None:
        """Let go with the work unfinished: the next one need not wait."""
        with contextlib.suppress(LostClaimError):
            self.check()
            self.store.put(beat_name(self.key, self.generation), _RELEASED)

    def _lose(self) -> None:
        self._lost.set()
        raise LostClaimError(f"{self.key} was taken over by another worker; this one's work is not taken")


def take(
    store: Store,
    key: str,
    *,
    attempt: str,
    lease: float = LEASE_SECONDS,
    previous: str | None = None,
    states: str | None = None,
) -> Claim | Held:
    """Claim `key`, or learn who holds it.

    Args:
        attempt: what the claim is made for; kept in it.
        lease: seconds without a heartbeat after which others may take over.
        previous: an attempt whose holder the caller knows to be dead, so that nobody has to wait for its lease.
        states: prefix of the names under which holders keep states; those that count are kept in the claim, see `states_of`.

    A commit whose result was not written yet is carried out. The caller looks for the result when it has the claim: it may have
    been written, and the claims swept, just before.
    """
    generation = max(_generations(store, key), default=0)
    while True:
        last = _read(store, key, generation) if generation else None
        if last is not None:
            if last.kind == "commit":  # decided, but perhaps not written: then whoever comes by writes it
                store.create(last.result_name, last.result.encode())
            held = _held(store, key, generation, last, previous)
            if held is not None:
                return held
        inherited = _inherited(store, key, generation, last, states) if states and last else ()
        entry = Entry(
            kind="claim",
            token=secrets.token_hex(4),
            attempt=attempt,
            process=ProcessId.own(),
            lease=lease,
            states=inherited,
        )
        if store.create(claim_name(key, generation + 1), _dump(entry)):
            return Claim(store, key, generation + 1, entry)
        generation += 1  # somebody was faster, or the listing lagged behind


def held_keys(store: Store) -> dict[str, bool]:
    """Every key that has entries, and whether its newest claim is alive. One listing, and a few reads for each such key."""
    keys = dict.fromkeys(_parse(info.name)[0] for info in store.list(CLAIMS))
    return {key: is_held(store, key) for key in keys}


def is_held(store: Store, key: str) -> bool:
    """Whether somebody alive is at work on `key`. Changes nothing."""
    generation = max(_generations(store, key), default=0)
    last = _read(store, key, generation) if generation else None
    return last is not None and _held(store, key, generation, last, None) is not None


def sweep(store: Store, key: str) -> None:
    """Remove the entries of a key that is done with; the newest goes last, so that nobody finds an older one in its place."""
    names = [info.name for info in store.list(claim_folder(key))]
    for name in sorted(names, key=lambda name: (_parse(name)[1], name.endswith(".json"))):
        store.delete(name)


def _held(store: Store, key: str, generation: int, last: Entry, previous: str | None) -> Held | None:
    """The claim that stands in the way, None when the next generation may be taken."""
    if last.kind == "commit":
        return None
    entry, beat = store.info(claim_name(key, generation)), _beat(store, key, generation)
    if entry is None or beat == _RELEASED or last.attempt == previous or last.process.is_dead():
        return None
    beaten = store.info(beat_name(key, generation))
    age = store.now() - max(entry.modified, beaten.modified if beaten else 0.0)
    return Held(last, generation, age) if age < last.lease else None


def _inherited(store: Store, key: str, generation: int, last: Entry, prefix: str) -> tuple[str, ...]:
    """States that count for the next holder: those of the last holder up to now, before them those it went on from."""
    own = f"{prefix}{generation:08d}-{last.token}-"
    there = [info.name for info in store.list(prefix)]
    return tuple(name for name in last.states if name in there) + tuple(name for name in there if name.startswith(own))


def _generations(store: Store, key: str) -> Iterator[int]:
    return (_parse(info.name)[1] for info in store.list(claim_folder(key)))


def _parse(name: str) -> tuple[str, int]:
    """Key and generation of an entry's or heartbeat's name; generation 0 for a strange one."""
    _, key, last = (*name.split("/"), "", "")[:3]
    digits = last.partition(".")[0]
    return key, int(digits) if digits.isdecimal() else 0


def _read(store: Store, key: str, generation: int) -> Entry | None:
    """The entry, None when it is gone or cannot be read: then it keeps nobody out."""
    try:
        entry = Entry.model_validate_json(store.get(claim_name(key, generation)))
        ours = [*entry.states, *([entry.result_name] if entry.kind == "commit" else [])]
        return entry if all(is_name(name) and name.split("/")[1:2] == [key] for name in ours) else None
    except (ObjectMissingError, DamagedObjectError, ValidationError):
        return None


def _beat(store: Store, key: str, generation: int) -> bytes:
    try:
        return store.get(beat_name(key, generation))
    except (ObjectMissingError, DamagedObjectError):
        return b""


def _dump(entry: Entry) -> bytes:
    return json.dumps(entry.model_dump(mode="json"), indent=1).encode()

"""The store's whole contract by a user who has the policy in docs/policies and no other right: all of it is allowed, and all of the
policy is used."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import StoreError
from fod_bench.store import Store, open_store
from fod_bench.store.s3.connection import Connection
from fod_bench.store.s3.store import S3Store
from tests.clusters.test_policies import GOOGLE, POLICIES, made, rights
from tests.helpers.s3_policed import PolicedServer, policed_moto
from tests.helpers.s3_servers import BUCKET
from tests.store import test_store as contract

POLICY = (POLICIES / "aws-bucket.json").read_text(encoding="utf-8").replace("BUCKET", BUCKET)
OBJECTS, WHOLE = f"arn:aws:s3:::{BUCKET}/fod-bench/*", f"arn:aws:s3:::{BUCKET}"


@pytest.fixture(scope="module")
def policed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicedServer]:
    """A server that knows the policy alone."""
    with policed_moto(tmp_path_factory.mktemp("policed"), POLICY) as made_server:
        yield made_server


@pytest.fixture(scope="module")
def asked() -> set[str]:
    """Operations that the store has asked for in these tests."""
    return set()


@pytest.fixture
def as_worker(
    policed: PolicedServer, asked: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> PolicedServer:
    """The server, with the environment of a machine that has the policy; what its store asks for is noted."""
    for name, value in policed.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FOD_BENCH_CACHE", str(tmp_path / "cache"))
    call = Connection.call

    def noting(self: Connection, action: str, operation: str, *given: Any, **parameters: Any) -> Any:
        asked.add(operation)
        return call(self, action, operation, *given, **parameters)

    monkeypatch.setattr(Connection, "call", noting)
    return policed


def place(policed: PolicedServer, prefix: str) -> Store:
    """A store of its own below a prefix."""
    return open_store(policed.server.address(f"{prefix}/{uuid.uuid4().hex}/store"))


class TestContract(contract.TestContract):
    """Each test of the contract, on the store that the policy is for."""

    test_of_racing_processes_one_creates = None  # type: ignore[assignment]  # Moto takes conditional puts of several for one
    test_the_probe_tells_whether_one_creates = None  # type: ignore[assignment]
    test_heavy_libraries_are_not_imported = None  # type: ignore[assignment]  # nothing to do with a bucket

    @pytest.fixture
    def kind(self) -> str:
        return "moto"

    @pytest.fixture
    def store(self, as_worker: PolicedServer) -> Store:
        return place(as_worker, "fod-bench")


def test_uploads_that_broke_off_are_dropped(as_worker: PolicedServer, tmp_path: Path) -> None:
    store, source = place(as_worker, "fod-bench"), tmp_path / "large"
    source.write_bytes(b"x" * 68_000_001)
    assert isinstance(store, S3Store)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> None:
            raise StoreError("the file was changed")

        patch.setattr("fod_bench.store.s3.transfer.Source.check_unchanged", refuse)
        with pytest.raises(StoreError, match="changed"):
            store.put("a", source)
    assert store.abandon_uploads(0.0) == ()


@pytest.mark.parametrize("prefix", ["elsewhere", "data"])
def test_nothing_is_written_outside_the_store(as_worker: PolicedServer, prefix: str) -> None:
    store = place(as_worker, prefix)
    with pytest.raises(StoreError, match="access denied"):
        store.put("a", b"x")
    with pytest.raises(StoreError, match="access denied"):
        store.delete("a")
    if prefix == "data":
        assert not store.exists("a")
    else:
        with pytest.raises(StoreError, match="access denied"):
            store.get("a")


def test_all_that_the_policy_gives_is_used_and_all_that_is_used_is_asked_for(
    request: pytest.FixtureRequest, policed: PolicedServer, asked: set[str]
) -> None:
    """It looks at what the tests above have done."""
    there = {item.name for item in request.session.items if item.path == request.path}
    whole = {
        f"test_{name}" for name in ("a_large_file", "delete", "an_empty_store", "uploads_that_broke_off_are_dropped")
    }
    if not whole <= there:
        pytest.skip("only some of the tests above were asked for")
    given = {
        (right, resource)
        for statement in json.loads(POLICY)["Statement"]
        if statement["Sid"].startswith("Store")
        for right in statement["Action"]
        for resource in [statement["Resource"]]
    }
    inside = OBJECTS.removesuffix("*")
    used = {(right, OBJECTS if resource.startswith(inside) else resource) for right, resource in policed.done()}
    assert {pair for pair in used if pair[1] in (OBJECTS, WHOLE)} == given
    assert asked == made(), "the modules ask for nothing that was not seen here"
    assert rights(asked, GOOGLE) == rights(made(), GOOGLE)

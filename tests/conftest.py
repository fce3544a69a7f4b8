"""Fixtures of the tests that run commands or need an S3 server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Tests are of a CPU, whatever the machine has, so that they are the same everywhere; `make test-gpu` names a GPU. Before anything
# imports triton, which reads it once: on a CPU its kernels are interpreted.
if os.environ.get("FOD_BENCH_TEST_DEVICE", "cpu") == "cpu":
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}

import pytest

from tests.helpers.commands import Bench
from tests.helpers.s3_ceph import ceph
from tests.helpers.s3_servers import Server, moto
from tests.helpers.s3_swift import swift

if TYPE_CHECKING:
    from tests.helpers.finished import Finished


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A working folder for the commands of one file; what is still running at its end is ended."""
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished job on images that lie on disk, for all tests of what is done with its trials."""
    from tests.helpers.finished import finished_job

    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return finished_job(folder)


@pytest.fixture(scope="session")
def moto_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Moto, for all tests."""
    with moto(tmp_path_factory.mktemp("moto")) as servers:
        yield servers


@pytest.fixture(scope="session")
def swift_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Swift, for all tests."""
    with swift(tmp_path_factory.mktemp("swift")) as servers:
        yield servers


@pytest.fixture(scope="session")
def ceph_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Ceph, for all tests marked `ceph`."""
    with ceph(tmp_path_factory.mktemp("ceph")) as servers:
        yield servers


@pytest.fixture
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Server]:
    """The running server `moto`, `moto-tls`, `swift`, `swift-tls`, `ceph` or `ceph-tls`, for this process and its children.

    The environment holds its credentials, nothing of the person at the machine, and an empty cache.
    """

    def server(kind: str) -> Server:
        found: Server = request.getfixturevalue(f"{kind.partition('-')[0]}_servers")[kind]
        for name in os.environ:
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FOD_BENCH_CACHE", str(tmp_path / "cache"))
        return found

    return server

"""Fixtures of the tests that run commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from commands import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A working folder for the commands of one file; what is still running at its end is ended."""
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    made.close()

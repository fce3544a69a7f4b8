"""Fixtures of tests that plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fod_bench.plan import Plan
from tests.helpers.simulation import planned


@pytest.fixture
def plan_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Makes the plan of a tiny job in a folder of its own; see `planned`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda *given, **keys: planned(tmp_path, *given, **keys)

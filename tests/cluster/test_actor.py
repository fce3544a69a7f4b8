"""A worker that finds another store than the run's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

from fod_bench.cluster.actor import RemoteWorker
from fod_bench.errors import ClusterError
from fod_bench.runs.resources import Share
from fod_bench.store import open_store


def test_a_worker_refuses_a_store_that_only_has_the_same_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("runs/tiny/plan.json", b"{}")
    with ThreadPoolExecutor(1) as pool:  # off the main thread, whose signals are pytest's
        pool.submit(RemoteWorker, store.uri, Share(1, 0), "runs/tiny/plan.json").result()
    assert not ray.is_initialized(), "making a worker starts no Ray and joins none"
    with pytest.raises(ClusterError, match="is not the one that the run was started on"):
        RemoteWorker(str(tmp_path / "another"), Share(1, 0), "runs/tiny/plan.json")

"""Errors as failures, and what the store keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fod_bench.errors import ClusterError, DatasetError, DivergedError, StoreError, WeightsError
from fod_bench.records.failures import Failure, failure_of, forget_failure, keep_failure, kept_failure
from fod_bench.store import open_store
from tests.helpers.store_builders import damage


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (DatasetError("a.png: so"), "data", "a.png: so"),
        (WeightsError("no file"), "data", "no file"),
        (DivergedError("epoch 1"), "diverged", "epoch 1"),
        (StoreError("no answer"), "store", "no answer"),
        (ClusterError("first\nsecond"), "fault", "first\nsecond"),  # written for people, whole
        (RuntimeError("first\nsecond"), "fault", "RuntimeError: first"),
        (RuntimeError(), "fault", "RuntimeError: no message"),
    ],
)
def test_an_error_is_told_by_its_kind(error: Exception, kind: str, reason: str) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.reason) == (kind, reason) and type(error).__name__ in failure.details


def test_a_failure_is_kept_where_a_retry_would_fail_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    log = Path(keep_failure(store, "a1", "drawn/weave · FOD", Failure("diverged: so", "all of it", "diverged")))
    assert log.read_text().endswith("diverged: so\n\nall of it\n") and "drawn/weave · FOD" in log.read_text()
    assert kept_failure(store, "a1") == ("diverged: so", str(log))
    damage(store, "trials/a1/failure.json")
    assert kept_failure(store, "a1") is None, "a mark that cannot be read holds nobody up"
    forget_failure(store, "a1")
    assert not log.exists()
    keep_failure(store, "a1", "drawn/weave · FOD", Failure("an image is broken", "all of it", "data"))
    assert kept_failure(store, "a1") is None, "data may be put right by the next run"
    assert log.exists()


def test_a_log_holds_no_control_characters_of_the_input(tmp_path: Path) -> None:
    log = Path(keep_failure(open_store(str(tmp_path)), "a1", "weave", Failure("so", "one\ttwo\n\x1b[31mred", "data")))
    assert log.read_text().endswith("one\ttwo\n\\x1b[31mred\n")

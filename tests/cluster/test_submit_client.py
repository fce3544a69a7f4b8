"""What Ray says of a job, as a submission."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from fod_bench.cluster.submit.client import _submission


@pytest.mark.parametrize(
    ("status", "driver_code", "said", "code", "message"),
    [
        ("RUNNING", None, "", None, ""),
        ("SUCCEEDED", 0, "Job finished successfully.", 0, ""),
        ("FAILED", 3, "Job entrypoint command failed with exit code 3, last available logs …\nmore", 3, ""),
        ("FAILED", -6, "Job entrypoint command failed with exit code -6", 134, "ended by signal 6 (Aborted)"),
        ("FAILED", None, "Job supervisor actor died.\nmore", 1, "Job supervisor actor died."),
        ("STOPPED", None, "Job was intentionally stopped.", 130, "Job was intentionally stopped."),
    ],
)
def test_a_code_and_a_message(status: str, driver_code: int | None, said: str, code: int | None, message: str) -> None:
    job = SimpleNamespace(
        status=status,
        driver_exit_code=driver_code,
        message=said,
        metadata=None,
        submission_id="a",
        start_time=None,
        end_time=None,
    )
    found = _submission(job)
    assert (found.state, found.code, found.message) == (status, code, message)

"""A sweep over three hosts with a network of their own, of which one is cut off for a while and one killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.hosts import why_not

ROOT = Path(__file__).parents[2]
TRAININGS = 12
"""So many that on a fast machine, too, the first host has not done them all before the second has come back."""
LIMIT_SECONDS = 1800.0
"""Many times what an idle machine takes: this is only for a sweep that hangs."""


def test_one_host_is_cut_off_one_is_killed_and_the_records_are_those_of_a_quiet_run() -> None:
    """The host that is cut off reaches the store all the time: what it would write then must not be taken."""
    if reason := why_not():
        pytest.skip(reason)
    options = ["--seconds=30", f"--trainings={TRAININGS}", "--reaches-store", "--lease=8"]
    command = [sys.executable, "-m", "benchmarks.hosts", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # what it has started in other groups ends with it
            print(*process.communicate(), sep="\n")
            raise
    assert process.returncode == 0, out + err
    assert "host3 is killed" in out and "host2 trains again" in out
    assert re.search(rf"recorded {TRAININGS} trainings, resumed from a checkpoint [1-9]", out), out
    assert "nothing lost, nothing twice" in out

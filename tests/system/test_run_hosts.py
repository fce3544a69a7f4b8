"""A sweep over three hosts with a network of their own, of which one is cut off for a while and one killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.hosts import why_not

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cut_off", [[], ["--reaches-store"]], ids=["from all", "from the head"])
def test_one_host_is_cut_off_one_is_killed_and_the_records_are_those_of_a_quiet_run(cut_off: list[str]) -> None:
    if reason := why_not():
        pytest.skip(reason)
    command = [sys.executable, "-m", "benchmarks.hosts", "--seconds=30", "--trainings=16", *cut_off]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "host3 is killed" in done.stdout and "host2 trains again" in done.stdout
    assert "recorded 16 trainings" in done.stdout and "nothing lost, nothing twice" in done.stdout

"""The script for Slurm: bash and shellcheck take it, and it does what it should where Slurm's and Ray's commands are stand-ins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cluster_files import FOLDER, secrets_in, text_of
from tests.helpers.commands import wait_for

SCRIPT = FOLDER / "slurm.sh"

# Each stand-in writes what it was called with, a line each, and does as little as the script needs.
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'if [[ $1 == show ]]; then printf "node1\\nnode2\\n"; fi',
    "ray": """
case "$*" in
health-check*) [[ -e $LOG.head ]];;
*--head*) stat -c "token %a" "$RAY_AUTH_TOKEN_PATH" >> "$LOG"; : > "$LOG.head"; sleep 1000 & trap 'kill $!' TERM; wait;;
*) : > "$LOG.other"; sleep 1000 & trap 'kill $!' TERM; wait;;
esac""",
    "fod-bench": """
until [[ -e $LOG.other ]]; do sleep 0.02; done
if [[ ${AT_WORK:-} ]]; then
    trap 'echo "fod-bench asked to end" >> "$LOG"; kill $!; exit 130' TERM
    sleep 1000 & : > "$LOG.run"; wait
fi
exit "${CODE:-0}\"""",
    "hostname": "echo 192.0.2.7 192.0.2.8",
}


def checked(script: Path) -> list[str]:
    """What bash and shellcheck say against a script."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    commands = [["bash", "-n", str(script)], [str(shellcheck), "--severity=style", str(script)]]
    done = [subprocess.run(command, capture_output=True, text=True) for command in commands]
    return [one.stdout + one.stderr for one in done if one.returncode]


class Site:
    """A folder with stand-ins for what Slurm and the environment have."""

    def __init__(self, folder: Path) -> None:
        self.home, self.log = folder / "home", folder / "calls"
        programs = folder / "environment" / "bin"
        programs.mkdir(parents=True)
        self.home.mkdir()
        for name, does in STAND_INS.items():
            program = programs / name
            program.write_text(
                f'#!/usr/bin/env bash\ncall="{name} $*"; echo "${{call//[[:space:]]/ }}" >> "$LOG"\n{does}\n'
            )
            program.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LOG": str(self.log),
            "ENVIRONMENT": str(programs.parent),
            "JOB": "quickstart",
            "STORE": "/shared/store",
            "SLURM_JOB_ID": f"test-{os.getpid()}",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_GPUS_ON_NODE": "1",
        }

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start the script."""
        return subprocess.Popen(
            ["bash", str(SCRIPT)], env=self.environment | environment, stderr=subprocess.PIPE, text=True
        )

    def calls(self, beginning: str) -> list[str]:
        """What was called, by the beginning of the line."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(beginning)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_bash_and_shellcheck_take_the_script() -> None:
    assert checked(SCRIPT) == []
    assert secrets_in(text_of("slurm.sh")) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("done\ncode=0\n", "code=0\n"),
        ('rm -rf "$secret"', "rm -rf $secret"),
        ('address="$HEAD_ADDRESS', "address=$HAED_ADDRESS"),
    ],
)
def test_a_broken_script_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    text = text_of("slurm.sh")
    assert right in text
    broken = tmp_path / "slurm.sh"
    broken.write_text(text.replace(right, wrong))
    assert checked(broken)


@pytest.mark.parametrize("code", [0, 3])
def test_ray_runs_on_all_nodes_with_a_token_for_as_long_as_the_run(site: Site, code: int) -> None:
    assert site.start(CODE=str(code)).wait(60) == code, "the run's own exit code"
    head, other = site.calls("srun ")
    assert "--nodes=1 --ntasks=1 --nodelist=node1" in head and "--nodes=1 --ntasks=1 --exclude=node1" in other
    head, other = site.calls("ray start")
    for one in (head, other):
        assert "--num-cpus=8 --num-gpus=1" in one and "--block" in one
    assert "--head --node-ip-address=192.0.2.7 --port=6379 --include-dashboard=false" in head
    assert "--address=192.0.2.7:6379" in other
    assert site.calls("token") == ["token 600"]
    assert site.calls("fod-bench") == ["fod-bench run quickstart --address 192.0.2.7:6379 --store /shared/store"]
    assert list(site.home.iterdir()) == [], "the token is gone"
    assert not site.calls("scontrol requeue")


@pytest.mark.parametrize(("number", "queued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_asked_to_end_it_lets_the_run_end_and_queues_again_only_when_its_time_is_up(
    site: Site, number: int, queued: bool
) -> None:
    script = site.start(AT_WORK="yes")
    wait_for(Path(f"{site.log}.run").exists, "the run")
    script.send_signal(number)
    assert script.wait(60) == 130
    assert site.calls("fod-bench asked") and bool(site.calls("scontrol requeue")) == queued
    assert list(site.home.iterdir()) == []


def test_a_ray_that_does_not_start_is_told(site: Site) -> None:
    (Path(site.environment["ENVIRONMENT"]) / "bin/ray").write_text("#!/usr/bin/env bash\nexit 1\n")
    script = site.start()
    assert script.wait(60) == 1 and script.stderr is not None
    assert "Ray has not started on node1" in script.stderr.read()


@pytest.mark.parametrize("missing", ["JOB", "STORE"])
def test_what_is_not_given_is_asked_for(site: Site, missing: str) -> None:
    script = site.start(**{missing: ""})
    assert script.wait(60) == 1 and script.stderr is not None
    assert f"{missing}: is missing: sbatch" in script.stderr.read() and not site.log.exists()

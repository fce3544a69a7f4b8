"""The Dockerfile, and what of the repository is sent to whoever builds it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from tests.helpers.cluster_files import ROOT, secrets_in

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8")
NEEDED = {"Dockerfile", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"}


def faults(text: str, folder: Path) -> Iterator[str]:
    """What is wrong with a Dockerfile: by hadolint, and by rules of this project. `folder`: an empty one."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), "--no-color", "--format=json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder)
    yield from (f"{fault['code']} {fault['message']}" for fault in json.loads(done.stdout))
    path = folder / "Dockerfile"
    path.write_text(text, encoding="utf-8")
    steps = [(step["instruction"], step["value"]) for step in DockerfileParser(str(path)).structure]
    users = [value for instruction, value in steps if instruction == "USER"]
    if not users or users[-1] in ("root", "0"):
        yield "runs as root"
    if not any(instruction == "ENV" and value.startswith("HOME=/home/") for instruction, value in steps):
        yield "names no HOME"
    for instruction, value in steps:
        if instruction == "COPY" and not set(value.split()[:-1]) <= NEEDED | {"fod_bench"}:
            yield f"copies {value}"
        if instruction == "RUN" and "pip install" in value and not {"--constraint", "--no-deps"} & set(value.split()):
            yield "installs versions that were not tested"
    yield from (f"holds a secret: {secret}" for secret in secrets_in(text))


def sent(folder: Path, ignored: str) -> set[str]:
    """The files of a folder that go to the builder, by docker's own rules."""
    patterns = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    return {path for path in exclude_paths(str(folder), patterns) if (folder / path).is_file()}


def test_the_dockerfile_is_taken(tmp_path: Path) -> None:
    assert list(faults(TEXT, tmp_path)) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM python", "DL3006"),
        ("FROM python:3.11-slim-bookworm", "FROM python:latest", "DL3007"),
        ("USER 1000:1000", "USER root", "runs as root"),
        ("USER 1000:1000\n", "", "runs as root"),
        ("ENV HOME=/home/fod\n", "", "HOME"),
        ("COPY fod_bench fod_bench", "COPY . .", "copies"),
        ("COPY fod_bench fod_bench", "ADD fod_bench fod_bench", "DL3020"),
        ("--constraint constraints.txt ", "", "not tested"),
        ("--no-install-recommends ", "", "DL3015"),
        ("ENV HOME", "ENV AWS_SECRET_ACCESS_KEY=abc\nENV HOME", "secret"),
        ('CMD ["fod-bench"', 'CMD ["fod-bench', ""),
    ],
)
def test_a_broken_dockerfile_is_refused(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in TEXT
    found = list(faults(TEXT.replace(right, wrong), tmp_path))
    assert any(said in fault for fault in found), found


def test_the_builder_gets_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    needed = {*NEEDED, "fod_bench/__init__.py", "fod_bench/jobs/quickstart.yaml", "fod_bench/paper/table01.csv"}
    private = {
        ".git/config",
        ".env",
        ".aws/credentials",
        ".ray/auth_token",
        "auth_token",
        "credentials",
        "id_ed25519",
        "data/mvtec/bottle/train/good/000.png",
        "weights/model.safetensors",
        "results/store/fod-bench.json",
        "results/quickstart/quickstart.md",
        "clusters/aws.yaml",
        "tests/conftest.py",
        "jobs/mine.yaml",
        "fod_bench/.env",
        "fod_bench/__pycache__/errors.cpython-311.pyc",
        ".venv/bin/python",
    }
    for name in needed | private:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sent(tmp_path, IGNORED) == needed
    assert sent(tmp_path, "*.pyc\n") & private, "a file that names what to leave out would not do"

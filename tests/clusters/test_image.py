"""The Dockerfile, and what of the repository is sent to whoever builds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
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
        if instruction == "RUN" and "apt-get install" in value and "gcc" not in value.split():
            yield "has no C compiler, which Triton calls on a GPU"
        if instruction == "COPY" and not set(value.split()[:-1]) <= NEEDED | {"fod_bench"}:
            yield f"copies {value}"
        if instruction == "RUN" and "pip install" in value and not {"--constraint", "--no-deps"} & set(value.split()):
            yield "installs versions that were not tested"
    yield from (f"holds a secret: {secret}" for secret in secrets_in(text))


def installed(text: str, folder: Path) -> dict[str, bytes]:
    """The package's files that a Dockerfile's steps install, by name. `folder`: an empty one.

    They are run as they stand, but for a pip that makes the wheel and installs nothing.
    """
    programs, work, wheels = (folder / name for name in ("bin", "work", "wheels"))
    programs.mkdir()
    work.mkdir()
    pip = f"{sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir {wheels} ."
    for name, command in (("pip", pip), ("fod-bench", "true")):
        (programs / name).write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    path = folder / "Dockerfile"
    path.write_text(text, encoding="utf-8")
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    for step in DockerfileParser(str(path)).structure:
        if step["instruction"] == "COPY":
            *sources, target = step["value"].split()
            for source in sources:  # with their times, as docker does
                if (ROOT / source).is_dir():
                    shutil.copytree(
                        ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
                    )
                else:
                    shutil.copy2(ROOT / source, work / target)
        elif step["instruction"] == "RUN" and "pip install" in step["value"]:
            subprocess.run(["sh", "-c", step["value"]], cwd=work, env=environment, check=True, stdin=subprocess.DEVNULL)
    newest = max(wheels.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    with zipfile.ZipFile(newest) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if name.startswith("fod_bench/")}


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
        ("gcc libc6-dev ", "", "C compiler"),
        ("ENV HOME", "ENV AWS_SECRET_ACCESS_KEY=abc\nENV HOME", "secret"),
        ('CMD ["fod-bench"', 'CMD ["fod-bench', ""),
    ],
)
def test_a_broken_dockerfile_is_refused(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in TEXT
    found = list(faults(TEXT.replace(right, wrong), tmp_path))
    assert any(said in fault for fault in found), found


def test_the_package_in_the_image_is_the_one_that_was_sent(tmp_path: Path) -> None:
    found = installed(TEXT, tmp_path)
    assert "fod_bench/__init__.py" in found and "fod_bench/jobs/quickstart.yaml" in found
    assert [name for name, content in found.items() if (ROOT / name).read_bytes() != content] == []
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "fod_bench").rglob("*.py")} <= found.keys()


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

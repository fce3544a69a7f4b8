"""Images, versions and ports in the cluster files, the Dockerfile and their page are those of the project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fod_bench import __version__
from tests.helpers.cluster_files import FOLDER, IMAGE, KUBERAY, ROOT, SCHEMAS, constraints, objects

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(FOLDER.iterdir()), ROOT / "Dockerfile", ROOT / "docs/clusters.md")
}
PORTS = {22: "ssh", 6379: "Ray's head", 8076: "Ray's object manager", 8265: "Ray's dashboard", 10002: "", 19999: ""}
PORTS |= {8080: "metrics, with KubeRay", 9090: "Prometheus", 9464: "metrics of a run on this machine"}
PYTHON = re.search(r"\(Python (3\.\d+),", (ROOT / "constraints.txt").read_text(encoding="utf-8"))


def image_faults(text: str) -> Iterator[str]:
    """Names of images that are not the project's."""
    named = re.findall(r"(?:^|[\s\"'=])((?:[\w.-]+/)+[\w.-]+:[\w.-]+)(?=$|[\s\"'])", text, flags=re.MULTILINE)
    named += re.findall(r"\bimage: *(\S+)", text)
    yield from (image for image in named if image != IMAGE)
    yield from (image for image in re.findall(r"\S*fod-bench:[\w.-]+", text) if image.strip("`'\"(") != IMAGE)


def version_faults(text: str) -> Iterator[str]:
    """Versions of Python, Ray, PyTorch, CUDA and its driver that are not those of constraints.txt."""
    assert PYTHON is not None
    exact = constraints()
    cuda = exact["nvidia-cuda-runtime"].split(".")[0]
    told = {
        r"\b[Pp]ython[ :]?(3\.\d+)": PYTHON[1],
        r"\bRay (\d+\.\d+(?:\.\d+)?)": exact["ray"],
        r"rayVersion: \"?([\d.]+)": exact["ray"],
        r"\bPyTorch (\d+\.\d+(?:\.\d+)?)": exact["torch"],
        r"\bCUDA (\d+)\b": cuda,
        r"\bdriver(?:s)?(?: of| \()? ?(\d{3})\b": {"13": "580"}[cuda],
    }
    for pattern, right in told.items():
        for found in re.findall(pattern, text):
            if found != right and not (found.count(".") == 1 and right.startswith(f"{found}.")):
                yield f"{pattern}: {found}, not {right}"


def port_faults(text: str) -> Iterator[str]:
    """Ports that are none of those that the page tells of."""
    written = re.findall(r"(?:port\"?[=: ]+|containerPort: |HOST:|127\.0\.0\.1:|RAY_PORT:-|ports? )(\d{2,5})\b", text)
    yield from (port for port in written if int(port) not in PORTS)


@pytest.mark.parametrize("name", TEXTS)
def test_images_versions_and_ports_agree(name: str) -> None:
    assert list(image_faults(TEXTS[name])) == []
    assert list(version_faults(TEXTS[name])) == []
    assert list(port_faults(TEXTS[name])) == []


def test_what_disagrees_is_found() -> None:
    for image in ("registry.example.com/fod-bench:0.0.9", "rayproject/ray:2.60.0", "fod-bench:latest"):
        assert list(image_faults(f"    image: {image}\n")), image
    for text in (
        "FROM python:3.12-slim-bookworm",
        "python3.10 -m venv",
        'rayVersion: "2.52.0"',
        "Ray 2.61",
        "PyTorch 2.14",
        "CUDA 12",
        "NVIDIA driver of 525 or newer",
        "a driver (570 or newer)",
    ):
        assert list(version_faults(text)), text
    for text in ("--port=6380", "containerPort: 8266", "{port: 10001}", "--address 127.0.0.1:6000", "RAY_PORT:-7000"):
        assert list(port_faults(text)), text


def test_what_agrees_is_there_to_be_found() -> None:
    assert __version__ in IMAGE
    for name in ("aws.yaml", "gcp.yaml", "kuberay-job.yaml", "kuberay-cluster.yaml"):
        assert IMAGE in TEXTS[f"clusters/{name}"]
    assert "FROM python:3.11-" in TEXTS["Dockerfile"] and PYTHON is not None and PYTHON[1] == "3.11"
    for name in KUBERAY:
        (ray,) = (one["spec"] for one in objects(name) if one["apiVersion"] == "ray.io/v1")
        assert ray.get("rayClusterSpec", ray)["rayVersion"] == constraints()["ray"]


def test_the_page_tells_of_every_port_that_a_file_opens() -> None:
    page = TEXTS["docs/clusters.md"]
    assert all(str(port) in page for port in PORTS)


def test_settings_of_this_program_in_the_files_are_ones_that_it_reads() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(ROOT / "fod_bench").rglob("*.py"))
    jobs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "fod_bench/jobs").glob("*.yaml"))
    for name, text in TEXTS.items():
        for variable in set(re.findall(r"\bFOD_\w+", text)) - {SCHEMAS}:
            assert variable in source or variable in jobs, f"{name}: {variable}"

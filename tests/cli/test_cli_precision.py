"""A precision that this machine lacks: told in one line by `plan`, refused by `run` before Ray starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.machine.processor import Processor

JOB = """
name: precise
datasets: {drawn: {layout: synthetic, categories: [weave]}}
settings: {backbone: mobilenetv2_100, weights: random, image_size: 64, levels: [16], precision: PRECISION}
"""


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A job, on a machine without a GPU whose processor has AVX-512 and no more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fod_bench.plan.plan.has_gpu_driver", lambda: False)
    monkeypatch.setattr("fod_bench.methods.fod.on_cpu.processor", lambda: Processor(flags=frozenset({"avx512f"})))
    monkeypatch.setattr("fod_bench.cluster.open.open_ray_pool", lambda *_, **__: pytest.fail("Ray was started"))
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def called(job: Path, command: str, precision: str, *changes: str) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    changed = [f"--set={change}" for change in (f"precision={precision}", *changes)]
    result = CliRunner().invoke(app, [command, str(job), "--store", "store", *changed])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_what_the_processor_lacks_is_one_line(job: Path, command: str, precision: str) -> None:
    code, said = called(job, command, precision)
    assert code == (1 if command == "run" else 0) and len(said.strip().splitlines()) == 1
    assert f"precision {precision}: this processor does not multiply in it" in said and "use float32" in said


def test_what_the_machine_has_is_planned(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(job, "plan", "float32") == (0, "")
    assert called(job, "plan", "tf32", "resources.gpus=1") == (0, "")
    monkeypatch.setattr("fod_bench.methods.fod.on_cpu.processor", lambda: Processor(flags=frozenset({"amx_bf16"})))
    assert called(job, "plan", "bfloat16") == (0, "")
    monkeypatch.setattr("fod_bench.plan.plan.has_gpu_driver", lambda: True)
    assert called(job, "plan", "tf32") == (0, "")
    assert called(job, "plan", "tf32", "resources.gpus=0")[1] != ""

"""Runs that meet what goes wrong: each fault is named, the rest goes on, and nothing half-made is taken for whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from fod_bench.records.record import Record
from tests.helpers.commands import Bench
from tests.helpers.dataset_builders import btad_category, folder_category, mask

SESSIONS = """
import os, sys
from fod_bench.cluster.session import ray_session

def ask(address):
    before = dict(os.environ)
    with ray_session(address):
        import ray
        held = [os.environ["RAY_AUTH_MODE"], os.environ.get("RAY_AUTH_TOKEN_PATH")]
        tasks = ray.remote(num_cpus=0)(lambda: os.environ.get("RAY_AUTH_TOKEN_PATH")).remote()
        print(ray.nodes()[0]["NodeManagerAddress"], *held, ray.get(tasks), file=sys.__stdout__)
    assert dict(os.environ) == before, "the environment is as it was"

for address in (None, sys.argv[1], None):
    ask(address)
"""
DIVERGES = "a loss is not finite in epoch 1, step 2"


@pytest.fixture(scope="module")
def address(bench: Bench) -> str:
    """A cluster that somebody else started, in another folder than the one the commands run in."""
    return bench.cluster(cpus=2)


def test_faulty_data_are_named_while_the_others_go_on_and_damage_is_repaired(bench: Bench) -> None:
    images = bench.folder / "images"
    for name in ("nut", "broken", "unmasked", "misfit", "spotless", "defective"):
        folder_category(images, name)
    (images / "broken/train/good/001.png").write_bytes(b"no image")
    (images / "unmasked/ground_truth/crack/001_mask.png").unlink()
    mask(images / "misfit/ground_truth/dent/000_mask.png", size=(5, 5))
    for place in ("crack", "dent"):
        for image in (images / f"spotless/test/{place}").iterdir():
            image.unlink()
    for image in (images / "defective/test/good").iterdir():
        image.unlink()
    btad_category(bench.folder / "btad", "01", ".bmp", ".png")
    job = bench.job(
        "faults",
        datasets={
            "images": {"layout": "folder", "root": "images"},
            "btad": {"layout": "btad", "root": "btad", "categories": ["01", "02"]},
            "gone": {"layout": "folder", "root": "nowhere"},
        },
        variants={"FOD": {}, "Diverging": {"learning_rate": 1e30}},
    )
    first = bench.run("run", job, code=3)

    lines = first.err.splitlines()
    failed = [line for line in lines if line.startswith("failed    ")]
    assert any("unmasked" in line and "crack/001.png" in line and "mask" in line for line in failed)
    assert any("btad/02" in line and "category 02 is not in" in line for line in failed)
    assert any("datasets.gone: there is no folder nowhere" in line and "--set" in line for line in failed)
    assert sum("broken/train/good/001.png cannot be read" in line for line in failed) == 2, "once per training"
    assert sum("misfit/ground_truth/dent/000_mask.png" in line and "5" in line for line in failed) == 2
    assert sum("Diverging" in line and DIVERGES in line for line in failed) == 4
    assert lines[-1] == "16 trainings: 4 done, 12 failed; 1 data set missing"
    logs = [Path(line.split("log: ", 1)[1]) for line in lines if "   log: " in line]
    assert len(logs) == 8 and all("Error" in log.read_text() for log in logs)
    assert "Traceback" not in first.err

    records = {(record.category, record.setting["learning_rate"]): record for record in bench.records().values()}
    assert {category for category, _ in records} == {"nut", "spotless", "defective", "01"}
    assert set(records["spotless", 1e-3].undefined) > {"image_auroc", "pixel_auroc"}
    assert "n/a" in first.out
    assert "no normal image in the test split" in first.out and "no defect in the test split" in first.out
    _what_failed_before_is_not_repeated(bench, job)
    _damage_is_repaired(bench, job, records["nut", 1e-3], records["01", 1e-3])


def _what_failed_before_is_not_repeated(bench: Bench, job: str) -> None:
    started = bench.ray_started()
    again = bench.run("run", job, "--only", "Diverging/images/nut", "--quiet", code=3)
    assert f"in an earlier run: diverged: {DIVERGES}" in again.err and "--retry-failed" in again.err
    assert bench.ray_started() == started, "nothing to do, so no Ray"


def _damage_is_repaired(bench: Bench, job: str, nut: Record, bolt: Record) -> None:
    """Damage one object of every kind. `nut` loses its record and reference, `bolt` its features and record."""
    before = bench.digests()
    assert nut.reference is not None
    store = bench.folder / "results/store"
    _damage(store / f"trials/{nut.key}/record.json")
    _damage(store / f"references/{nut.reference['key']}.safetensors")
    (features,) = (store / f"features/{bolt.features['key']}").glob("*/train.safetensors")
    _damage(features)
    (store / f"trials/{bolt.key}/record.json").unlink()

    done = bench.run("run", job, "--only", "*/*/[n0]*", "--retry-failed", code=3)
    lines = [line for line in done.err.splitlines() if line.startswith("damaged   ")]
    assert sum("images/nut" in line and "record.json" in line for line in lines) == 1
    assert sum(f"references/{nut.reference['key']}" in line for line in lines) == 1
    assert sum(f"features/{bolt.features['key']}" in line and "made anew" in line for line in lines) == 1
    assert done.err.count(DIVERGES) == 2, "--retry-failed tried them again"
    assert "features  01: extracted" in done.err and "features  nut: extracted" not in done.err
    assert bench.digests() == before


def test_weights_that_do_not_fit_and_a_store_that_fails_on_a_cluster_of_somebody_else(
    bench: Bench, address: str
) -> None:
    import timm

    network = timm.create_model("resnet34", pretrained=False)
    save_file({name: value.numpy() for name, value in network.state_dict().items()}, bench.folder / "other.safetensors")
    (bench.folder / "damaged.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 no weights here")
    folder_category(bench.folder / "parts")
    datasets = {"parts": {"layout": "folder", "root": "parts"}}  # relative to here, not to where the cluster runs
    rows = {
        "Other": {"backbone": "resnet18", "weights": "other.safetensors"},
        "Damaged": {"weights": "damaged.safetensors"},
    }
    for row, reason in (("Other", "do not fit resnet18"), ("Damaged", "damaged.safetensors")):
        unfit = bench.job(f"weights-{row.lower()}", datasets=datasets, variants={"Random": {}, row: rows[row]})
        refused = bench.run("run", unfit, "--address", address, code=1)
        (line,) = refused.err.splitlines()
        assert line.startswith("fod-bench: weights ") and reason in line, "before anything runs"
    job = bench.job("weights", datasets=datasets, store="elsewhere", variants={"Random": {}})
    done = bench.run("run", job, "--address", address)
    assert "1 training: 1 done" in done.err and "asks for no token" not in done.err

    (bench.folder / "blocked").mkdir()
    (bench.folder / "blocked/trials").write_text("a file, where the store wants a folder")
    failed = bench.run("run", job, "--address", address, "--store", "blocked", "--only", "Random/*", code=1)
    assert failed.err.count("again     parts/nut") >= 2 and "the same command goes on" in failed.err
    assert "cannot write object trials/" in failed.err.splitlines()[-1] and "Traceback" not in failed.err

    refused = bench.run("run", job, "--address", address, "--store", "none", "--set", "resources.gpus=1", code=1)
    assert "asks for 1 CPUs and 1 GPUs, which no machine of the cluster has; they have 2 CPUs and 0 GPUs" in refused.err
    assert "--set resources.gpus=0" in refused.err


def test_workers_that_cannot_start_end_the_run_with_the_reason(bench: Bench) -> None:
    (bench.folder / "broken").mkdir()
    (bench.folder / "broken/torch.py").write_text("raise ImportError('torch is broken on purpose')\n")
    job = bench.job("unstarted", store="unstarted")
    done = bench.run("run", job, PYTHONPATH=str(bench.folder / "broken"), code=1)
    assert done.err.count("again     a worker did not start: ImportError") == 2
    assert done.err.splitlines()[-1] == "fod-bench: workers do not start: ImportError: torch is broken on purpose"


def test_a_cluster_that_is_not_there_is_said_at_once(bench: Bench) -> None:
    job = bench.job("nobody", store="nobody")
    done = bench.run("run", job, "--address", "127.0.0.1:1", code=1)
    assert "fod-bench: the Ray cluster at 127.0.0.1:1 cannot be reached" in done.err
    assert "refused" in done.err and "Traceback" not in done.err


def test_sessions_of_one_process_leave_nothing_to_each_other(bench: Bench, address: str) -> None:
    done = bench.start_process(sys.executable, "-c", SESSIONS, address).finished()
    assert done.code == 0, done.err
    first, joined, second = (line.split() for line in done.out.splitlines())
    assert first[:2] == second[:2] == ["127.0.0.1", "token"] and first[2] == first[3] != second[2] == second[3]
    assert joined == [address.rpartition(":")[0], "token", "None", "None"]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HOME": "."}, "this user has none; put the cluster's into ~/.ray/auth_token, or name a file"),
        ({"RAY_AUTH_TOKEN": "0" * 40}, "asks for another token than the one in RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE=disabled keeps this user's from being sent; unset it"),
        (
            {"RAY_AUTH_MODE": "token", "HOME": "."},
            "RAY_AUTH_MODE=token asks for a token to send, and this user has none",
        ),
        ({"RAY_AUTH_TOKEN_PATH": "nowhere"}, "RAY_AUTH_TOKEN_PATH: the token in nowhere cannot be read"),
    ],
    ids=["none", "another", "disabled", "required", "unreadable"],
)
def test_a_cluster_whose_token_the_user_does_not_have_is_said_in_a_line(
    bench: Bench, address: str, environment: dict[str, str], reason: str
) -> None:
    job = bench.job("stranger", store="stranger")
    done = bench.run("run", job, "--address", address, "--quiet", code=1, **environment)
    (line,) = done.err.splitlines()
    assert line.startswith("fod-bench: ") and reason in line


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

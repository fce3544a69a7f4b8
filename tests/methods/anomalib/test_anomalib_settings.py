"""Settings of anomalib's models: what holds whether the package is installed or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fod_bench.errors import JobError, TrialError
from fod_bench.job import Job
from fod_bench.methods import registry
from fod_bench.methods.anomalib import build, package, settings
from fod_bench.methods.anomalib.models import MODELS
from fod_bench.methods.anomalib.settings import AnomalibSettings, OnBackbone, Trained
from fod_bench.methods.base import Context
from fod_bench.methods.registry import family_names, method_names, settings_class
from fod_bench.records.record import Counts
from tests.helpers.fitting import CPU

NAMES = (
    *("padim", "patchcore", "mh_patchcore", "dfkde", "dfm", "fre", "stfpm", "reverse_distillation", "fastflow"),
    *("cflow", "uflow", "patchflow", "supersimplenet", "glass", "ganomaly"),
)


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch) -> str:
    """As if this version of the package were installed."""
    set_version(monkeypatch, "2.7.0")
    return "2.7.0"


def set_version(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    for module in (package, settings):
        monkeypatch.setattr(module, "installed", lambda: found)


def made(name: str, **keys: Any) -> AnomalibSettings:
    found = settings_class(f"anomalib/{name}").complete({"method": f"anomalib/{name}", **keys})
    assert isinstance(found, AnomalibSettings)
    return found


def job(**keys: Any) -> Job:
    return Job.model_validate({"name": "j", "datasets": {"d": {"layout": "folder", "root": "x"}}, **keys})


def test_every_model_is_a_method_by_its_name() -> None:
    assert family_names() == [f"anomalib/{name}" for name in NAMES] == list(MODELS)
    assert not any("/" in name for name in method_names())
    for name in family_names():
        kind = settings_class(name)
        assert kind.model_fields["method"].default == name and kind.summary
        assert all(field.description for field in kind.model_fields.values()), "every key is documented"


def test_a_model_that_is_not_offered_is_refused_with_the_nearest() -> None:
    with pytest.raises(JobError, match=r"unknown model of anomalib 'anomalib/padin'; did you mean anomalib/padim"):
        settings_class("anomalib/padin")
    with pytest.raises(JobError, match=r"unknown method 'anomolib/padim'; did you mean anomalib/padim"):
        settings_class("anomolib/padim")


def test_without_the_package_a_job_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, None)
    with pytest.raises(ValidationError) as refused:
        job(settings={"method": "anomalib/padim"})
    (error,) = refused.value.errors()
    assert "`anomalib/padim` needs the package anomalib, which is not installed here" in error["msg"]
    assert "pip install 'fod-bench[anomalib]'" in error["msg"] and "\n" not in error["msg"]
    job(settings={"method": "padim"})  # other methods do not ask for it


def test_nothing_but_a_trial_imports_the_package(tmp_path: Path) -> None:
    """Also where it is installed: importing it takes seconds."""
    (tmp_path / "job.yaml").write_text(
        "{name: j, store: store, datasets: {d: {layout: synthetic, categories: [weave]}}, "
        "settings: {method: padim, backbone: resnet18, weights: random, image_size: 64}}"
    )
    code = f"""
import sys
from typer.testing import CliRunner
from fod_bench.cli.app import app
for arguments in (["methods"], ["methods", "anomalib/padim"], ["plan", {str(tmp_path / "job.yaml")!r}]):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
import fod_bench.methods.anomalib.method
assert not {{"anomalib", "lightning"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_version_and_settings_are_in_the_identity_of_a_training(name: str, version: str) -> None:
    found = made(name) if name != "supersimplenet" else made(name, image_size=128)
    setting = found.training()
    assert setting["method"] == f"anomalib/{name}" and setting["anomalib"] == version and setting["batch_size"] == 32
    assert set(found.own_keys()) <= setting.keys()
    assert ("backbone" in setting) == isinstance(found, OnBackbone) == (found.needs().network is not None)
    assert ("epochs" in setting) == isinstance(found, Trained) == bool(found.losses)
    assert found.needs().images and not found.needs().features
    assert not {"scoring", "weights"} & setting.keys()


def test_another_version_is_another_training(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    first = made("patchcore").training()
    set_version(monkeypatch, "2.7.1")
    assert made("patchcore").training() == first | {"anomalib": "2.7.1"}


def test_a_trial_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    setting = made("ganomaly").training()
    monkeypatch.setattr(build, "version", lambda: "2.7.1")
    with pytest.raises(TrialError, match=r"of anomalib 2\.7\.0, and 2\.7\.1 is installed here"):
        build.Model(setting, Context(256), 0, CPU)


@pytest.mark.parametrize(
    ("name", "keys", "place", "text"),
    [
        ("padim", {"backbone": "mobilenetv2_100"}, "n_features", "give one, or `all`"),
        ("padim", {"n_features": 449}, "n_features", "449 cannot be kept of 448"),
        ("patchcore", {"coreset_sampling_ratio": 1.5}, "coreset_sampling_ratio", "at most 1"),
        ("mh_patchcore", {"covariance_shrinkage": 1.5}, "covariance_shrinkage", "at most 1"),
        ("fastflow", {"backbone": "mobilenetv2_100"}, "backbone", "written for resnet18, wide_resnet50_2 alone"),
        ("uflow", {"levels": [8, 16]}, "levels", "takes the levels 4, 8, 16 and no others"),
        ("dfm", {"levels": [8, 16]}, "levels", "takes one level, not 2"),
        ("dfkde", {"levels": [8, 16]}, "levels", "takes one level, not 2"),
        ("dfm", {"pooling_kernel_size": 17}, "pooling_kernel_size", "more than the 16 positions"),
        ("patchcore", {"score_levels": [8]}, "score_levels", "one score"),
        ("patchcore", {"backbone_precision": "bfloat16"}, "backbone_precision", "in float32"),
        ("supersimplenet", {"image_size": 64}, "image_size", "take 72 pixels or more"),
        ("stfpm", {"measure": "cost"}, "measure", "cannot be measured"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    name: str, keys: dict[str, Any], place: str, text: str, version: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        made(name, **keys)
    (error,) = refused.value.errors()
    assert error["loc"] == (place,) and text in error["msg"]


@pytest.mark.parametrize(
    ("name", "keys", "train", "text"),
    [
        ("padim", {}, 1, "needs 2 training images"),
        ("dfkde", {}, 16, "needs 17 training images"),
        ("patchcore", {"coreset_sampling_ratio": 0.0001}, 9, "9216 patches is not one"),
        ("cflow", {"image_size": 32, "levels": [8, 16]}, 33, "give 4 feature vectors of level 16"),
    ],
)
def test_a_category_that_is_too_small_is_named_before_anything_runs(
    name: str, keys: dict[str, Any], train: int, text: str, version: str
) -> None:
    found = made(name, **keys)
    assert text in str(found.too_small(Counts(train=train, test_good=2, test_defect=2)))
    assert found.too_small(Counts(train=64, test_good=2, test_defect=2)) is None


def test_steps_and_defaults_are_those_of_anomalib(version: str) -> None:
    counts = Counts(train=70, test_good=2, test_defect=2)
    assert made("padim").steps(counts) == 3 and made("mh_patchcore").steps(counts) == 9
    assert made("stfpm", epochs=7).steps(counts) == 21
    assert (
        made("padim").training()["n_features"] == 100
        and made("padim", n_features="all").training()["n_features"] == 448
    )
    assert made("fre").training()["input_dim"] == 65536
    assert made("patchcore").training()["num_neighbors"] == 9


def test_the_registry_knows_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    from fod_bench.methods.anomalib import models

    monkeypatch.setattr(models, "installed", lambda: "2.7.0")
    assert registry.origin("anomalib/padim") == "anomalib 2.7.0"
    monkeypatch.setattr(models, "installed", lambda: None)
    assert registry.origin("anomalib/padim") == "not installed: pip install 'fod-bench[anomalib]'"

"""`fod-bench methods`, with a method that an installed package offers and one that cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.job.settings import setting_keys
from fod_bench.methods import registry

SETTINGS = '''
from typing import ClassVar
from fod_bench.methods.settings import BackboneSettings

class NearestSettings(BackboneSettings):
    """Distance to the nearest training feature."""

    implementation: ClassVar[str] = "nearest_plugin:Nearest"
    summary: ClassVar[str] = "distance to the nearest training feature"
    works_on: ClassVar[str] = "features"
    neighbours: int = 1
    """How many are averaged."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package as pip would install it: a module, and metadata with entry points."""
    (tmp_path / "nearest_plugin.py").write_text(SETTINGS)
    about = tmp_path / "nearest_plugin-0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest-plugin\nVersion: 0.3\n")
    points = (
        "nearest = nearest_plugin:NearestSettings\nbroken = not_there:Settings\nfod = nearest_plugin:NearestSettings\n"
    )
    (about / "entry_points.txt").write_text(f"[fod_bench.methods]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (registry._offered, registry.settings_class, setting_keys):
        cached.cache_clear()
    yield
    for cached in (registry._offered, registry.settings_class, setting_keys):
        cached.cache_clear()


def said(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["methods", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_every_method_is_listed_with_what_it_needs(plugin: None) -> None:
    text = said()
    assert (
        text.index("fod (built in)")
        < text.index("broken (nearest-plugin 0.3)")
        < text.index("nearest (nearest-plugin 0.3)")
    )
    assert text.count("fod (") == 1, "a built-in name is not given away"
    assert "works on: features after a 3×3 mean, reference features" in text and "ICCV 2023" in text
    assert "cannot be used: method 'broken' of nearest-plugin 0.3 cannot be used: ModuleNotFoundError" in text


def test_the_settings_of_one_are_told(plugin: None) -> None:
    assert "| `lambda1` | number | `0.5` |" in said("fod") and "`reference`, kind `coreset`" in said("fod")
    text = said("nearest")
    assert "| `neighbours` | whole number | `1` | How many are averaged. |" in text and "`backbone_precision`" in text
    assert "lambda1" not in text
    assert "did you mean nearest?" in said("nearst", code=1)


def test_a_job_may_use_it_and_its_keys_only_there(plugin: None) -> None:
    from pydantic import ValidationError

    from fod_bench.job import Job

    data = {"d": {"layout": "folder", "root": "x"}}
    variants = {"FOD": {}, "Nearest": {"method": "nearest", "neighbours": 3}}
    job = Job.model_validate(
        {"name": "j", "datasets": data, "settings": {"levels": [8], "lambda1": 1.0}, "variants": variants}
    )
    rows = dict(job.rows())
    assert rows["Nearest"].model_dump()["neighbours"] == 3 and rows["Nearest"].model_dump()["levels"] == (8,)
    assert rows["FOD"].model_dump()["lambda1"] == 1.0 and "lambda1" not in rows["Nearest"].model_dump()
    with pytest.raises(ValidationError, match="is a key of `patchcore` and `nearest`; `fod`, the method of this row, does not have it"):
        Job.model_validate({"name": "j", "datasets": data, "variants": {"FOD": {"neighbours": 2}}})
    with pytest.raises(ValidationError, match="is a key of `nearest`, which no row of this job has"):
        Job.model_validate({"name": "j", "datasets": data, "settings": {"neighbours": 2}})

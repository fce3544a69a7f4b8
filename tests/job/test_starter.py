"""A first job file: its rows are what methods propose, and it is taken as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fod_bench.datasets.recognise import Proposal
from fod_bench.job import starter
from fod_bench.job.load import parse_job
from fod_bench.job.starter import Starter, starter_job
from fod_bench.methods.fod.settings import FodSettings
from fod_bench.methods.registry import method_names, settings_class
from fod_bench.methods.settings import BackboneSettings, FirstRow


def written(tmp_path: Path, **changes: Any) -> str:
    given: dict[str, Any] = {"name": "mine", "full": False, **changes}
    return starter_job(Starter(**given), Proposal("mvtec", tmp_path), [], "fod-bench run x")


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("full", [True, False])
def test_what_any_method_proposes_makes_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, full: bool
) -> None:
    monkeypatch.setattr(
        starter, "_METHODS", dict.fromkeys(("patchcore", method))
    )  # the former has every key of the file
    text = written(tmp_path, full=full, backbone="vgg16" if method == "mkd" else None)
    *_, (_, settings) = parse_job(text, "x.yaml").rows()
    assert settings.method == method


def test_a_row_is_what_its_method_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(BackboneSettings):
        @classmethod
        def first_row(cls, full: bool, epochs: int | None) -> FirstRow:
            return FirstRow("Mine", f"full: {full}", {"passes": epochs or 7})

    monkeypatch.setattr(starter, "settings_class", lambda name: Own)
    monkeypatch.setattr(starter, "_METHODS", ("mine",))
    assert "  # full: False\n  Mine: {method: mine, passes: 7}\n" in written(tmp_path)
    assert "  # full: True\n  Mine: {method: mine, passes: 3}\n" in written(tmp_path, full=True, epochs=3)


def test_the_paper_is_trained_as_published_where_there_is_a_gpu(tmp_path: Path) -> None:
    def trained(**changes: Any) -> FodSettings:
        settings = dict(parse_job(written(tmp_path, **changes), "x.yaml").rows())["FOD"]
        assert isinstance(settings, FodSettings)
        return settings

    assert trained(full=True) == FodSettings(evaluate_every=20)
    small = trained()
    assert (small.epochs, small.heads, small.backbone) == (5, 2, "mobilenetv2_100")
    assert [trained(full=full, epochs=9).epochs for full in (True, False)] == [9, 9]
    assert "Published: widths 256 and 512, 8 heads, 100 epochs at 0.0001." in written(tmp_path)


def test_methods_say_themselves_what_they_are() -> None:
    for method in method_names():
        row = settings_class(method).first_row(False, None)
        assert row.name and row.remark and "\n" not in row.remark

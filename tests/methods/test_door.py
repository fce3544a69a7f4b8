"""Nothing outside its folder knows a method: neither by an import nor by a word of its own."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

import fod_bench
from fod_bench.methods.registry import BUILT_IN, FAMILIES, method_class, method_names, settings_class
from fod_bench.methods.settings import BackboneSettings

PACKAGE = Path(fod_bench.__file__).parent
ALLOWED = (*(f"methods/{name}/" for name in (*BUILT_IN, *FAMILIES)), "paper/")
"""The methods' own folders, and what the paper prints of them."""

ORDINARY = {
    "heads",
    "layers",
    "views",
    "entropy",
    "epochs",
    "batch_size",
    "evaluate_every",
    "learning_rate",
    "reference",
    "precision",
    "optimization",
}
"""Keys of FOD that are also words, or keys that other methods have."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("fod_bench")


@pytest.mark.parametrize("name", BUILT_IN)
def test_nobody_outside_its_folder_imports_a_method(name: str, imports: grimp.ImportGraph) -> None:
    folder = f"fod_bench.methods.{name}"
    inside = {folder, *imports.find_descendants(folder)}
    assert len(inside) > 2, "it is there"
    outside = {other for module in inside for other in imports.find_modules_that_directly_import(module)} - inside
    assert outside == set()


def spelled(words: set[str]) -> list[str]:
    """Lines of code outside the allowed folders that hold one of the words."""
    pattern = re.compile(rf"\b({'|'.join(sorted(words))})\b")
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if not place.startswith(ALLOWED):
            found += [f"{place}: {line.strip()}" for line in path.read_text().split("\n") if pattern.search(line)]
    return found


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_setting_of_a_method_is_spelled_outside_the_methods_folders(name: str) -> None:
    own = settings_class(name).model_fields.keys() - BackboneSettings.model_fields.keys() - ORDINARY
    keys = {key for key in own if "_" in key or name == "fod"}  # the others are words that anything may have
    assert name != "fod" or {"lambda1", "lambda2", "d_model", "zero_gradient_step"} <= keys
    assert spelled(keys) == []


def test_no_rule_or_choice_of_fod_is_spelled_outside_its_folder() -> None:
    assert spelled({"two_phase", "rec_div", "rec_div_printed", "intra_divergence", "inter_divergence"}) == []


def test_every_method_answers_what_the_program_asks() -> None:
    assert method_names()[0] == "fod"
    for name in BUILT_IN:
        settings = settings_class(name).complete({})
        assert settings.method == name and settings.rules() and settings.training()["method"] == name
        assert settings.needs().features or settings.needs().images
        assert all(field.description for field in type(settings).model_fields.values()), "every key is documented"
        assert settings.summary and settings.works_on and method_class(name)

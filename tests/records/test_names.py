"""Names of stored objects: spelled in one file, told apart by kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fod_bench.records import names
from fod_bench.store.base import is_name

PACKAGE = Path(names.__file__).parents[1]
KEY, CLAIM, RUN = "3f2a" * 8, "00000001-ab12cd34", "job-0a1b2c3d"

NAMES = {
    "features": [names.manifest_name(KEY), names.set_file_name(KEY, CLAIM, "train")],
    "images": [names.manifest_name(KEY, names.IMAGES), names.set_file_name(KEY, CLAIM, "test", names.IMAGES)],
    "truth": [names.truth_name(KEY)],
    "references": [names.reference_name(KEY)],
    "records": [names.record_name(KEY)],
    "weights": [names.weights_name(KEY, CLAIM, "last")],
    "scores": [names.scores_name(KEY, CLAIM, "last")],
    "curves": [names.curves_name(KEY, CLAIM)],
    "normal": [names.normal_name(KEY, CLAIM, "last", "rec_div@8+16")],
    "checkpoints": [names.checkpoint_name(KEY, CLAIM, 12)],
    "failures": [names.failure_name(KEY), names.failure_log_name(KEY)],
    "claims": [names.claim_name(KEY, 3), names.beat_name(KEY, 3)],
    "runs": [names.job_name(RUN), names.plan_name(RUN), names.resources_name(RUN)],
    "index": [
        names.generation_name(7),
        names.indexed_name("0a1b"),
        names.newest_name(),
        names.change_name(KEY, "0a1b"),
    ],
    "states": [names.state_name(RUN, "d1")],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in NAMES.items() for name in found])
def test_a_name_is_a_stores_and_of_its_kind(kind: str, name: str) -> None:
    assert is_name(name) and names.kind_of(name) == kind
    if kind != "index":
        assert (names.run_of if kind in ("runs", "states") else names.key_of)(name) in (KEY, RUN)
    assert names.is_first(name) == name.endswith(("record.json", "manifest.json", "plan.json"))


def test_keys_and_numbers_are_found_in_the_names_of_an_index() -> None:
    assert names.changed_key(names.change_name("a.b", "0a1b")) == "a.b"
    assert names.generation_number(names.generation_name(12)) == 12
    assert names.generation_number("index/generations/strange") == 0


def test_every_kind_has_a_name_here_or_in_the_stores_probe() -> None:
    assert {*NAMES, "probe", "mark"} == set(names.KINDS)
    assert names.kind_of("trials/a/other.json") is None


def test_no_other_file_spells_a_name() -> None:
    """Docstrings may show one as an example."""
    spelled = re.compile(
        r"""f?["'](?:trials|claims|features|images|truth|references|runs|index)/|["']/?(?:record|manifest|plan|failure|curves)\.json["']"""
    )
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path != Path(names.__file__):
            lines = path.read_text().split("\n")
            found += [
                f"{path.relative_to(PACKAGE)}:{n}: {line.strip()}"
                for n, line in enumerate(lines, 1)
                if spelled.search(line)
            ]
    assert [line for line in found if "store/base.py" not in line] == []

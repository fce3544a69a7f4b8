"""The cells of a job, and which of them share a training."""

from __future__ import annotations

import itertools
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fod_bench.errors import JobError
from fod_bench.job import Job, dump_job, expand, load_job
from fod_bench.methods.fod.settings import FodSettings
from fod_bench.records.names import canonical_digest

MVTEC = {"layout": "mvtec", "root": "nowhere"}


def job(**keys: Any) -> Job:
    return Job.model_validate({"name": "j", "datasets": {"d": MVTEC | {"categories": ["tile", "bottle"]}}} | keys)


def trainings(*settings: FodSettings) -> int:
    return len({canonical_digest(setting.training()) for setting in settings})


def same(*overrides: dict[str, Any]) -> bool:
    return trainings(*(FodSettings.complete(keys) for keys in overrides)) == 1


def test_cells_come_by_data_set_category_row_and_seed() -> None:
    made = job(
        datasets={"d": MVTEC | {"categories": ["tile", "bottle"]}, "s": {"layout": "btad", "root": "nowhere"}},
        variants={"B": {}, "A": {"views": "patch"}},
        seeds=[5, 3],
    )
    places = [("d", "tile"), ("d", "bottle"), ("s", "01"), ("s", "02"), ("s", "03")]
    expected = [(d, c, row, seed) for (d, c), row, seed in itertools.product(places, ["B", "A"], [5, 3])]
    assert [(cell.dataset, cell.category, cell.row, cell.seed) for cell in expand(made).cells] == expected


def rows(made: Job) -> list[str]:
    return list(dict.fromkeys(cell.row for cell in expand(made).cells))


def test_rows_are_named_by_variant_and_grid() -> None:
    grid = {"lambda1": [0, 0.25], "levels": [[16, 8]], "entropy": [True], "d_model": [{8: 64}]}
    ending = [
        "lambda1=0, levels=8+16, entropy=true, d_model=8:64",
        "lambda1=0.25, levels=8+16, entropy=true, d_model=8:64",
    ]
    assert rows(job()) == ["FOD"]
    assert rows(job(grid=grid)) == ending
    assert rows(job(grid=grid, variants={"A": {}, "B": {}})) == [f"{name}, {end}" for name in "AB" for end in ending]


def test_references_are_named_by_kind_and_what_is_not_its_default() -> None:
    grid = {
        "reference": [
            "mean",
            {"kind": "coreset", "per_position": 2, "seed": 0},
            {"kind": "prototype", "rescale": False},
        ]
    }
    assert rows(job(grid=grid)) == [
        "reference=mean",
        "reference=coreset+per_position:2",
        "reference=prototype+rescale:false",
    ]


def test_missing_roots_are_named_and_what_can_be_counted_is() -> None:
    folder = {"layout": "folder", "root": "nowhere"}
    made = job(datasets={"m": MVTEC, "all": folder, "some": folder | {"categories": ["a", "b"]}})
    expansion = expand(made)
    assert [(cell.dataset, cell.category) for cell in expansion.cells[-3:]] == [
        ("m", "zipper"),
        ("some", "a"),
        ("some", "b"),
    ]
    assert len(expansion.cells) == 17
    assert [problem.split(":")[0] for problem in expansion.problems] == ["datasets.m", "datasets.all", "datasets.some"]
    assert (
        "there is no folder nowhere" in expansion.problems[0]
        and "--set datasets.m.root=FOLDER" in expansion.problems[0]
    )
    assert ["cannot be counted" in problem for problem in expansion.problems] == [False, True, False]


def test_the_categories_of_a_folder_are_those_on_disk(tmp_path: Path) -> None:
    for name in ("bracket", "lid"):
        (tmp_path / name / "train" / "good").mkdir(parents=True)
    folder = {"layout": "folder", "root": str(tmp_path)}
    expansion = expand(job(datasets={"own": folder}))
    assert [cell.category for cell in expansion.cells] == ["bracket", "lid"] and not expansion.problems
    assert [cell.category for cell in expand(job(datasets={"own": folder | {"categories": ["lid"]}})).cells] == ["lid"]
    with pytest.raises(JobError, match=r"datasets\.own\.categories: unknown category 'brackt'; did you mean bracket\?"):
        expand(job(datasets={"own": folder | {"categories": ["brackt", "lid"]}}))


def test_an_empty_folder_is_a_problem_not_an_end(tmp_path: Path) -> None:
    expansion = expand(job(datasets={"own": {"layout": "folder", "root": str(tmp_path)}, "m": MVTEC}))
    assert len(expansion.cells) == 15 and expansion.problems[0].startswith("datasets.own: ")


def test_table_4_takes_five_trainings() -> None:
    """Its eight rows but the one with another kind of reference."""
    variants: list[dict[str, Any]] = [
        {"views": "patch"},
        {"views": "intra", "entropy": False, "scoring": "div"},
        {"views": "intra", "scoring": "div"},
        {"views": "intra", "scoring": "rec_div"},
        {"views": "inter", "scoring": "rec_div"},
        {"views": "full", "scoring": "div"},
        {"views": "full", "scoring": "rec_div"},
    ]
    settings = [FodSettings.complete(keys) for keys in variants]
    assert trainings(*settings) == 5
    assert len({(canonical_digest(s.training()), s.score) for s in settings}) == 7


@pytest.mark.parametrize(
    "key",
    [
        {"views": "intra"},
        {"backbone": "wide_resnet50_2"},
        {"image_size": 128},
        {"levels": [8]},
        {"d_model": {8: 128}},
        {"heads": 4},
        {"layers": 1},
        {"entropy": False},
        {"optimization": "direct"},
        {"lambda1": 1},
        {"lambda2": 1},
        {"learning_rate": 1e-3},
        {"batch_size": 2},
        {"epochs": 99},
        {"evaluate_every": 2},
        {"zero_gradient_step": True},
        {"reference": "nearest"},
    ],
)
def test_what_changes_the_training_is_told_apart(key: dict[str, Any]) -> None:
    assert not same({}, key)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"scoring": "div", "score_levels": [8]}),
        ({}, {"scoring": "rec_div_printed"}),
        ({}, {"levels": [16, 8]}),
        ({}, {"d_model": {4: 64, 32: 64}}),
        ({}, {"weights": "random", "weights_seed": 3}),
        ({"lambda1": 1}, {"lambda1": 1.0}),
        ({"lambda2": 0.0}, {"lambda2": -0.0}),
        ({"lambda2": 0}, {"entropy": False}),
        ({"entropy": False}, {"entropy": False, "lambda2": 1}),
        (
            {"views": "patch"},
            {"views": "patch", "lambda1": 1, "lambda2": 0, "entropy": False, "optimization": "direct"},
        ),
        ({}, {"reference": {"kind": "mean"}}),
        ({"reference": "coreset"}, {"reference": {"kind": "coreset", "per_position": 1, "seed": 0}}),
        ({"views": "intra"}, {"views": "intra", "reference": "codebook"}),
        ({"levels": [8]}, {"levels": [8], "zero_gradient_step": True}),
        ({"epochs": 3, "evaluate_every": 3}, {"epochs": 3, "evaluate_every": 100}),
    ],
)
def test_equal_trainings_merge(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(one, other)


COST_OF = {"measure": "cost"}


@pytest.mark.parametrize(
    "key",
    [
        {"epochs": 3},
        {"evaluate_every": 5},
        {"learning_rate": 1e-2},
        {"lambda1": 0.25, "lambda2": 2},
        {"entropy": False},
    ],
)
def test_what_changes_no_cost_is_measured_once(key: dict[str, Any]) -> None:
    assert same(COST_OF, COST_OF | key)


@pytest.mark.parametrize(
    "key",
    [
        {"measure": "auroc"},
        {"batch_size": 4},
        {"views": "intra"},
        {"heads": 4},
        {"layers": 2},
        {"levels": [8]},
        {"d_model": {8: 128}},
        {"backbone": "wide_resnet50_2"},
        {"image_size": 128},
        {"optimization": "direct"},
    ],
)
def test_what_changes_the_cost_is_told_apart(key: dict[str, Any]) -> None:
    assert not same(COST_OF, COST_OF | key)


def test_only_a_measurement_says_what_it_measures() -> None:
    assert "measure" not in FodSettings().training()
    assert FodSettings(measure="cost").training()["measure"] == "cost"
    assert FodSettings(measure="cost").score == FodSettings(measure="cost", views="patch").score == "cost"


def test_references_are_named_only_where_used() -> None:
    used = {views: "reference" in FodSettings(views=views).training() for views in ("patch", "intra", "inter", "full")}
    assert used == {"patch": False, "intra": False, "inter": True, "full": True}


def test_scores_are_named_by_rule_and_levels() -> None:
    settings = FodSettings(levels=(4, 8, 16), scoring="div", score_levels=(16, 4))
    assert settings.score == "div@4+16"
    assert FodSettings(views="patch").score == "rec@8+16"


def test_canonical_digest_depends_on_content_only() -> None:
    assert canonical_digest({"a": 1, "b": [1.5, "ä"]}) == canonical_digest({"b": [1.5, "ä"], "a": 1})
    assert canonical_digest({"a": 1}) != canonical_digest({"a": 1.5})
    # The form is fixed, since stores are searched by it.
    assert (
        canonical_digest({"b": [1, 0.5, None], "a": "ä"}) == sha256('{"a":"ä","b":[1,0.5,null]}'.encode()).hexdigest()
    )


def test_800_cells_take_half_a_second_of_a_core(tmp_path: Path) -> None:
    big = job(
        datasets={"m": MVTEC, "b": {"layout": "btad", "root": "x"}, "t": {"layout": "mvtec3d", "root": "y"}},
        variants={"A": {}, "B": {"views": "intra"}, "C": {"views": "inter"}},
        grid={"lambda1": [0, 0.25, 0.5, 1, 2], "lambda2": [0, 1]},
    )
    path = tmp_path / "big.yaml"
    path.write_text(dump_job(big))
    begin = time.thread_time()
    cells = expand(load_job(path)).cells
    digests = {canonical_digest(cell.settings.training()) for cell in cells}
    assert time.thread_time() - begin < 0.5
    assert len(cells) == 28 * 30 and len(digests) == 30

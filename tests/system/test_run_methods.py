"""The jobs of the main tables and of the costs, reduced, in one run through a real Ray: every column that can be measured is."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from fod_bench.paper.backbones import measurable
from fod_bench.paper.published import printed_rows
from fod_bench.report.paper_table import paper_category
from tests.helpers.commands import Bench
from tests.helpers.paper_data import write_paper_data

JOBS = Path(__file__).parents[2] / "jobs"
MAIN = ("table01_02_06_mvtec", "table03_07_btad", "table03_08_mvtec3d", "table05_cost")

CATEGORIES = {"mvtec": ["bottle"], "btad": ["01", "02"], "mvtec3d": ["bagel"]}

REDUCED = {
    **{"image_size": "64", "epochs": "1", "backbone": "resnet18", "weights": "random"},
    **{"d_model": "{8: 16, 16: 16}", "heads": "2", "layers": "1"},  # FOD
    **{"width": "4", "repeats": "2", "fiber": "16", "blocks": "2"},  # DRAEM, PatchSVDD, CFLOW
}

FIVE = ["DRAEM", "PatchSVDD", "MKD", "PatchCore", "CFLOW"]


def test_every_method_of_the_main_tables_is_measured_and_stands_in_its_column(bench: Bench) -> None:
    write_paper_data(bench.folder / "drawn", CATEGORIES, train=4)
    for name in MAIN:
        shutil.copy(JOBS / f"{name}.yaml", bench.folder)
    (bench.folder / "main.yaml").write_text(f"name: main\ninclude: [{', '.join(f'{name}.yaml' for name in MAIN)}]\n")
    changes = REDUCED | {f"datasets.{name}.categories": f"[{', '.join(given)}]" for name, given in CATEGORIES.items()}
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    data = {"FOD_DATA": str(bench.folder / "drawn")}

    done = bench.run("run", "main.yaml", *options, **data)
    assert done.err.endswith("25 trainings, 6 measurements: 31 done\n"), done.err
    bench.run("report", "main.yaml", *options, "--table", "all", "--format", "markdown", "--out", "tables", **data)

    lines = list(csv.DictReader((bench.folder / "tables/tidy.csv").read_text().splitlines()))
    found = {
        (int(line["table"]), line["row"], line["dataset"], line["category"], line["metric"])
        for line in lines
        if line["table"].isdecimal() and line["value"]
    }
    for number, datasets in {
        2: ["mvtec"],
        3: ["btad", "mvtec3d"],
        5: ["mvtec"],
        6: ["mvtec"],
        7: ["btad"],
        8: ["mvtec3d"],
    }.items():
        assert measurable(printed_rows(number)) == printed_rows(number) == (*FIVE, "FOD"), "all that are printed"
        metrics = {line["metric"] for line in lines if line["table"] == str(number)}
        for dataset in datasets:
            categories = (
                ["mean"] if number in (3, 5) else [paper_category(dataset, name) for name in CATEGORIES[dataset]]
            )
            for row in printed_rows(number):
                for category in categories:
                    for metric in metrics:
                        assert (number, row, dataset, category, metric) in found
    rows = {number: {row for table, row, *_ in found if table == number} for number in (1, 2, 6)}
    assert rows == {1: {*FIVE, "FOD", "PaDiM"}, 2: {*FIVE, "FOD"}, 6: {*FIVE, "FOD"}}

    for number in (1, 2, 3, 5, 6, 7, 8):
        page = (bench.folder / f"tables/table-{number}.md").read_text()
        for row in (*FIVE, "FOD"):
            assert f"{row}: " in page and "Ours: " in page
        assert "image_size=64" in page and "width=4" in page, "what is not by default is said"
    costs = {
        (line["row"], line["metric"]): float(line["value"]) for line in lines if line["table"] == "5" and line["value"]
    }
    assert costs["PatchCore", "learnable_params_m"] == 0
    assert all(value > 0 for place, value in costs.items() if place != ("PatchCore", "learnable_params_m"))
    assert "no fault found" in bench.run("store", "verify").err

"""The paper's numbers in the rendered tables are those of published.csv, and what does not add up among them is said."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
from rich.console import Console

from fod_bench.paper.discrepancies import remarks, repeated_rows
from fod_bench.paper.published import Position, all_printed
from fod_bench.report import PAPER_TABLES, Results, paper_table, render_report
from fod_bench.report.formats.latex import latex
from fod_bench.report.formats.markdown import markdown
from fod_bench.report.formats.terminal import print_tables
from tests.helpers.report_builders import MemoryStore, Run, paper_store

Key = tuple[int, str, str, str, str]

METRICS = {
    "image AUROC": "image_auroc",
    "pixel AUROC": "pixel_auroc",
    "FLOPs, G ↓": "gflops",
    "learnable parameters, M ↓": "learnable_params_m",
    "training, s per epoch ↓": "train_s_per_epoch",
    "inference, frames per s ↑": "inference_fps",
}
SETS = {"MVTec AD": "mvtec", "BTAD": "btad", "MVTec 3D-AD (RGB)": "mvtec3d", "Average": "average"}
VIEWS = {"Patch": "patch", "Intra": "intra", "Inter": "inter"}
ENTROPY = {"–": "none", "with": "entropy", "without": "no-entropy"}
REFERENCE = {"–": "none", "Mean": "mean", "Coreset": "coreset"}
SCORING = {"Rec": "rec", "Div": "div", "Rec & Div": "rec_div"}


@pytest.fixture(scope="module")
def filled() -> Results:
    return paper_store().read()


@pytest.fixture(scope="module")
def bare() -> Results:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "part", [(0.5, 0.5)])
    run.save()
    return store.read()


def csv_numbers() -> dict[Key, str]:
    """The file itself, read without the program: 616 numbers, `/` where there is none."""
    text = resources.files("fod_bench.paper").joinpath("published.csv").read_text("utf-8")
    return {
        (int(line["table"]), line["row"], line["dataset"], line["category"], line["metric"]): line["value"] or "/"
        for line in csv.DictReader(text.splitlines())
    }


def lines(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a Markdown table: the section they are in, and their cells by header, freed of marks and footnotes."""
    rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in text.splitlines() if line[:1] == "|"]
    header, section = rows[0], ""
    for row in rows[2:]:
        cells = [re.sub(r"<sup>.*?</sup>", "", cell).strip("*_").replace("\\", "") for cell in row]
        if not any(cells[1:]) and row[0].startswith("**"):
            section = cells[0]
            continue
        # Two label columns may have an empty header; the last is `ours`, `paper` or `Δ` where these stand on lines.
        yield section, dict(zip(header, cells, strict=True))


def setting(cells: dict[str, str]) -> str:
    """Views, entropy, reference and scoring of Tables 4 and 9, as one row name."""
    views = "+".join(VIEWS[view] for view in cells["Views"].split(" + "))
    return "/".join((views, ENTROPY[cells["Entropy"]], REFERENCE[cells["Reference"]], SCORING[cells["Scoring"]]))


def levels(title: str) -> str:
    return "levels=" + "+".join(level.strip("×") for level in title.split(" & "))


def split(title: str, ends: dict[str, str]) -> tuple[str, str]:
    """A header of two levels, the first of which is a data set."""
    first = next(name for name in ends if title.startswith(name + " "))
    return first, title.removeprefix(first + " ")


# Of each table: (section, cells of the line, header over `paper`) to (row, data set, category, metric).
Read = Callable[[str, dict[str, str], str], tuple[str, str, str, str]]
READ: dict[int, Read] = {
    1: lambda section, cells, title: (cells["Method"], "mvtec", "mean", METRICS[title]),
    2: lambda section, cells, title: (title, "mvtec", cells["Category"], "image_auroc"),
    3: lambda section, cells, title: (title, SETS[section], "mean", METRICS[cells["Metric"]]),
    4: lambda section, cells, title: (setting(cells), SETS[title], "mean", "image_auroc"),
    5: lambda section, cells, title: (cells["Method"], "mvtec", "mean", METRICS[title]),
    6: lambda section, cells, title: (title, "mvtec", cells["Category"], "pixel_auroc"),
    7: lambda section, cells, title: (title, "btad", cells["Category"], METRICS[section]),
    8: lambda section, cells, title: (cells["Method"], "mvtec3d", title, METRICS[section]),
    9: lambda section, cells, title: (setting(cells), SETS[title], "mean", "pixel_auroc"),
    10: lambda section, cells, title: (
        {"Direct": "direct", "Two-phase": "two_phase"}[split(title, SETS)[1]],
        *(SETS[split(title, SETS)[0]], "mean", METRICS[cells["Metric"]]),
    ),
    11: lambda section, cells, title: (
        f"lambda{section[1]}={title.removeprefix('Loss weight ')}",
        *("mvtec", "mean", METRICS[cells["Metric"]]),
    ),
    12: lambda section, cells, title: (
        title.replace("Number of heads ", "heads="),
        *("mvtec", "mean", METRICS[cells["Metric"]]),
    ),
    13: lambda section, cells, title: (
        title.replace("Number of layers ", "layers="),
        *("mvtec", "mean", METRICS[cells["Metric"]]),
    ),
    14: lambda section, cells, title: (
        levels(title.removeprefix("Levels by their reduction ")),
        *("mvtec", "mean", METRICS[cells["Metric"]]),
    ),
    15: lambda section, cells, title: (
        cells["Reference features"].lower(),
        *(SETS[split(title, SETS)[0]], "mean", METRICS[split(title, SETS)[1]]),
    ),
}


def read_back(number: int, text: str) -> dict[Key, str]:
    """The published numbers of one rendered table by their place."""
    found: dict[Key, str] = {}
    method = ""
    for section, cells in lines(re.sub(r" \\\[\d+\\\]", "", text)):  # without the numbers of references
        if number == 8:  # ours, paper and difference are lines of their own here
            method = cells["Method"] or method
            if cells[""] != "paper":
                continue
            cells = {**cells, "Method": method}
            shown = {title: value for title, value in cells.items() if title not in ("Method", "")}
        else:
            shown = {title.removesuffix(" paper"): value for title, value in cells.items() if title.endswith(" paper")}
        for title, value in shown.items():
            if value:
                key = (number, *READ[number](section, cells, title))
                assert key not in found, key
                found[key] = value
    return found


@pytest.mark.parametrize("store", ["filled", "bare"])
def test_every_published_number_in_the_markdown_is_that_of_the_file(store: str, request: pytest.FixtureRequest) -> None:
    results: Results = request.getfixturevalue(store)
    found: dict[Key, str] = {}
    for number in PAPER_TABLES:
        found |= read_back(number, markdown(paper_table(results, number)))
    expected = csv_numbers()
    assert len(expected) == 616
    assert found == expected


CITED = {1: 23, 2: 5, 3: 5, 5: 5, 6: 5, 7: 5, 8: 5}
"""How many methods of a table have a number in the paper's list of references."""


def citations() -> dict[str, str]:
    """The file itself, read without the program: `{method: number}`."""
    text = resources.files("fod_bench.paper").joinpath("table1_methods.csv").read_text("utf-8")
    return {line["method"]: line["citation"] for line in csv.DictReader(text.splitlines()) if line["citation"]}


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_methods_have_the_papers_citation_beside_them_in_every_text(filled: Results, number: int) -> None:
    table = paper_table(filled, number)
    named = {row for position in all_printed() if position.table == number for row in [position.row]}
    expected = {row: cited for row, cited in citations().items() if row in named}
    assert len(expected) == CITED.get(number, 0)
    stream = io.StringIO()
    print_tables([table], Console(file=stream, width=1000))
    for text in (stream.getvalue(), markdown(table).replace("\\", ""), re.sub(r"{([][])}", r"\1", latex(table))):
        shown = re.findall(r"(\w[\w. -]*) \[(\d+)\](?! for)", text)
        assert {row.strip(): cited for row, cited in shown} == expected
        assert text.count("Numbers in brackets are those of the paper's own list of references") == bool(expected)
    notes = " ".join(table.notes)
    assert ("; it prints [15] for CFLOW and Tsai et al. alike." in notes) == (number == 1)


def test_files_for_programs_have_the_names_alone(filled: Results, tmp_path: Path) -> None:
    for form in ("csv", "tidy"):
        for file in render_report(filled, ["1", "2", "3"], form, tmp_path / form):
            rows = {line["row"] for line in csv.DictReader(file.read_text("utf-8").splitlines())}
            assert rows and rows <= {*citations(), "FOD"}


def test_a_method_that_the_paper_does_not_print_in_the_table_has_no_citation_there() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [2])
    for row in ("FCDD", "DRAEM"):
        run.add(row, "mvtec", "tile", [(0.9, 0.8)])
    run.save()
    titles = [column.title for column in paper_table(store.read(), 2).columns]
    assert titles[-1] == "FCDD" and titles[0] == "DRAEM [64]"


def test_means_that_do_not_add_up_are_found() -> None:
    found = {
        (*position[:3], position.metric): text
        for position in all_printed()
        for text in remarks(position)
        if "the mean of the categories" in text
    }
    assert set(found) == {
        (3, "FOD", "btad", "image_auroc"),
        (7, "FOD", "btad", "image_auroc"),
        (8, "DRAEM", "mvtec3d", "pixel_auroc"),
    }
    assert found[7, "FOD", "btad", "image_auroc"].endswith(
        "prints 0.960; the mean of the categories it prints is 0.953."
    )
    assert "prints 0.976; the mean of the categories it prints is 0.974." in found[8, "DRAEM", "mvtec3d", "pixel_auroc"]


def test_an_average_that_does_not_add_up_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's own all do."""
    place = Position(4, "patch/none/none/rec", "average", "mean", "image_auroc")
    assert not remarks(place)
    changed = {**all_printed(), place: type(all_printed()[place])("0.910", 0.910)}
    monkeypatch.setattr("fod_bench.paper.discrepancies.all_printed", lambda: changed)
    assert remarks(place) == [
        "patch/none/none/rec, image AUROC: the paper prints 0.910; the mean of the data sets it prints is 0.905."
    ]


def test_one_setting_with_several_numbers_is_named_in_every_table_concerned(filled: Results) -> None:
    said = (
        "FOD, the full model, image AUROC on MVTec AD: the paper prints 0.992 in Tables 1, 2, 4 and 12; 0.991 in Table 10; "
        "0.990 in Tables 11, 13, 14 and 15."
    )
    tables = [
        number
        for number in PAPER_TABLES
        if any(said in cell.published_notes for cell in paper_table(filled, number).cells())
    ]
    assert tables == [1, 2, 4, 10, 11, 12, 13, 14, 15]
    assert said in markdown(paper_table(filled, 14)).replace("\\", "")


def test_two_rows_of_table_11_that_are_one_setting_disagree() -> None:
    (said,) = remarks(Position(11, "lambda2=1", "mvtec", "mean", "image_auroc"))
    assert said == (
        "λ1 = 0.5 with λ2 = 1, image AUROC on MVTec AD: the paper prints 0.990 at λ1 = 0.5; 0.985 at λ2 = 1."
    )
    assert not remarks(Position(11, "lambda1=1", "mvtec", "mean", "image_auroc"))


def test_the_coreset_row_of_table_15_is_that_of_another_setting(filled: Results) -> None:
    (said,) = repeated_rows(15)
    assert said.startswith("Coreset: every number") and "Inter / with / Coreset / Rec & Div in Tables 4 and 9" in said
    assert said in paper_table(filled, 15).notes
    assert not any(repeated_rows(number) for number in PAPER_TABLES if number != 15)

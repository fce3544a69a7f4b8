"""The forms of a report: terminal, Markdown, CSV, files."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.records.names import record_name
from fod_bench.report import PAPER_TABLES, Results, own_tables, paper_table, read_results, render_report
from fod_bench.report.cost_table import cost_table
from fod_bench.report.formats.latex import latex
from fod_bench.report.formats.markdown import markdown
from fod_bench.report.formats.terminal import print_tables
from fod_bench.store import open_store
from fod_bench.text import has_control
from tests.helpers.report_builders import MemoryStore, Run, cell, full_store, plain

NUMBER = re.compile(r"\d\.\d{3}|\d\d\.\d")  # an AUROC or a cost


@pytest.fixture(scope="module")
def results() -> Results:
    return full_store(("FOD", "DRAEM", "MKD")).read()


def printed(results: Results, number: int, width: int, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    print_tables([paper_table(results, number)], console)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("number", "width"),
    # The labels of Tables 1, 4 and 9 leave no room for a cell in 60 columns.
    [
        (number, width)
        for number in PAPER_TABLES
        for width in (60, 80, 100, 120)
        if width > 60 or number not in (1, 4, 9)
    ],
)
def test_no_line_is_wider_than_the_terminal_and_no_number_is_lost(
    results: Results, number: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(results, number, width, terminal=True)
    assert max(map(cell_len, text.splitlines())) <= width
    everything = NUMBER.findall(printed(results, number, 1000))
    assert sorted(NUMBER.findall(text)) == sorted(everything)
    for entry in paper_table(results, number).cells():
        assert entry.value is None or entry.text("ours") in text
        assert entry.published is None or re.search(rf"(?<![\d.]){re.escape(entry.text('paper'))}(?![\d.])", text)


def test_a_cell_is_never_cut_between_panels(results: Results) -> None:
    for line in printed(results, 2, 80).splitlines():
        if line.startswith("Category"):
            assert line.split().count("ours") == line.split().count("paper")


def test_marks_are_styles_on_a_terminal_and_signs_elsewhere(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;32m1.000\x1b[0m" in printed(results, 2, 120, terminal=True)
    plain = printed(results, 2, 120)
    assert "\x1b" not in plain
    assert "1.000*" in plain
    assert "* best, ° second best, ours and the paper's apart." in plain
    monkeypatch.setenv("NO_COLOR", "1")
    uncoloured = printed(results, 2, 120, terminal=True)
    assert uncoloured.split() == plain.split(), "but for the ends of lines in the notes"


def test_markdown_is_one_table_with_equally_long_rows_and_marks(results: Results) -> None:
    text = markdown(paper_table(results, 7))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + 2 + 8
    assert "FOD ours | FOD paper | FOD Δ" in rows[0]
    assert "**0.960**<sup>a</sup>" in text
    assert "_0.948_" in text
    assert "<sup>a</sup> FOD, the full model, image AUROC on BTAD: the paper prints 0.960" in text


def test_markup_in_a_label_stays_text() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("a|b *c* [red]", "own", "_x_", [(0.5, 0.5)])
    run.save()
    results = store.read()
    table = plain(results, "job")
    assert "a\\|b \\*c\\* \\[red\\]" in markdown(table)
    stream = io.StringIO()
    print_tables([table], Console(file=stream, width=80))
    assert "a|b *c* [red]" in stream.getvalue()


def test_csv_reads_back_to_the_tables_numbers(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    render_report(results, ["3", "7"], "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["table"] for line in lines} == {"3", "7"}
    (line,) = [
        line
        for line in lines
        if (line["table"], line["row"], line["category"], line["metric"]) == ("7", "FOD", "mean", "image_auroc")
    ]
    expected = cell(paper_table(results, 7), "FOD", "mean")
    assert expected.value is not None
    assert float(line["ours"]) == pytest.approx(expected.value, abs=1e-6)
    assert float(line["difference"]) == pytest.approx(expected.value - 0.96, abs=1e-6)
    assert (line["published"], line["seeds"], line["categories_covered"]) == ("0.96", "1", "3/3")
    assert (line["ours_std"], line["selection"]) == ("", "best")
    assert line["keys"].split() == list(expected.keys)
    (other,) = [
        line
        for line in lines
        if (line["table"], line["row"], line["category"], line["metric"]) == ("7", "CFLOW", "mean", "image_auroc")
    ]
    assert (other["ours"], other["published"], other["difference"], other["keys"]) == ("", "0.948", "", "")


@pytest.mark.parametrize(("fmt", "suffix"), [("terminal", "txt"), ("markdown", "md"), ("latex", "tex"), ("csv", "csv")])
def test_files_are_named_after_the_tables_and_equal_results_give_equal_bytes(
    results: Results, tmp_path: Path, fmt: str, suffix: str
) -> None:
    paths = render_report(results, None, fmt, tmp_path / "one")
    stems = ["table-1", "table-2", "table-3", "table-6", "table-7", "table-8", "paper"] + ["tables"] * (fmt == "latex")
    assert [path.name for path in paths] == [*(f"{stem}.{suffix}" for stem in stems), "tidy.csv"]
    again = render_report(full_store(("FOD", "DRAEM", "MKD")).read(), None, fmt, tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in paths)
    assert b"\x1b" not in paths[1].read_bytes()


def test_a_jobs_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    store = MemoryStore()
    for run_id, job in (("r1", "../../evil"), ("r2", "table-2"), ("r3", "tidy")):
        run = Run(store, run_id, job, [])
        run.add("FOD", "own", "part", [(0.5, 0.5)])
        run.save()
    paths = render_report(store.read(), None, "markdown", tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "______evil.md",
        "job-table-2.md",
        "job-tidy.md",
        "tidy.csv",
    ]


def test_unknown_tables_formats_and_selections_are_refused_with_the_valid_ones(
    results: Results, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no table '16': the paper has 1 to 15; there are also all, plain, paper"):
        render_report(results, ["2", "16"], out=tmp_path / "none")
    with pytest.raises(UsageError, match=r"no table 'papre': did you mean 'paper'"):
        render_report(results, ["papre"])
    with pytest.raises(UsageError, match=r"no report format 'markdwon'.*did you mean 'markdown'"):
        render_report(results, None, "markdwon")
    with pytest.raises(UsageError, match=r"no selection 'lst'.*did you mean 'last'"):
        render_report(results, None, selection="lst")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_is_named(results: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FodBenchError, match=r"cannot be written to .*file"):
        render_report(results, ["2"], "csv", tmp_path / "file")


def test_all_gives_every_paper_table_even_without_results(capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    run.add("FOD", "own", "part", [(0.5, 0.5)])
    run.save()
    render_report(store.read(), ["all"])
    text = capsys.readouterr().out
    assert [number for number in PAPER_TABLES if f"Table {number}. " in text] == list(range(1, 16))
    assert "No run in this store feeds Table 8" in " ".join(text.split())
    render_report(store.read())
    assert "Table" not in capsys.readouterr().out


FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\uff1d1")


def test_no_label_is_a_formula_in_a_csv_file_and_numbers_are_numbers(tmp_path: Path) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    for row in (*FORMULAS, "-2", "+0.5e3", "a=b", "'quoted"):
        run.add(row, "=own", "@part", [(0.5, 0.25)])
    run.save()
    render_report(store.read(), None, "csv", tmp_path)
    for file in (tmp_path / "job.csv", tmp_path / "tidy.csv"):
        lines = list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))
        rows = {line["row"] for line in lines}
        assert rows == {*(f"'{row}" for row in FORMULAS[:4]), "'\\tx", "'\uff1d1", "-2", "+0.5e3", "a=b", "'quoted"}
        assert {line["dataset"] for line in lines} == {"'=own"} and {line["category"] for line in lines} == {"'@part"}
        numbers = {line.get("ours") or line.get("value") for line in lines}
        assert numbers >= {"0.5", "0.25"}


def test_no_control_character_of_a_label_reaches_any_form(tmp_path: Path) -> None:
    """A job takes no such name, but a store may come from elsewhere."""
    store = MemoryStore()
    run = Run(store, "run-1", "job\x1b]0;x\x07", [])
    run.add("row\x1b[31m\u202e", "own\x9b", "part\x1b[2J\n| x", [(0.5, 0.25)])
    run.save()
    for fmt in ("terminal", "markdown", "latex", "csv", "tidy"):
        render_report(store.read(), None, fmt, tmp_path / fmt)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 8
    for file in files:
        assert not has_control(file.read_text("utf-8"), keep="\n"), file


def two_rows(**options: Any) -> Results:
    """Of a job with two rows on one category."""
    store = MemoryStore()
    run = Run(store, "run-1", "two", [])
    for row, value in (("FOD", 0.9), ("Patch", 0.8)):
        run.add(row, "own", "part", [(value, value)], **options)
    run.save()
    return store.read()


def test_of_two_only_the_best_is_marked_and_the_legend_names_what_there_is() -> None:
    table = plain(two_rows(), "two")
    assert [entry.mark for entry in table.cells()] == ["best", None, "best", None]
    assert "\nMarked: **best**.\n" in markdown(table) and "second" not in markdown(table)
    assert r"Marked: \textbf{best}." in latex(table) and "second" not in latex(table)
    stream = io.StringIO()
    print_tables([table], Console(file=stream, width=80))
    assert "* best.\n" in stream.getvalue() and "second" not in stream.getvalue()


def test_a_small_cost_is_not_shown_as_zero() -> None:
    costs = {"gflops": 0.004, "learnable_params_m": 0.0213, "train_s_per_epoch": 0.0, "inference_fps": 12.34}
    store = MemoryStore()
    run = Run(store, "run-1", "cost", [])
    run.add("FOD", "own", "part", [], score="cost", costs=costs)
    run.save()
    (own,) = own_tables(store.read())
    shown = {entry.metric: entry.text("ours") for entry in cost_table(store.read(), own, "best").cells()}
    assert shown == {
        "gflops": "0.004",
        "learnable_params_m": "0.021",
        "train_s_per_epoch": "0.0",
        "inference_fps": "12.3",
    }


def test_in_a_pipe_and_in_a_file_nothing_is_wrapped_inside_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    place = tmp_path / "a folder of  several words - that is longer. Than; any terminal is wide"
    store = open_store(str(place))
    for name, data in full_store(("FOD",)).objects.items():
        store.put(name, data)
    name = record_name("run-1-FOD-mvtec-tile-3407")
    (place / name).write_bytes(b"changed")
    shown = CliRunner().invoke(app, ["report", "--store", str(place), "--table", "2"]).stdout
    fault = f"{name} (store {place}: object {name} is damaged: its content does not match its checksum; delete it"
    assert fault in shown and "`fod-bench run" in shown
    assert max(cell_len(line) for line in shown.splitlines() if "  " in line and str(place) not in line) <= 40
    explained = CliRunner().invoke(app, ["report", "--store", str(place), "--explain", "FOD/mvtec/tile"]).stdout
    assert f"  record        {place / name}\n" in explained and f"store {place}: object {name} is damaged" in explained
    (file, _) = render_report(read_results(store), ["2"], "terminal", tmp_path / "out")
    assert fault in file.read_text("utf-8")


def test_on_a_terminal_text_is_wrapped_and_commands_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    command = "`fod-bench run 'a folder/of words.yaml' --set 'name=a b'`"
    table = dataclasses.replace(plain(two_rows(), "two"), notes=(f"{'word ' * 20}{command} makes it.",))
    stream = io.StringIO()
    print_tables([table], Console(file=stream, width=60, force_terminal=True))
    lines = stream.getvalue().splitlines()
    assert command in lines and max(map(cell_len, lines)) <= 60


def test_code_in_a_note_is_code_in_markdown() -> None:
    note = "`--explain` tells of a_b and `fod-bench run x_y.yaml --set 'a=[1]'`; a | b"
    table = dataclasses.replace(plain(two_rows(), "two"), notes=(note,))
    assert r"`--explain` tells of a_b and `fod-bench run x_y.yaml --set 'a=[1]'`; a \| b" in markdown(table)

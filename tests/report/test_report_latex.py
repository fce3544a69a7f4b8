"""The LaTeX form: it compiles, says the same as the others, and takes any label."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fod_bench.report import PAPER_TABLES, paper_table, render_report
from fod_bench.report.formats.latex import latex
from tests.helpers.commands import LIMIT
from tests.helpers.report_builders import MemoryStore, Run, cell, full_store, paper_store, plain

needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="no pdflatex: apt-get install texlive-latex-base texlive-latex-recommended",
)


def compiled(folder: Path) -> str:
    """Typeset `tables.tex` in `folder`; the log. Fails with LaTeX's own message."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=LIMIT)
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "tables.log").read_text(errors="replace")


@needs_latex
@pytest.mark.parametrize("seeds", [(3407,), (1, 2, 3)], ids=["one seed", "three seeds"])
def test_all_fifteen_tables_compile(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    render_report(paper_store(seeds).read(), [str(number) for number in PAPER_TABLES], "latex", tmp_path)
    log = compiled(tmp_path)
    assert "[15" in log and "[16" not in log, "a page for each table"
    assert "Overfull" not in log


@needs_latex
def test_any_label_compiles(tmp_path: Path) -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "50 % & more_{x}", [])
    for row in ("a\\b^~#$<>|", "größer Ł", "漢字 λ2 = 3", "]] [", "[2em]", "* and [", "-- ``x''", "\x1b[0m"):
        run.add(row, "own_set", "part#1", [(0.5, 0.5)])
        run.add(row, "own_set", "part&2", [(None, 0.5)], undefined={"image_auroc": "only 100% good ones"})
    run.save()
    render_report(store.read(), None, "latex", tmp_path)
    compiled(tmp_path)
    text = next(tmp_path.glob("50*.tex")).read_text("utf-8")
    assert r"\texttt{U+6F22}\texttt{U+5B57} $\lambda_2$ = 3" in text


def test_a_table_has_its_numbers_marks_and_footnotes() -> None:
    results = full_store(("FOD", "DRAEM", "MKD")).read()
    table = paper_table(results, 7)
    text = latex(table)
    assert r"\caption{Table~7 of the paper: AUROC on BTAD. Ours: " in text
    assert r"\textbf{0.960}\textsuperscript{a}" in text and r"\underline{0.948}" in text
    assert r"\textsuperscript{a}~FOD, the full model, image AUROC on BTAD: the paper prints 0.960" in text
    for entry in table.cells():
        assert entry.value is None or entry.text("ours") in text
    minus = cell(table, "MKD", "product01")
    assert minus.text("Δ").startswith("−") or minus.text("Δ").startswith("+")
    assert "−" not in text and "Δ" not in text and "±" not in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    columns = {line.count("&") for line in body.splitlines() if "&" in line}
    assert len(columns) == 1 and columns.pop() + 1 == len(
        re.findall("[lr]", text.split(r"\begin{tabular}")[1].split("}")[0])
    )


def test_a_plain_table_has_no_number_of_the_paper() -> None:
    assert r"\caption{paper: image and pixel AUROC. " in latex(plain(full_store().read(), "paper"))


def test_no_row_begins_with_what_a_line_end_or_a_rule_takes_for_its_option() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    for row in ("[2em]", "*", "[", "*[x]"):
        run.add(row, "own_set", "part", [(0.5, 0.5)])
    run.save()
    text = latex(plain(store.read(), "job"))
    body = text[text.index(r"\begin{tabular}") :]
    assert "{[}2em{]} & " in body and "{*}{[}x{]} & " in body
    assert not re.search(r"(\\\\|\\(top|mid|bottom)rule|\\addlinespace)\s*[*\[]", body)

"""A training that was tried and failed is told as failed, with its reason, in every form; one that was not tried is missing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from fod_bench.records.failures import REASON_LENGTH, Failure, keep_failure, last_failure
from fod_bench.records.names import failure_log_name, failure_name, record_name
from fod_bench.report import Results, explain, explanation_text, paper_table, render_report
from fod_bench.text import has_control
from tests.helpers.report_builders import MVTEC, MemoryStore, Run, WatchedStore, cell, plain

DIVERGED = Failure("diverged: a loss is not finite in epoch 1, step 2", "Traceback: ...", "diverged")
UNREADABLE = Failure("an image cannot be read:\n  000.png is no image", "Traceback: ...", "data")


@pytest.fixture
def store() -> WatchedStore:
    """Of three rows on three categories: done but for one, which failed; failed everywhere; failed by its data, or never tried."""
    store = WatchedStore()
    run = Run(store, "run-1", "job", [])
    for category in ("bolt", "nut", "tray"):
        run.add("FOD", "own", category, None if category == "nut" else [(0.9, 0.8)])
        run.add("Patch", "own", category)
        run.add("Late", "own", category)
    run.save()
    keep(store, "run-1-FOD-own-nut-3407", DIVERGED)
    for category in ("bolt", "nut", "tray"):
        keep(store, f"run-1-Patch-own-{category}-3407", DIVERGED)
    keep(store, "run-1-Late-own-tray-3407", UNREADABLE)
    return store


def keep(store: MemoryStore, key: str, failure: Failure) -> None:
    keep_failure(store, key, key, failure)  # type: ignore[arg-type]


def test_cell_and_note_say_failed_and_why(store: WatchedStore) -> None:
    table = plain(store.read(), "job")
    shown = {
        row: [cell(table, row, name).text("ours") for name in ("bolt", "nut", "tray", "mean")]
        for row in ("FOD", "Patch", "Late")
    }
    assert shown == {
        "FOD": ["0.900", "failed", "0.900", "0.900 (2/3)"],
        "Patch": ["failed", "failed", "failed", "failed"],
        "Late": ["", "", "failed", ""],
    }
    assert cell(table, "FOD", "nut").undefined == f"failed: {DIVERGED.reason}"
    assert table.notes == (
        "2 of 9 cells have a result; "
        f"failed: FOD on own: nut; Patch on own: bolt, nut, tray ({DIVERGED.reason}); "
        "Late on own: tray (an image cannot be read: 000.png is no image); "
        "missing: Late on own: bolt, nut. "
        "`fod-bench run` with the job of run run-1 makes them, unless what failed before fails again.",
    )


def test_the_table_of_the_paper_says_it_too() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [2])
    for category in MVTEC:
        run.add("FOD", "mvtec", category, None if category == "tile" else [(0.9, 0.8)])
    run.save()
    keep(store, "run-1-FOD-mvtec-tile-3407", DIVERGED)
    table = paper_table(store.read(), 2)
    tile = cell(table, "FOD", "tile")
    assert (tile.text("ours"), tile.text("paper"), tile.text("Δ")) == ("failed", "1.000", "")
    assert table.notes[0].startswith(
        f"14 of 15 cells have a result; failed: FOD on mvtec: tile ({DIVERGED.reason}). `fod-bench run` "
    )


def test_of_several_seeds_those_that_failed_are_named() -> None:
    store = MemoryStore()
    run = Run(store, "run-1", "job", [])
    for seed in (1, 2):
        run.add("FOD", "own", "nut", [(0.9, 0.8)] if seed == 1 else None, seed=seed)
        run.add("FOD", "own", "bolt", seed=seed)
    run.save()
    for name in ("nut-2", "bolt-1"):
        keep(store, f"run-1-FOD-own-{name}", DIVERGED)
    table = plain(store.read(), "job")
    assert cell(table, "FOD", "nut").text("ours") == "0.900" and cell(table, "FOD", "nut").notes == [
        "over 1 of 2 seeds"
    ]
    assert cell(table, "FOD", "bolt").text("ours") == "failed"
    assert "failed: FOD on own: bolt (seed 1), nut (seed 2) (diverged" in table.notes[0]
    assert "; missing: FOD on own: bolt (seed 2). " in table.notes[0]


@pytest.mark.parametrize("fmt", ["terminal", "markdown", "latex"])
def test_every_text_says_it(store: WatchedStore, fmt: str, capsys: pytest.CaptureFixture[str]) -> None:
    render_report(store.read(), None, fmt)
    text = capsys.readouterr().out
    body, _, notes = text.partition("cells have a result")
    assert body.count("failed") == 2 * (1 + 4 + 1), "of both metrics, the mean of Patch included"
    assert "failed: FOD on own: nut; Patch on own: bolt, nut, tray (diverged: " in notes


def test_files_for_programs_have_the_reason_in_place_of_a_number(
    store: WatchedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    results = store.read()
    lines = {form: read(results, form, capsys) for form in ("csv", "tidy")}
    (short,) = [line for line in lines["csv"] if place(line) == ("FOD", "nut", "image_auroc")]
    assert (short["ours"], short["keys"], short["seeds"]) == ("", "run-1-FOD-own-nut-3407", "0")
    for selection in ("best", "last"):
        (line,) = [
            line
            for line in lines["tidy"]
            if place(line) == ("FOD", "nut", "image_auroc") and line["selection"] == selection
        ]
        assert (line["value"], line["undefined"]) == ("", f"failed: {DIVERGED.reason}")
        assert (line["seed"], line["key"], line["run"]) == ("3407", "run-1-FOD-own-nut-3407", "run-1")
    assert not any(place(line)[:2] == ("Late", "bolt") for form in lines.values() for line in form)
    (mean,) = [line for line in lines["csv"] if place(line) == ("Patch", "mean", "pixel_auroc")]
    assert mean["ours"] == "" and len(mean["keys"].split()) == 3


def read(results: Results, form: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    render_report(results, None, form)
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def place(line: dict[str, str]) -> tuple[str, str, str]:
    return line["row"], line["category"], line["metric"]


def test_explain_says_it_with_the_place_of_the_log(store: WatchedStore) -> None:
    results = store.read()
    (found,) = explain(results, "FOD/own/nut")
    assert found.problem == f"failed: {DIVERGED.reason}"
    text = explanation_text([found])
    assert f"  result        failed: {DIVERGED.reason}\n" in text
    assert "  log           /store/trials/run-1-FOD-own-nut-3407/failure.log\n" in text
    assert explain(results, "Late/own/nut")[0].problem == "no record yet"


def test_only_failures_that_are_there_are_read(store: WatchedStore) -> None:
    store.read()
    read = sorted(name for name in store.read_names if "/failure." in name)
    marked = [f"run-1-{place}-3407" for place in ("FOD-own-nut", "Patch-own-bolt", "Patch-own-nut", "Patch-own-tray")]
    assert read == sorted([*map(failure_name, marked), failure_log_name("run-1-Late-own-tray-3407")])


def test_a_record_that_came_later_counts_and_a_damaged_one_is_no_failure(store: WatchedStore) -> None:
    key = "run-1-FOD-own-bolt-3407"
    keep(store, key, DIVERGED)
    assert cell(plain(store.read(), "job"), "FOD", "bolt").text("ours") == "0.900"
    store.damaged.add(record_name(key))
    table = plain(store.read(), "job")
    assert cell(table, "FOD", "bolt").text("ours") == ""
    assert "missing: FOD on own: bolt" in table.notes[0] and table.notes[1].startswith("Damaged: ")


HOSTILE = {
    "deep": b"[" * 100_000,
    "no reason": b'{"kind": "fault"}',
    "no text": b'{"reason": ["a"]}',
    "no json": b"\xff\xfe",
    "list": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_mark_that_is_none_is_one_remark(store: WatchedStore, content: bytes) -> None:
    key = "run-1-FOD-own-nut-3407"
    store.put(failure_name(key), content)
    table = plain(store.read(), "job")
    assert cell(table, "FOD", "nut").text("ours") == "failed"
    assert f"failed: FOD on own: nut (its mark /store/{failure_name(key)} is damaged); Patch" in table.notes[0]


def test_a_reason_is_one_line_of_bounded_length_without_control_characters(store: WatchedStore, tmp_path: Path) -> None:
    key, reason = "run-1-FOD-own-nut-3407", "\x1b]0;x\x07=1+1\n\n| a | b\u202e \ud800" + "long " * 100_000
    for name, content in ((failure_name(key), json.dumps({"reason": reason})), (failure_log_name(key), "\n\n\n")):
        store.put(name, content.encode())
        kept = last_failure(store, key)  # type: ignore[arg-type]
        assert kept is not None and len(kept.reason) <= REASON_LENGTH + 1 and not has_control(kept.reason)
    for fmt in ("terminal", "markdown", "latex", "csv", "tidy"):
        for file in render_report(store.read(), None, fmt, tmp_path / fmt):
            assert not has_control(file.read_text("utf-8"), keep="\n") and len(file.read_text("utf-8")) < 50_000
    del store.objects[failure_name(key)]
    kept = last_failure(store, key)  # type: ignore[arg-type]
    assert kept is not None and (kept.reason, kept.marked) == ("its log tells why", False)

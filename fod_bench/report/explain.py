"""From a number of a table back to its trial."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fod_bench.errors import UsageError
from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.evaluation.metric import COSTS, METRICS
from fod_bench.records.names import record_name
from fod_bench.records.record import COST_SCORE, Counts, Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.averages import Place
from fod_bench.report.own import own_tables
from fod_bench.report.paper_table import paper_category
from fod_bench.report.results import SELECTIONS, Results, measured, part_of
from fod_bench.report.words import nearest


@dataclass(frozen=True)
class Selected:
    """The two numbers of one metric and the epochs they come from; both are one for a cost, which has no epoch."""

    best: float | None
    best_epoch: int | None
    last: float | None
    last_epoch: int | None
    undefined: str | None


@dataclass(frozen=True)
class Explanation:
    """Where the numbers of one cell come from."""

    plan: RunPlan
    cell: Cell
    location: str
    """Where the record lies, or would lie; empty while its key is not known."""
    metrics: dict[Metric, Selected]
    """Empty without a record."""
    record: Record | None
    problem: str | None = None
    """Why there is no number."""
    log: str = ""
    """Where the log of the training lies that failed; empty where there is none."""

    def name(self) -> str:
        """The cell's name, as the selector names it."""
        return "/".join((self.cell.row, self.cell.dataset, self.cell.category))


def explain(results: Results, selector: str) -> list[Explanation]:
    """The trials behind the cells that `selector` names: `row/dataset/category` or `row/dataset/category/metric`.

    `*` stands for any characters, upper and lower case are the same, and BTAD's categories may have the paper's names.
    A cell that several runs ask for with one train key is explained once. Raises `UsageError`, with the nearest names, when
    nothing matches.
    """
    pattern = re.compile(re.escape(selector.strip().strip("/")).replace(r"\*", ".*"), re.IGNORECASE)
    cells = [(plan, cell) for _, plan, cell in _cells(results)]
    found = [
        _explain(results, plan, cell, measured(cell))
        for plan, cell in cells
        if any(pattern.fullmatch(name) for name in _names(cell))
    ]
    if found:
        return found
    for plan, cell in cells:
        wanted = [
            metric for metric in measured(cell) if any(pattern.fullmatch(f"{name}/{metric}") for name in _names(cell))
        ]
        if wanted:
            found.append(_explain(results, plan, cell, wanted))
    if found:
        return found
    names = list(dict.fromkeys("/".join((cell.row, cell.dataset, cell.category)) for _, cell in cells))
    asked = selector.strip().strip("/")
    tail = asked.rsplit("/", 1)[-1]
    if (
        asked.count("/") >= 3
        and tail not in (*METRICS, *COSTS)
        and any(re.fullmatch(pattern.pattern.rsplit("/", 1)[0], name, re.I) for name in names)
    ):
        raise UsageError(f"no metric {tail!r} in {selector!r}: {nearest(tail, (*METRICS, *COSTS))}")
    raise UsageError(
        f"no cell {selector!r}, expected row/dataset/category or row/dataset/category/metric: {nearest(asked, names)}"
    )


def explanation_text(explanations: Sequence[Explanation], width: int = 100) -> str:
    """The explanations for a person to read, lines wrapped at `width`."""
    return "\n".join("\n".join(_lines(explanation, width)) + "\n" for explanation in explanations)


def explain_all(results: Results) -> Iterator[tuple[str, Explanation]]:
    """The trial behind every cell of every own table, with the label of the cell's row there."""
    for label, plan, cell in _cells(results):
        yield label, _explain(results, plan, cell, measured(cell))


def _cells(results: Results) -> Iterator[tuple[str, RunPlan, Cell]]:
    """The cells of every own table with their rows' labels, each once for every train key."""
    seen: set[tuple[str, Place, str | None]] = set()
    for own in own_tables(results):
        for place, (plan, cell) in own.view(results, "best").cells.items():
            told = (own.part, place, cell.key or plan.run_id)
            if told not in seen:
                seen.add(told)
                yield place.row, plan, cell


def _names(cell: Cell) -> set[str]:
    categories = {cell.category, paper_category(cell.dataset, cell.category)}
    return {"/".join((cell.row, cell.dataset, category)) for category in categories}


def _explain(results: Results, plan: RunPlan, cell: Cell, metrics: Sequence[Metric]) -> Explanation:
    record = results.load(cell.key) if cell.key else None
    outcome = results.outcome_of(cell)
    location = results.location_of(cell.key) if cell.key else ""
    problem, log = None, ""
    if cell.key is None:
        when = "are not here" if results.request else "were missing when the run was planned"
        problem = f"its train key is not known: data or weights {when}"
    elif record is None:
        damaged, failure = results.damaged.get(record_name(cell.key)), results.failure_of(cell)
        problem = f"its record is damaged: {damaged}" if damaged else "no record yet"
        if failure is not None and not damaged:
            problem, log = f"failed: {failure.reason}", failure.log
    elif outcome is None:
        there = ", ".join(record.scores())
        problem = f"{results.lacking(cell)}; it has {there}. Delete it, or take another store, and run the job again"
    if record is None or outcome is None or problem:
        return Explanation(plan, cell, location, {}, record, problem, log)
    selected: dict[Metric, Selected] = {}
    for metric in metrics:
        (best, best_epoch), (last, last_epoch) = (
            outcome.value(cell.score, metric, selection) for selection in SELECTIONS
        )
        selected[metric] = Selected(best, best_epoch, last, last_epoch, record.undefined.get(metric))
    return Explanation(plan, cell, location, selected, record)


def _lines(explanation: Explanation, width: int) -> Iterator[str]:
    plan, cell, record = explanation.plan, explanation.cell, explanation.record
    yield f"{explanation.name()}, seed {cell.seed}"
    facts: list[tuple[str, str]] = [
        ("key", cell.key or "not known"),
        ("record", explanation.location),
        ("run", f"{plan.run_id} of job {plan.job}" + (f", planned {plan.created}" if plan.created else "")),
        ("row of", f"job {part_of(plan, cell)}{_tables(cell)}"),
        ("score", cell.score),
    ]
    if explanation.problem:
        facts += [("result", explanation.problem), ("log", explanation.log)]
    if cell.score == COST_SCORE and record is not None and not explanation.problem:
        further = {name: value for name, value in record.costs.items() if name not in COSTS}
        costs = {name: selected.best for name, selected in explanation.metrics.items()} | further
        facts.append(("costs", _settings({name: f"{value:.6g}" for name, value in costs.items() if value is not None})))
    else:
        facts += [(MEASURES[metric].title, _numbers(selected)) for metric, selected in explanation.metrics.items()]
    if record is not None:
        facts += [
            ("setting", _settings(record.setting)),
            ("features", _settings(record.features)),
            ("reference", _settings(record.reference or {})),
            (
                "images",
                f"{record.counts.train} train, {record.counts.test_good} good and {record.counts.test_defect} "
                f"defective test{_not_covered(record.counts)}",
            ),
            ("fingerprint", record.fingerprint),
            ("device", f"{record.run.device}, {record.run.threads} threads, on {record.run.host}"),
            ("correlation", record.run.correlation),
            ("shared steps", f"with up to {record.run.packed - 1} more" if record.run.packed > 1 else ""),
            ("finished", f"{record.run.finished}, {record.run.train_seconds:.1f} s of training"),
            ("versions", ", ".join(f"{name} {version}" for name, version in sorted(record.run.versions.items()))),
        ]
    for name, text in facts:
        if name in ("record", "log") and text:  # a path, to be copied
            yield f"  {name:<13} {text}"
        elif text:
            yield from textwrap.wrap(
                text,
                width,
                initial_indent=f"  {name:<13} ",
                subsequent_indent=" " * 16,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _not_covered(counts: Counts) -> str:
    """What of the defective test images the pixel metrics do not cover."""
    unmasked = f", {counts.test_unmasked} of them without a mask" if counts.test_unmasked else ""
    vanished = f", {counts.test_vanished} of them vanishing at the image size" if counts.test_vanished else ""
    return unmasked + vanished


def _tables(cell: Cell) -> str:
    return f", for Table{'s' * (len(cell.tables) > 1)} {', '.join(map(str, cell.tables))}" if cell.tables else ""


def _numbers(selected: Selected) -> str:
    if selected.best is None or selected.last is None:
        return f"n/a: {selected.undefined or 'the record gives no reason'}"
    return (
        f"{selected.best:.6f} best, at epoch {selected.best_epoch}; "
        f"{selected.last:.6f} last, at epoch {selected.last_epoch}"
    )


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "+".join(map(_value, value))
    return str(value)

"""What the page of one training shows: where its numbers come from, its curves, its times, its machine, how to repeat it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fod_bench.evaluation.measures import MEASURES
from fod_bench.evaluation.metric import COSTS
from fod_bench.records.curves import Curves
from fod_bench.records.record import COST_SCORE, Record
from fod_bench.report.explain import Explanation
from fod_bench.report.page.scored import Scored
from fod_bench.report.page.trial_plots import Figure, losses, of_side, progress
from fod_bench.report.results import Results
from fod_bench.schema.hidden import hidden
from fod_bench.text import format_seconds

AGAIN = "results/again"
"""The store that the command which repeats a training names: in its own it is there, and is not run again."""


@dataclass
class ScoringShown:
    """A training under one scoring."""

    score: str
    rows: list[str]
    """Rows of tables that show it."""
    metrics: list[tuple[str, str, str, str, str]]
    """Title, best value and its epoch, last value and its epoch; a reason stands for a value that is undefined."""
    figures: list[Figure]
    note: str = ""
    gallery: str = ""
    """Link to the gallery, from the page's folder."""
    gallery_of: int = 0
    """The seed that the gallery shows."""


@dataclass
class TrialPage:
    """One training."""

    key: str
    title: str
    problem: str
    log: str
    cells: list[Explanation]
    scorings: list[ScoringShown]
    figures: list[Figure]
    """Of its training: losses."""
    facts: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    """Tables of names and values, each under its heading."""
    command: str = ""

    @property
    def page(self) -> str:
        """Its file, from the page's folder."""
        return f"trial/{self.key}.html"


def trial_page(
    results: Results, cells: Sequence[Explanation], curves: Curves | None, shown: Mapping[str, Scored | str]
) -> TrialPage:
    """The page of one training, which `cells` show.

    Args:
        curves: of its record, where it has any.
        shown: by score, what its kept scores show, or why they do not.
    """
    first = cells[0]
    by_score: dict[str, list[Explanation]] = {}
    for cell in cells:
        by_score.setdefault(cell.cell.score, []).append(cell)
    rows = list(dict.fromkeys(cell.cell.row for cell in cells))
    where = f"{first.cell.dataset}/{first.cell.category}, seed {first.cell.seed}"
    page = TrialPage(
        key=first.cell.key or "",
        title=f"{', '.join(rows)} on {where}",
        problem=hidden(first.problem or "") if first.record is None else "",
        log=hidden(first.log),
        cells=list(cells),
        scorings=[_scoring(score, found, curves, shown.get(score, "")) for score, found in by_score.items()],
        figures=[*losses(curves)] if curves else [],
        command=hidden(repeating(results, first) or ""),
    )
    if first.record is not None:
        page.facts = list(_facts(first.record, first.location))
    return page


def repeating(results: Results, of: Explanation) -> str | None:
    """The command that trains the cell again, in a store of its own; None where the job is not known here."""
    command = results.command(of.plan)
    if command is None:
        return None
    place = "/".join((of.cell.row, of.cell.dataset, of.cell.category))
    only = re.sub(r"([*?\[])", r"[\1]", place)
    seeds = {cell.seed for cell in of.plan.cells if (cell.row, cell.dataset) == (of.cell.row, of.cell.dataset)}
    one = ["--set", f"seeds=[{of.cell.seed}]"] if len(seeds) > 1 else []
    return f"{command} {shlex.join([*one, '--only', only, '--store', AGAIN])}"


def _scoring(score: str, cells: Sequence[Explanation], curves: Curves | None, shown: Scored | str) -> ScoringShown:
    metrics = []
    for metric, value in cells[0].metrics.items():
        title = MEASURES[metric].title
        if value.best is None and value.last is None:
            metrics.append((title, "n/a", value.undefined or "the record gives no reason", "", ""))
        else:
            metrics.append(
                (title, *_number(value.best), _epoch(value.best_epoch), *_number(value.last), _epoch(value.last_epoch))
            )
    figures = [*progress(curves, score)] if curves else []
    if isinstance(shown, Scored):
        figures += [*of_side("image", shown.image), *of_side("pixel", shown.pixel)]
    problem = hidden(cells[0].problem or "") if cells[0].record is not None else ""
    rows = list(dict.fromkeys(cell.cell.row for cell in cells))
    note = problem or (shown if isinstance(shown, str) and score != COST_SCORE else "")
    return ScoringShown(score, rows, metrics, figures, note)


def _number(value: float | None) -> tuple[str]:
    return (f"{value:.4f}" if value is not None and value < 1000 else f"{value:.6g}" if value is not None else "–",)


def _epoch(epoch: int | None) -> str:
    return "" if epoch is None else str(epoch)


def _facts(record: Record, location: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    run = record.run
    yield "Setting", [*_flat({"method": record.method, "seed": record.seed} | record.setting)]
    yield "Features and references", [*_flat(record.features), *_flat(record.reference or {}, "reference.")]
    counts = record.counts
    images = [
        ("training images", str(counts.train)),
        ("normal test images", str(counts.test_good)),
        ("defective test images", str(counts.test_defect)),
        ("defective, without a mask", str(counts.test_unmasked) if counts.test_unmasked else ""),
        ("defective, vanishing at the image size", str(counts.test_vanished) if counts.test_vanished else ""),
        ("fingerprint of the data", record.fingerprint),
    ]
    yield "Images", [pair for pair in images if pair[1]]
    tested = counts.test_good + counts.test_defect
    each = (
        f" ({run.evaluate_seconds / tested * 1000:.0f} ms for each test image, all evaluations together)"
        if tested
        else ""
    )
    times = [
        ("begun", run.started),
        ("finished", run.finished),
        ("training", f"{_seconds(run.train_seconds)}, {run.seconds_per_step * 1000:.4g} ms a step"),
        ("evaluation", f"{_seconds(run.evaluate_seconds)}{each}"),
        ("epochs", str(record.epochs) if record.epochs else ""),
        ("went on after epochs", ", ".join(map(str, run.resumed_after))),
        *((_cost(name), f"{value:.6g}") for name, value in record.costs.items()),
    ]
    yield "Timings and costs", [pair for pair in times if pair[1]]
    machine = [
        ("device", run.device),
        ("threads", str(run.threads)),
        ("host", run.host),
        ("correlation operator", run.correlation),
        ("shared steps", f"with up to {run.packed - 1} more trainings" if run.packed > 1 else ""),
        *((name, version) for name, version in sorted(run.versions.items())),
    ]
    yield "Machine and versions", [pair for pair in machine if pair[1]]
    yield "Where it lies", [("train key", record.key), ("record", hidden(location)), ("claim", run.claim)]


def _cost(name: str) -> str:
    return MEASURES[name].heading if name in COSTS else name


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else format_seconds(seconds)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{above}{key}", hidden(", ".join(map(str, value)))
        else:
            yield (
                f"{above}{key}",
                hidden("none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)),
            )

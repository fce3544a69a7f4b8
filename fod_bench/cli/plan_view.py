"""A plan's summary for people."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from fod_bench.machine.terminal import say, show
from fod_bench.plan.estimate import Summary
from fod_bench.plan.timing import CPU_CORE, Estimate
from fod_bench.runs.bounds import Bounds
from fod_bench.schema.hidden import hidden
from fod_bench.text import counted, format_seconds


def print_summary(summary: Summary, bounds: Bounds | None = None) -> None:
    """Print to standard output; `bounds`: of what is chosen when the run starts."""
    table = Table(
        title=Text(f"Plan of {summary.job}"), title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column(style="dim")
    table.add_column()
    merged = summary.trainings_apart - summary.trainings
    blocked = f", {summary.trainings_blocked} cannot run (see below)" if summary.trainings_blocked else ""
    table.add_row("run", Text(hidden(f"{summary.run_id} on {summary.store}")))
    if len(summary.parts) == 1:
        sides = ((summary.rows, "row"), (summary.categories, "category"), (summary.seeds, "seed"))
        made_of = " × ".join(counted(*side) for side in sides)
    else:
        made_of = f"of {len(summary.parts)} parts, see below"
    table.add_row("cells", f"{summary.cells} ({made_of})")
    shared = f" ({counted(merged, 'cell')} share{'s' * (merged == 1)} another's)" if merged else ""
    table.add_row("trainings", f"{summary.trainings}{shared}")
    left = summary.trainings - summary.trainings_recorded
    table.add_row("", f"{summary.trainings_recorded} recorded, {left} left{blocked}")
    if summary.measurements:
        table.add_row("measurements", f"{summary.measurements} of cost, {summary.measurements_recorded} recorded")
    table.add_row(
        "features",
        f"{counted(summary.feature_sets, 'set')}, {summary.feature_sets_stored} stored; "
        f"{counted(summary.pictures_to_extract, 'image')} to extract",
    )
    table.add_row("references", f"{summary.references}, {summary.references_stored} stored")
    if summary.tables:
        table.add_row("feeds tables", ", ".join(map(str, summary.tables)))
    uncounted = (
        f"; {counted(summary.trainings_uncounted, 'training')} not counted" if summary.trainings_uncounted else ""
    )
    table.add_row("left to do", f"{summary.steps_left:,} steps{uncounted}")
    if summary.bytes_left:
        table.add_row("", f"at most {summary.bytes_left / 2**20:,.0f} MiB of weights and scores to keep")
    for number, estimate in enumerate(summary.time_left):
        table.add_row("" if number else "time", Text(f"{_time(estimate)} ({estimate.basis})"))
    if bounds is not None:
        table.add_row("resources", Text(hidden(bounds.in_words())))
    for number, line in enumerate(summary.data):
        table.add_row("" if number else "data", Text(hidden(line)))
    show(table, *([_parts(summary)] if len(summary.parts) > 1 else []))
    for problem in summary.problems:
        say(f"! {problem}")


def _time(estimate: Estimate) -> str:
    """E.g. `about 9 days on 2 cores`."""
    on = counted(estimate.workers, "core") if estimate.device == CPU_CORE else f"one worker on {estimate.device}"
    return f"about {format_seconds(estimate.seconds)} on {on}"


def _parts(summary: Summary) -> Table:
    """What each part comes to, and how much of it the parts before it leave to do."""
    table = Table(
        title="Trainings of each part: every row apart, merged within it, and new after the parts before it",
        title_justify="left",
        title_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        show_footer=True,
        footer_style="bold",
    )
    measured = summary.measurements > 0
    table.add_column("part", "all", no_wrap=True)
    table.add_column("tables")
    numbers = [
        ("rows", summary.rows),
        ("categories", summary.categories),
        ("apart", summary.trainings_apart),
        ("merged", ""),
        ("new", summary.trainings),
        *([("costs", summary.measurements)] if measured else []),
    ]
    for title, total in numbers:
        table.add_column(title, str(total), justify="right")
    for part in summary.parts:
        counts = [part.rows, part.categories, part.trainings_apart, part.trainings, part.trainings_new]
        counts += [part.measurements] if measured else []
        table.add_row(part.name, ", ".join(map(str, part.tables)), *map(str, counts))
    return table

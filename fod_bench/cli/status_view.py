"""The status of a store for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fod_bench.job.differences import in_words
from fod_bench.runs.status import DriverStatus, Running, RunStatus, Status
from fod_bench.schema.hidden import hidden
from fod_bench.text import counted, format_seconds

_STYLES = {"running": "cyan", "complete": "green", "failed": "red", "stopped": "yellow"}
_SHOWN_FAILURES = 20


def render(status: Status, detailed: bool) -> Group:
    """A line for every run and what is running; or, `detailed`, all there is to tell of each."""
    parts: list[RenderableType] = [Text(hidden(f"store {status.store}"), "dim")]
    if detailed:
        for run in status.runs:
            parts += [Text(), *_details(run)]
    else:
        parts.append(_overview(status.runs))
        several = [run for run in status.runs if run.differing]
        if several:
            parts += [Text(), _apart(several)]
        # Runs share trainings: each is shown once.
        running = {work.task.key: work for run in status.runs for work in run.running}
        elsewhere = {work.key: work.name for run in status.runs for work in run.elsewhere}
        if running:
            parts += [Text(), _work(list(running.values()))]
        parts += [Text(f"elsewhere  {name}") for name in elsewhere.values()]
    parts += [Text(f"! damaged: {name}: {reason}") for name, reason in sorted(status.damaged.items())]
    return Group(*parts)


def _overview(runs: list[RunStatus]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("run", overflow="fold")  # the one that gives way where the screen is narrow
    table.add_column("state", no_wrap=True)
    for column in ("done", "running", "waiting", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("begun (UTC)", "left"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        table.add_row(
            Text(run.run_id),
            Text(run.condition, _STYLES[run.condition]),
            f"{run.recorded}/{run.wanted - run.left_out}",
            str(run.in_work),
            str(run.waiting),
            str(len(run.failed)),
            _when(run.created)[5:],
            "" if run.seconds_left is None else f"~{format_seconds(run.seconds_left)}",
        )
    return table


def _apart(runs: list[RunStatus]) -> Table:
    """What tells runs of one job apart."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True)
    table.add_column("differs in")
    for run in runs:
        table.add_row(Text(run.run_id), Text(in_words(run.differing)))
    return table


def _details(run: RunStatus) -> list[RenderableType]:
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    facts.add_row("run", Text(run.run_id, "bold"))
    if run.differing:
        facts.add_row("differs in", Text(in_words(run.differing)))
    facts.add_row("state", Text(run.condition, _STYLES[run.condition]))
    facts.add_row("begun", f"{_when(run.created)} UTC")
    counts = (
        (run.recorded, "recorded"),
        (run.in_work, "running"),
        (run.waiting, "waiting"),
        (len(run.failed), "failed"),
    )
    left_out = f", {run.left_out} left out by --only" if run.left_out else ""
    facts.add_row("trainings", f"{run.wanted}: " + ", ".join(f"{count} {word}" for count, word in counts) + left_out)
    if _left(run):
        facts.add_row("left", _left(run))
    if run.resources is not None:
        measured = (
            f"chosen of {counted(len(run.resources.candidates), 'candidate')} measured, {run.resources.created[:10]}"
        )
        facts.add_row("resources", Text(f"{run.resources.in_words()} ({measured})"))
    for number, driver in enumerate(run.drivers):
        facts.add_row("" if number else "drivers", Text(_driver(driver)))
    parts: list[RenderableType] = [facts]
    if run.running:
        parts += [Text(), _work(run.running, run.run_id)]
    parts += [Text(f"elsewhere  {work.name}") for work in run.elsewhere]
    for failure in run.failed[:_SHOWN_FAILURES]:
        log = f"\n           log: {failure.log}" if failure.log else ""
        parts.append(Text("failed     ", "red").append(hidden(f"{failure.name}: {failure.reason}{log}"), "default"))
    if len(run.failed) > _SHOWN_FAILURES:
        parts.append(Text(f"           and {len(run.failed) - _SHOWN_FAILURES} more; --json names all"))
    for place, cells in run.missing.items():
        parts.append(Text(f"no data    {place}: {cells} cell{'s' if cells > 1 else ''}"))
    return parts


def _work(running: list[Running], run_id: str | None = None) -> Table:
    """What is being done; work of another run's driver says so when `run_id` is given."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("node", "at work on", "since (UTC)", "epoch", "step", "loss"):
        table.add_column(column, no_wrap=column != "at work on")
    for work in running:
        task = work.task
        by = f" (run {work.run_id})" if run_id not in (None, work.run_id) else ""
        table.add_row(
            Text(task.node or "?"),
            Text(task.name + by),
            task.since[11:19],
            f"{task.epoch}/{task.epochs}" if task.epochs else "",
            f"{task.step}/{task.steps}" if task.steps else "",
            f"{task.loss:.4f}" if task.loss is not None else "",
        )
    return table


def _driver(driver: DriverStatus) -> str:
    standing = {
        "alive": "alive",
        "done": "ended, everything done",
        "interrupted": "ended, interrupted",
        "failed": "ended, broken off",
        "died": "dead",
        "silent": f"silent for {format_seconds(driver.silent_seconds)}",
    }[driver.standing]
    rates = []
    if driver.steps_per_second is not None:
        rates.append(f"{driver.steps_per_second:.3g} steps/s")
    if driver.trainings_per_hour is not None:
        rates.append(f"{driver.trainings_per_hour:.3g} trainings/h")
    trained = f"{driver.trained} trained"
    return f"{driver.host}, since {_when(driver.started)} UTC: {'; '.join([standing, trained, *rates])}"


def _left(run: RunStatus) -> str:
    return f"about {format_seconds(run.seconds_left)}" if run.seconds_left is not None else ""


def _when(time: str) -> str:
    """To the minute."""
    return time[:16].replace("T", " ")

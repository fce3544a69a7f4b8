"""What a terminal shows while a run goes on: a line per piece of work in hand, and how far all of it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fod_bench.runs.backlog import Work
from fod_bench.runs.counts import Counts
from fod_bench.runs.messages import Status


class Running(NamedTuple):
    """Work in hand, how far it is as its worker tells, and since when."""

    work: Work
    status: Status
    since: datetime


def display(running: Sequence[Running], counts: Counts, time_left: str) -> Group:
    """The whole of it."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(running), header_style="dim")
    for column in ("node", "at work on", "epoch", "", "loss"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for work, status, _ in running:
        trial = status.doing == "trial"
        table.add_row(
            status.node,
            work.name,
            f"{status.epoch}/{status.epochs}" if status.epochs else "measuring" if trial else "",
            _step(status) if trial and status.steps else "",
            f"{status.loss:.4f}" if status.loss is not None else "",
        )
    line = Table.grid(padding=(0, 2))
    line.add_row(
        ProgressBar(max(1, counts.total), counts.total - counts.left, width=24),
        Text(counts.summary()),
        Text(time_left, "dim"),
    )
    return Group(table, line)


def where(status: Status) -> str:
    """How far it is, in a few words."""
    if status.doing != "trial":
        return "starting" if status.doing == "idle" else "extracting"
    if not status.epochs:
        return "measuring"
    loss = f", loss {status.loss:.4f}" if status.loss is not None else ""
    return f"epoch {status.epoch}/{status.epochs}, {_step(status)}{loss}"


def _step(status: Status) -> str:
    return "evaluating" if status.step == status.steps else f"step {status.step}/{status.steps}"

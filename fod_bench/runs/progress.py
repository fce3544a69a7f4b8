"""What a person sees while a run goes on: a live display on a terminal, a line now and then in a pipe. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.evaluation.metric import COSTS
from fod_bench.features.request import SetRequest
from fod_bench.machine.process import ProcessId
from fod_bench.machine.terminal import SafeConsole
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.records.state import DriverState, Ended, Task
from fod_bench.runs.backlog import Work
from fod_bench.runs.messages import Prepared, Status
from fod_bench.schema.hidden import hidden
from fod_bench.text import format_seconds

_PLAIN_SECONDS = 15.0
"""Time between two lines of status in a pipe."""


@dataclass
class Counts:
    """How far the run is, in trainings; measurements of cost are counted among them, and named apart."""

    total: int
    measurements: int = 0
    done: int = 0
    elsewhere: int = 0
    """Recorded meanwhile by another run."""
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Trial's name to its reason and the place of its log."""
    left_out: list[str] = field(default_factory=list)
    """What a budget left out, a line for each row and seed."""
    uncounted: int = 0
    """Data sets that are missing, so that their trainings are not even known."""

    @property
    def recorded(self) -> int:
        """Trainings that have a record."""
        return self.done + self.elsewhere + self.reused

    @property
    def left(self) -> int:
        """Trainings without a record that have not failed."""
        return self.total - self.recorded - len(self.failed)

    def replace_reused(self, anew: Counts) -> None:
        """Some of those reused were done once more, and went as `anew` says."""
        self.reused -= anew.total
        self.done += anew.done
        self.elsewhere += anew.elsewhere
        self.failed |= anew.failed
        self.left_out += anew.left_out

    def summary(self) -> str:
        """E.g. `12 trainings: 8 done, 3 reused, 1 failed`, or `10 trainings, 2 measurements: 12 done`."""
        parts = [
            (self.done, "done"),
            (self.elsewhere, "done by another run"),
            (self.reused, "reused"),
            (len(self.failed), "failed"),
            (self.left, "left"),
        ]
        said = ", ".join(f"{count} {word}" for count, word in parts if count or word == "done")
        uncounted = f"; {self.uncounted} data set{'s' if self.uncounted > 1 else ''} missing" if self.uncounted else ""
        kinds = ((self.total - self.measurements, "training"), (self.measurements, "measurement"))
        work = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in kinds if count) or "0 trainings"
        return f"{work}: {said}{uncounted}"


class _Running(NamedTuple):
    work: Work
    status: Status
    since: datetime


class Progress:
    """Keeps count and says so. `quiet` leaves only failures; a context manager, because a live display has an end."""

    def __init__(
        self,
        trials: list[TrialJob],
        console: Console,
        *,
        quiet: bool = False,
        verbose: bool = False,
        only: str | None = None,
        record_of: Callable[[str], Record | None] = lambda key: None,
    ) -> None:
        """Of the run of `trials`.

        Args:
            only: shell pattern of the cells that are worked on, for the state.
            record_of: the record of a train key, None where it cannot be read; the line of a training that is done tells of it.
        """
        self.counts = Counts(len(trials), sum(trial.measures_cost for trial in trials))
        self._console = console
        self._quiet, self._verbose = quiet, verbose
        self._only, self._record_of = only, record_of
        self._live = (
            None
            if quiet or not console.is_terminal
            else Live(console=console, refresh_per_second=4, redirect_stdout=False)
        )
        self._running: dict[tuple[int, str], _Running] = {}  # by worker and key
        self._steps_left = 0
        self._steps_done = 0
        self._since: float | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(Text(""))
            self._live.stop()

    def expect(self, trials: list[TrialJob]) -> None:
        """The trainings that will run, for the estimate of the time left."""
        self._steps_left = sum(trial.steps() or 0 for trial in trials)

    def note(self, text: str) -> None:
        """A line worth reading once."""
        if not self._quiet:
            self._console.print(hidden(text), markup=False, highlight=False, soft_wrap=True)

    def blocked(self, text: str) -> None:
        """What will not run, and why; said even when quiet."""
        self._console.print(Text("failed    ", "bold red").append(hidden(text), "default"), soft_wrap=True)

    def prepared(self, request: SetRequest, info: Prepared) -> None:
        """A set is ready."""
        if info.made or self._verbose:
            heading, made = ("images    ", "read") if request.form == "images" else ("features  ", "extracted")
            form = "unpooled, " if request.form == "unpooled" else ""
            how = made if info.made else "from the store"
            images = len(request.category.samples)
            self.note(f"{heading}{request.category.name}: {form}{how}, {images} images, {info.nbytes / 2**20:.0f} MiB")

    def done(self, trial: TrialJob) -> None:
        """A training has its record."""
        self.counts.done += 1
        self._steps_done += trial.steps() or 0
        self.note(f"done      {trial.name}{self._outcome(trial)}   [{self._bar_text()}]")

    def elsewhere(self, trial: TrialJob) -> None:
        """Another run has made its record."""
        self.counts.elsewhere += 1
        self._steps_left -= trial.steps() or 0
        self.note(f"done      {trial.name} by another run{self._outcome(trial)}   [{self._bar_text()}]")

    def failed(self, trial: TrialJob, failure: Failure, log: str) -> None:
        """A training failed; said even when quiet."""
        self.counts.failed[trial.name] = hidden(f"{failure.reason} (log: {log})")
        self._steps_done += trial.steps() or 0
        self.blocked(f"{trial.name}: {failure.reason}\n          log: {log}")

    def status(self, worker: int, works: Sequence[Work], statuses: Sequence[Status] = ()) -> None:
        """What a worker is doing now: each piece of work, and how far it is as the worker tells."""
        told = {status.key: status for status in statuses}
        for key in [key for key in self._running if key[0] == worker and key[1] not in {work.key for work in works}]:
            del self._running[key]
        for work in works:
            before = self._running.get((worker, work.key))
            status = told.get(work.key) or Status(node=statuses[0].node if statuses else "")
            self._running[worker, work.key] = _Running(
                work, status, before.since if before else datetime.now(timezone.utc)
            )
            if status.doing == "trial" and self._since is None:
                self._since = time.monotonic()

    def tick(self) -> None:
        """Show where things stand; often called, seldom printed."""
        if self._live:
            self._live.update(self._display())
        elif not self._quiet and time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            running = "; ".join(f"{work.name} {_where(status)}" for work, status, _ in self._running.values())
            left = self._time_left()
            self.note(
                f"running   {running or 'waiting for workers to start'}   [{self._bar_text()}{', ' + left if left else ''}]"
            )

    def _outcome(self, trial: TrialJob) -> str:
        """E.g. `: image AUROC 0.986, 79 s`; empty where there is no record to read."""
        record = None if self._quiet else self._record_of(trial.key)
        if record is None:
            return ""
        seconds = format_seconds(record.run.train_seconds + record.run.evaluate_seconds)
        shown: tuple[Metric, ...] = COSTS if record.costs else ("image_auroc",)
        values = {
            metric: record.costs.get(metric) if record.costs else record.best(record.primary_score, metric)[0]
            for metric in shown
        }
        told = [
            f"{MEASURES[metric].title} {value:.{MEASURES[metric].digits}f}"
            for metric, value in values.items()
            if value is not None
        ]
        return f": {', '.join([*told, seconds])}"

    def _bar_text(self) -> str:
        finished = self.counts.total - self.counts.left
        failed = f", {len(self.counts.failed)} failed" if self.counts.failed else ""
        return f"{finished}/{self.counts.total}{failed}"

    def _time_left(self) -> str:
        """Empty while nothing is known."""
        seconds = self._rate()[1]
        return f"about {format_seconds(seconds)} left" if seconds is not None else ""

    def _rate(self) -> tuple[float | None, float | None]:
        """Steps per second since the first training began, and seconds left; None while they cannot be told."""
        if self._since is None:
            return None, None
        running = list(self._running.values())
        done = self._steps_done + sum(status.epoch * status.steps + status.step for _, status, _ in running)
        rate = done / max(1e-9, time.monotonic() - self._since)
        if done < 5:
            return None, None
        return rate, (self._steps_left - done) / rate if self._steps_left > done else None

    def state(self, run: RunPlan, driver: str, started: str, ended: Ended = None) -> DriverState:
        """Everything told so far, for the store; may be asked for from another thread."""
        rate, left = self._rate()
        counts = self.counts
        return DriverState(
            run_id=run.run_id,
            job=run.job,
            driver=driver,
            process=ProcessId.own(),
            started=started,
            updated=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            ended=ended,
            only=self._only,
            total=counts.total,
            done=counts.done,
            reused=counts.reused,
            elsewhere=counts.elsewhere,
            failed=dict(counts.failed),
            tasks=[_task(*running) for running in list(self._running.values())],
            steps_per_second=rate,
            seconds_left=left,
        )

    def _display(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(self._running), header_style="dim")
        for column in ("node", "at work on", "epoch", "", "loss"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        for work, status, _ in self._running.values():
            trial = status.doing == "trial"
            table.add_row(
                status.node,
                work.name,
                f"{status.epoch}/{status.epochs}" if status.epochs else "measuring" if trial else "",
                _step(status) if trial and status.steps else "",
                f"{status.loss:.4f}" if status.loss is not None else "",
            )
        finished = self.counts.total - self.counts.left
        line = Table.grid(padding=(0, 2))
        line.add_row(
            ProgressBar(max(1, self.counts.total), finished, width=24),
            Text(self.counts.summary()),
            Text(self._time_left(), "dim"),
        )
        return Group(table, line)


def _task(work: Work, status: Status, since: datetime) -> Task:
    return Task(
        kind="trial" if isinstance(work, TrialJob) else "features",
        name=work.name,
        key=work.key,
        node=status.node,
        since=since.isoformat(timespec="seconds"),
        epoch=status.epoch,
        epochs=status.epochs,
        step=status.step,
        steps=status.steps,
        loss=status.loss,
    )


def stderr_console() -> Console:
    """Standard error as a rich console; `NO_COLOR` is rich's own to honour."""
    return SafeConsole(file=sys.stderr)


def _where(status: Status) -> str:
    if status.doing != "trial":
        return "starting" if status.doing == "idle" else "extracting"
    if not status.epochs:
        return "measuring"
    loss = f", loss {status.loss:.4f}" if status.loss is not None else ""
    return f"epoch {status.epoch}/{status.epochs}, {_step(status)}{loss}"


def _step(status: Status) -> str:
    return "evaluating" if status.step == status.steps else f"step {status.step}/{status.steps}"

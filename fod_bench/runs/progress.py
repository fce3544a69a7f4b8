"""What a person sees while a run goes on: a live display on a terminal, a line now and then in a pipe. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fod_bench.evaluation.measures import MEASURES, Metric
from fod_bench.evaluation.metric import COSTS
from fod_bench.features.request import SetRequest
from fod_bench.machine import log_lines
from fod_bench.machine.process import ProcessId
from fod_bench.machine.terminal import SafeConsole
from fod_bench.plan import TrialJob
from fod_bench.records.failures import Failure
from fod_bench.records.record import Record
from fod_bench.records.run import RunPlan
from fod_bench.records.state import DriverState, Ended, Task
from fod_bench.runs.backlog import Work
from fod_bench.runs.counts import Counts
from fod_bench.runs.display import Running, display, where
from fod_bench.runs.messages import Prepared, Status
from fod_bench.schema.hidden import hidden
from fod_bench.text import format_seconds

_PLAIN_SECONDS = 15.0
"""Time between two lines of status in a pipe."""


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
        run: RunPlan | None = None,
    ) -> None:
        """Of the run of `trials`.

        Args:
            run: what the messages are of, for programs that read them.
            only: shell pattern of the cells that are worked on, for the state.
            record_of: the record of a train key, None where it cannot be read; the line of a training that is done tells of it.
        """
        self.counts = Counts(len(trials), sum(trial.measures_cost for trial in trials))
        self._console = console
        self._quiet, self._verbose = quiet, verbose
        self._only, self._record_of = only, record_of
        self._of_run = {"run": run.run_id, "job": run.job} if run is not None else {}
        self._live = (
            None
            if quiet or not console.is_terminal or log_lines.are_json()
            else Live(console=console, refresh_per_second=4, redirect_stdout=False)
        )
        self._running: dict[tuple[int, str], Running] = {}  # by worker and key
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

    def note(self, text: str, about: Work | None = None, **fields: Any) -> None:
        """A line worth reading once.

        Args:
            about: the work that it is about.
            fields: what else it tells programs; `event`, where the text does not begin with it.
        """
        if self._quiet:
            return
        if log_lines.are_json():
            self._write(text, about, fields)
        else:
            self._console.print(hidden(text), markup=False, highlight=False, soft_wrap=True)

    def blocked(self, text: str, about: Work | None = None, **fields: Any) -> None:
        """What will not run, and why; said even when quiet. See `note`."""
        if log_lines.are_json():
            self._write(f"{'failed':10}{text}", about, fields)
        else:
            self._console.print(Text("failed    ", "bold red").append(hidden(text), "default"), soft_wrap=True)

    def _write(self, text: str, about: Work | None, fields: dict[str, Any]) -> None:
        event, message = log_lines.split_heading(text)
        log_lines.write(**({"event": event, "message": message} | self._of_run | _about(about) | fields))

    def prepared(self, request: SetRequest, info: Prepared) -> None:
        """A set is ready."""
        if info.made or self._verbose:
            heading, made = ("images    ", "read") if request.form == "images" else ("features  ", "extracted")
            form = "unpooled, " if request.form == "unpooled" else ""
            how = made if info.made else "from the store"
            images = len(request.category.samples)
            text = f"{heading}{request.category.name}: {form}{how}, {images} images, {info.nbytes / 2**20:.0f} MiB"
            self.note(text, request, made=info.made, images=images, bytes=info.nbytes)

    def done(self, trial: TrialJob) -> None:
        """A training has its record."""
        self.counts.done += 1
        self._steps_done += trial.steps() or 0
        self._done(trial, "")

    def elsewhere(self, trial: TrialJob) -> None:
        """Another run has made its record."""
        self.counts.elsewhere += 1
        self._steps_left -= trial.steps() or 0
        self._done(trial, " by another run")

    def _done(self, trial: TrialJob, by: str) -> None:
        record = None if self._quiet else self._record_of(trial.key)
        values, seconds = _outcome(record)
        told = [f"{MEASURES[metric].title} {value:.{MEASURES[metric].digits}f}" for metric, value in values.items()]
        told += [format_seconds(seconds)] if seconds is not None else []
        text = f"done      {trial.name}{by}{': ' * bool(told)}{', '.join(told)}   [{self._bar_text()}]"
        self.note(text, trial, metrics=values, seconds=seconds, elsewhere=bool(by), trials=self.counts.numbers())

    def failed(self, trial: TrialJob, failure: Failure, log: str) -> None:
        """A training failed; said even when quiet."""
        self.counts.failed[trial.name] = hidden(f"{failure.reason} (log: {log})")
        self._steps_done += trial.steps() or 0
        text = f"{trial.name}: {failure.reason}\n          log: {log}"
        self.blocked(text, trial, reason=failure.reason, kind=failure.kind, log=log, trials=self.counts.numbers())

    def status(self, worker: int, works: Sequence[Work], statuses: Sequence[Status] = ()) -> None:
        """What a worker is doing now: each piece of work, and how far it is as the worker tells."""
        told = {status.key: status for status in statuses}
        for key in [key for key in self._running if key[0] == worker and key[1] not in {work.key for work in works}]:
            del self._running[key]
        for work in works:
            before = self._running.get((worker, work.key))
            status = told.get(work.key) or Status(node=statuses[0].node if statuses else "")
            self._running[worker, work.key] = Running(
                work, status, before.since if before else datetime.now(timezone.utc)
            )
            if status.doing == "trial" and self._since is None:
                self._since = time.monotonic()

    def tick(self) -> None:
        """Show where things stand; often called, seldom printed."""
        if self._live:
            self._live.update(display(list(self._running.values()), self.counts, self._time_left()))
        elif not self._quiet and time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            running = "; ".join(f"{work.name} {where(status)}" for work, status, _ in self._running.values())
            left = self._time_left()
            self.note(
                f"running   {running or 'waiting for workers to start'}   [{self._bar_text()}{', ' + left if left else ''}]",
                tasks=[_task(*one).model_dump() for one in self._running.values()],
                seconds_left=self._rate()[1],
                trials=self.counts.numbers(),
            )

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


def _about(work: Work | None) -> dict[str, Any]:
    """What a message says of the work that it is about."""
    if work is None:
        return {}
    if isinstance(work, TrialJob):
        of_trial = {"trial": work.name, "dataset": work.dataset, "method": work.settings.method, "seed": work.seed}
        return of_trial | {"key": work.key, "category": work.category, "rows": work.rows}
    return {"set": work.form, "key": work.key, "category": work.category.name}


def _outcome(record: Record | None) -> tuple[dict[Metric, float], float | None]:
    """The values that a line tells of a record, and the seconds that it took; nothing where there is no record to read."""
    if record is None:
        return {}, None
    shown: tuple[Metric, ...] = COSTS if record.costs else ("image_auroc",)
    found = {
        metric: record.costs.get(metric) if record.costs else record.best(record.primary_score, metric)[0]
        for metric in shown
    }
    values = {metric: value for metric, value in found.items() if value is not None}
    return values, record.run.train_seconds + record.run.evaluate_seconds


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

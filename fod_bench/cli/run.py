"""`fod-bench run`: what the options ask for, and how a run is told to have ended."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import isinf
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fod_bench.cli.common import (
    SOME_FAILED,
    Budget,
    JobFile,
    Overrides,
    Prices,
    Quiet,
    StoreOption,
    Verbose,
    guarded,
    load,
    run_command,
)
from fod_bench.errors import JobError, UsageError
from fod_bench.machine import log_lines
from fod_bench.machine.terminal import say
from fod_bench.schema.hidden import hidden

if TYPE_CHECKING:
    from fod_bench.runs.counts import Counts

BUDGET_USED = 4
"""Exit code of a run whose budget left some trainings out."""


@guarded
def run(
    job: JobFile,
    store: StoreOption = None,
    address: Annotated[
        str | None, typer.Option(metavar="RAY", help="Ray cluster to use, host:port or auto; default: this machine.")
    ] = None,
    set_: Overrides = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Work on these row/dataset/category only, e.g. 'FOD/mvtec/b*'."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Most workers at once; default: as many as the cores and GPUs of machine or cluster hold.",
        ),
    ] = None,
    budget: Budget = None,
    prices: Prices = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trainings again that failed before.")
    ] = False,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="No other run uses the store: needed where it cannot tell who was first."),
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option("--log-format", help="What goes to standard error: text, or one JSON object a line for programs."),
    ] = "text",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            help="Serve Prometheus metrics at http://127.0.0.1:PORT/metrics; a cluster's own are set where it is started.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train and test whatever the job asks for and the store does not have, then show its table.

    Killed or interrupted, the same command goes on where it stood.

    Exit codes: 0 everything has a record, 1 it could not start, 2 usage, 3 some trainings failed, 4 the budget left some out,
    130 interrupted.

    Example: `fod-bench run jobs/quickstart.yaml --set epochs=2`
    """
    from fod_bench.cluster.open import open_ray_pool
    from fod_bench.plan import lacking_here, make_plan
    from fod_bench.report import job_results, render_report
    from fod_bench.runs.budget import parse_budget
    from fod_bench.runs.prices import read_prices
    from fod_bench.runs.run import RunOptions, repair, run_plan
    from fod_bench.store import open_store

    log_lines.use(log_format)
    if metrics_port is not None and address is not None:
        raise UsageError(
            "--metrics-port is for a Ray of the run's own; for a cluster give `ray start --metrics-export-port=PORT` on each node"
        )
    if metrics_port is not None and metrics_port > 65535:
        raise UsageError(f"--metrics-port {metrics_port}: ports end at 65535")
    if prices is not None and budget is None:
        raise UsageError("--prices is for a budget of money; give --budget too")
    limit = parse_budget(budget) if budget is not None else None
    if prices is not None and limit is not None and isinf(limit.dollars):
        raise UsageError(f"--prices is for a budget of money, and --budget {budget} is a time; leave it out")
    price_list = read_prices(prices) if prices is not None else None
    loaded = load(job, set_, store)
    again = run_command(job, set_, store)
    opened = open_store(loaded.store)
    plan = make_plan(loaded, download=True)
    if address is None and (lacking := lacking_here(plan)):
        raise JobError("\n".join(lacking))
    options = RunOptions(only, alone, workers, limit, price_list, retry_failed, quiet, verbose)
    speaks = verbose and log_format == "text"  # Ray's own words are no JSON
    open_executor = partial(open_ray_pool, address=address, verbose=speaks, metrics_port=metrics_port)
    counts, interrupted = run_plan(plan, opened, options, open_executor)
    results, damaged, repaired = None, True, dict[str, str]()
    while damaged and counts.recorded and not interrupted:
        results = job_results(opened, loaded, again, planned=(plan.run, plan.faults()), only=only)
        new = {name: fault for name, fault in results.damaged.items() if repaired.get(name) != fault}
        damaged, interrupted = repair(plan, opened, options, open_executor, new, counts)
        repaired |= new  # what training anew does not put right is not trained again
    if interrupted:
        _tell_end(counts, quiet)
        raise KeyboardInterrupt
    if results is not None:
        render_report(results, ["plain"])
    for line in counts.left_out:
        say(hidden(f"left out  {line}"), err=True)
    if not quiet:
        for line in _next(counts, run_command(job, set_, store, "report"), again):
            log_lines.tell("next", line[10:], prefix=line[:10])
    _tell_end(counts, quiet)
    if counts.failed or counts.uncounted:
        raise typer.Exit(SOME_FAILED)
    if counts.left_out:
        raise typer.Exit(BUDGET_USED)


def _tell_end(counts: Counts, quiet: bool) -> None:
    """What the run has come to, as its last line."""
    if not quiet:
        log_lines.tell("end", counts.summary(), trials=counts.numbers(), failed=list(counts.failed) or None)


def _next(counts: Counts, report_command: str, run_again: str) -> Iterator[str]:
    """What to do with what a run has done, and with what has failed."""
    if counts.done or counts.elsewhere:
        yield f"next      {report_command}   shows the table again; --explain CELL tells where a number comes from"
    if counts.left_out:
        yield f"next      {run_again}   does what the budget left out"
    if counts.failed:
        yield f"next      {run_again} --retry-failed   tries again what failed, once the reason is put right"

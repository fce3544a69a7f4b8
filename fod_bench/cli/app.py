"""The commands: parse, call, print. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fod_bench import __version__
from fod_bench.cli import data, doctor, export, figure, init, jobs, methods, predict, run, status, submit
from fod_bench.cli import store as store_commands
from fod_bench.cli.common import (
    Budget,
    JobFile,
    Overrides,
    Prices,
    StoreOption,
    Verbose,
    check_tables,
    default_store,
    guarded,
    load,
    run_command,
)
from fod_bench.cli.completion import figure_names, format_names, job_names, table_names
from fod_bench.cli.typer_app import App
from fod_bench.errors import FodBenchError, UsageError
from fod_bench.machine.terminal import accept_any_encoding, prose_width, say
from fod_bench.schema.hidden import hidden

app = App(
    help="Reproduce Focus the Discrepancy (ICCV 2023) and compare anomaly detectors over whole benchmarks.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(store_commands.app, name="store")
app.add_typer(jobs.app, name="jobs")
app.add_typer(submit.app, name="submit")
app.add_typer(export.app, name="export")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        say(f"fod-bench {__version__}")
        raise typer.Exit


app.command(name="run")(run.run)


@app.command()
@guarded
def plan(
    job: JobFile,
    store: StoreOption = None,
    set_: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    dump: Annotated[bool, typer.Option("--dump", help="Print the job instead, every default spelled out.")] = False,
    simulate: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER",
            help="Do what is left on a simulated cluster, 64x8 (nodes × GPUs) or 2xp5.48xlarge, and show time, use and cost.",
        ),
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the simulation into an SVG file: who does what when.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file of --timeline if it is there already.")
    ] = False,
    budget: Budget = None,
    prices: Prices = None,
    verbose: Verbose = False,
) -> None:
    """Show what a job comes to: cells, trainings after merging, what the store has, what is left, what it will cost.

    Works without the data being there; what is missing is named.

    Example: `fod-bench plan jobs/paper.yaml --simulate 64x8 --timeline paper.svg`
    """
    from fod_bench.cli.plan_view import print_summary
    from fod_bench.cli.simulation import simulation_request
    from fod_bench.job import dump_job
    from fod_bench.plan import lacking_here, make_plan, summarize
    from fod_bench.runs.bounds import bounds_of
    from fod_bench.store import open_store

    simulation = simulation_request(simulate, timeline, budget, prices, force)
    loaded = load(job, set_, store)
    if dump:
        say(dump_job(loaded), nl=False)
        return
    planned, opened = make_plan(loaded, download=False), open_store(loaded.store)
    for line in lacking_here(planned):
        say(hidden(f"note: a run on this machine is refused: {line}"), err=True)
    summary = summarize(planned, opened)
    bounds = bounds_of(planned, opened)
    if as_json:
        settled = {} if bounds is None else {"resources": bounds.as_json()}
        simulated = {} if simulation is None else {"simulation": simulation.as_json(planned, opened)}
        say(hidden(json.dumps(summary.as_json() | settled | simulated, indent=2)))
    else:
        print_summary(summary, bounds)
        if simulation is not None:
            simulation.print(planned, opened)


def _formats() -> list[str]:
    from fod_bench.report import FORMATS

    return list(FORMATS)


def _figures() -> list[str]:
    from fod_bench.report import FIGURES

    return [*FIGURES, "all"]


@app.command(choices={"format_": _formats, "figure": _figures})
@guarded
def report(
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB",
            help="Job file or name, to see exactly its cells; default: every run in the store.",
            autocompletion=job_names,
        ),
    ] = None,
    store: StoreOption = None,
    run_: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN_ID", help="A run of the store, as `status` names it; may be repeated."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|NAME|all",
            help="Table of the paper (1 to 15), a job's name for its own table, or all; may be repeated. Default: what has rows.",
            autocompletion=table_names,
        ),
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="How the tables are written; tidy is one CSV with every seed of every cell, html a page with images.",
            autocompletion=format_names,
        ),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a file per table there, and tidy.csv, instead of printing; html makes it a page, whole or not at all.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --format html: replace the page that --out names, which is kept else.")
    ] = False,
    selection: Annotated[
        Literal["best", "last"], typer.Option(help="Epoch shown: best on the test data (the paper's protocol) or last.")
    ] = "best",
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw a figure into --out, as SVG and PNG; lambda is the paper's Figure 5. May be repeated.",
            autocompletion=figure_names,
        ),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CELL", help="Tell where a number comes from, e.g. 'FOD/mvtec/bottle'.")
    ] = None,
    set_: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Show results as the paper's tables, ours beside the published numbers, and as each job's own table.

    With JOB it is of exactly the cells that this job, with its --set, expands to, whichever runs made them; without, of the runs in
    the store. Trains nothing. Says what is missing, and which command makes it.

    Example: `fod-bench report jobs/paper.yaml --table all --format latex --out results/paper`
    """
    from fod_bench.records.run_reader import no_run
    from fod_bench.report import explain as explain_cell
    from fod_bench.report import (
        explanation_text,
        figure_names,
        job_results,
        no_result,
        read_results,
        render_figures,
        render_report,
        report_format,
        undrawn,
    )
    from fod_bench.store import open_existing

    form = report_format(format_)
    form.check_place(out, force)
    if figure and form.whole:
        raise UsageError(
            f"--figure writes into --out, and --format {format_} makes a whole folder of it: take two commands"
        )
    if set_ and job is None:
        raise UsageError("--set changes a job file; give the JOB")
    if run_ and job is not None:
        raise UsageError("give a JOB or --run, not both: a job is shown as it is given here, a run as it was")

    if figure:
        figure_names(figure)
        if out is None:
            raise UsageError("--figure needs --out DIR: figures are files")
    if job is not None:
        loaded = load(job, set_, store)
        check_tables(loaded, table or [])
        command = run_command(job, set_, store)
        opened = open_existing(loaded.store, f"`{command}` makes it, --store names another")
        results = job_results(opened, loaded, command)
        if not results.outcomes:
            say(hidden(f"fod-bench: {no_result(opened, loaded, command)}"), err=True)
    else:
        opened = open_existing(store or default_store())
        results = read_results(opened, run_ids=run_)
        if not results.plans and (explain is not None or not (table or figure)):
            raise FodBenchError(f"{no_run(opened)}; --table shows the paper's printed numbers")
    if explain is not None:
        say(explanation_text(explain_cell(results, explain), prose_width(100)))
        return
    written, fed_only = [], job is not None or bool(run_)
    if figure and out is not None:
        written += render_figures(results, figure, out, selection, fed_only)
        for name, reason in undrawn(results, figure, fed_only).items():
            say(hidden(f"figure {name} left out: {reason}"), err=True)
    if table or not figure:
        written += render_report(results, table, format_, out, selection, fed_only, force)
    for path in written:
        say(path, err=True)


app.command(name="init")(init.init)
app.command(name="doctor")(doctor.doctor)
app.command(name="status")(status.status)
app.command(name="methods")(methods.methods)
app.command(name="figure")(figure.figure)
app.command(name="predict", choices={"format_": predict.map_formats})(predict.predict)


def main() -> Any:
    """Entry point of the console script. A termination signal ends a command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    accept_any_encoding()
    return app()


if __name__ == "__main__":
    main()

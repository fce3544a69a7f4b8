"""`fod-bench export`: records and curves to trackers of experiments, and a detector as ONNX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import JobFile, Overrides, StoreOption, Verbose, guarded, load, run_command
from fod_bench.cli.export_onnx import onnx
from fod_bench.cli.typer_app import App
from fod_bench.errors import FodBenchError
from fod_bench.machine.terminal import say
from fod_bench.schema.hidden import hidden
from fod_bench.text import counted

if TYPE_CHECKING:
    from fod_bench.export.target import TargetName

app = App(help="Write results to MLflow, Weights & Biases or TensorBoard, again for what is new; a detector as ONNX.")
app.command(name="onnx")(onnx)


@app.command()
@guarded
def mlflow(
    job: JobFile,
    store: StoreOption = None,
    set_: Overrides = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Folder or server; default: MLFLOW_TRACKING_URI, or else the folder mlruns."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Experiment that gets the runs; default: the job's name.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write a run per training to MLflow: parameters, a value per epoch, what the tables show.

    Example: `fod-bench export mlflow quickstart --to http://localhost:5000`
    """
    _export("mlflow", job, store, set_, to or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns", experiment)


@app.command()
@guarded
def wandb(
    job: JobFile,
    store: StoreOption = None,
    set_: Overrides = None,
    to: Annotated[str, typer.Option(metavar="DIR", help="Folder in which wandb/ gets the runs.")] = ".",
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Project of the runs; default: the job's name.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write an offline run per training for Weights & Biases; `wandb sync` uploads them.

    Example: `fod-bench export wandb quickstart --to results`
    """
    _export("wandb", job, store, set_, to, project)
    say(
        hidden(f"next      wandb sync {Path(to) / 'wandb'}/offline-run-*   uploads what was not uploaded yet"), err=True
    )


@app.command()
@guarded
def tensorboard(
    job: JobFile,
    store: StoreOption = None,
    set_: Overrides = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Folder that gets a folder of the job's name, and a folder per training in it."
        ),
    ] = "results/tensorboard",
    verbose: Verbose = False,
) -> None:
    """Write an event file per training for TensorBoard, with its parameters for the HParams page.

    Example: `fod-bench export tensorboard quickstart`
    """
    _export("tensorboard", job, store, set_, to, None)
    say(hidden(f"next      tensorboard --logdir {to}"), err=True)


def _export(
    name: TargetName, job: Path, store: str | None, overrides: list[str] | None, to: str, group: str | None
) -> None:
    from fod_bench.export.exported import Source
    from fod_bench.export.target import target, without_user
    from fod_bench.report import job_results, no_result
    from fod_bench.store import open_existing

    writer = target(name)
    loaded = load(job, overrides, store)
    command = run_command(job, overrides, store)
    opened = open_existing(loaded.store, f"`{command}` makes it, --store names another")
    results = job_results(opened, loaded, command)
    source = Source(opened, results)
    for damaged, fault in results.damaged.items():
        say(hidden(f"left out  {damaged}: {fault}"), err=True)
    if not results.outcomes:
        raise FodBenchError(no_result(opened, loaded, command))
    written = writer.export(source.runs(), to, group or loaded.name)
    for note in source.notes:
        say(hidden(f"data      {note}"), err=True)
    missing = source.without_record()
    rest = f"; {counted(missing, 'training')} without a record left out" if missing else ""
    say(hidden(f"{without_user(to)}: {written.text()}{rest}"))

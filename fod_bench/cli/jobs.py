"""`fod-bench jobs`: the job files that come with fod-bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fod_bench.cli.common import Verbose, guarded
from fod_bench.cli.completion import shipped_names
from fod_bench.cli.typer_app import App
from fod_bench.machine.terminal import say

app = App(help="List the job files that come with fod-bench, or copy one to change it.", bare=True)


@app.callback(invoke_without_command=True)
@guarded
def jobs(context: typer.Context) -> None:
    """List the job files that come with fod-bench; every command takes their names. `copy` makes one your own.

    Example: `fod-bench run quickstart`
    """
    if context.invoked_subcommand is None:
        from fod_bench.job.shipped import first_sentence, shipped_jobs

        known = shipped_jobs()
        for name, path in known.items():
            say(f"{name:<{max(map(len, known))}}  {first_sentence(path)}")


@app.command()
@guarded
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the job.", autocompletion=shipped_names)],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder, or a new file NAME.yaml.")] = Path(),
    verbose: Verbose = False,
) -> None:
    """Copy a job file, and those it includes, to change it.

    Example: `fod-bench jobs copy folder my-parts.yaml`
    """
    from fod_bench.job.shipped import copy_job

    for path in copy_job(name, destination):
        say(path, err=True)

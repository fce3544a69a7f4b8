"""To Weights & Biases: offline runs in a folder, one per training, which `wandb sync` uploads. Nothing is sent from here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported

import wandb

from fod_bench.errors import FodBenchError
from fod_bench.export.exported import ExportedRun
from fod_bench.export.target import Written, allowed, check_folder, refused

MARK = "fod-bench.txt"
"""File beside a run: the digest of what it was written from. It is there when the run is whole."""


def export(runs: Iterable[ExportedRun], to: str, group: str) -> Written:
    """See `Target`; `to` is a folder, in which `wandb/` holds the runs, and `group` the project."""
    folder, written = check_folder(to), Written()
    made: dict[Path, str] = {}
    try:
        for run in runs:
            before = _there(folder, run.key)
            if any(_digest(one) == run.digest for one in before):
                written.kept += 1
                continue
            local = [one for one in before if not _synced(one)]
            for one in local:  # one that was uploaded stays there, under a name of its own
                shutil.rmtree(one)
            made[_write(folder, group, run)] = run.digest
            written.replaced += bool(local)
            written.new += not local
        wandb.teardown()  # only then is all of it on disk
        for place, digest in made.items():
            (place / MARK).write_text(f"{digest}\n")
    except wandb.Error as error:
        raise refused("wandb", to, error) from error
    except OSError as error:
        raise FodBenchError(f"--to {to}: cannot write runs: {error.strerror or error}") from error
    return written


def project_name(group: str) -> str:
    """A project's name as the service takes it."""
    return allowed(group, r"\w\-. ", {})[:128]


def _there(folder: Path, key: str) -> list[Path]:
    """Folders of the training's runs."""
    return sorted((folder / "wandb").glob(f"offline-run-*-{key}-*"))


def _digest(place: Path) -> str | None:
    try:
        return (place / MARK).read_text().strip()
    except OSError:
        return None


def _synced(place: Path) -> bool:
    return any(place.glob("*.wandb.synced"))


def _write(folder: Path, group: str, run: ExportedRun) -> Path:
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        disable_job_creation=True,
        x_disable_stats=True,  # of the machine that exports
        x_disable_meta=True,
        x_save_requirements=False,
    )
    begun = wandb.init(
        project=project_name(group),
        id=f"{run.key}-{run.digest[:8]}",
        name=run.name,
        config=dict(run.parameters) | {"fod_bench": dict(run.facts) | {"key": run.key, "digest": run.digest}},
        dir=str(folder),
        mode="offline",
        settings=settings,
    )
    place = Path(begun.dir).parent
    for epoch, values in run.by_epoch().items():
        begun.log(values, step=epoch)
    begun.summary.update(dict(run.values))
    begun.finish()
    return place

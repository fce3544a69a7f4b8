"""Words that a shell completes: names that only the program knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def job_names(incomplete: str) -> Iterator[str]:
    """Names of the job files that come with fod-bench, and job files and folders that begin with what was typed."""
    yield from shipped_names(incomplete)
    folder, slash, start = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder + slash).expanduser().iterdir())
    except (OSError, RuntimeError):  # no such folder, or home of nobody
        return
    for entry in entries:
        if entry.name.startswith(start) and not (entry.name.startswith(".") and not start):
            name = f"{folder}{slash}{entry.name}"  # shells take only what begins as it was typed
            if entry.is_dir():
                yield f"{name}/"
            elif entry.suffix in (".yaml", ".yml"):
                yield name


def shipped_names(incomplete: str) -> Iterator[str]:
    """Names of the job files that come with fod-bench."""
    from fod_bench.job.shipped import shipped_jobs

    yield from (name for name in shipped_jobs() if name.startswith(incomplete))


def method_names(incomplete: str) -> Iterator[str]:
    """Names of methods."""
    from fod_bench.methods.registry import family_names
    from fod_bench.methods.registry import method_names as known

    yield from (name for name in (*known(), *family_names()) if name.startswith(incomplete))


def table_names(incomplete: str) -> Iterator[str]:
    """What `--table` takes, but for names of jobs."""
    yield from (name for name in (*map(str, range(1, 16)), "all", "plain") if name.startswith(incomplete))


def format_names(incomplete: str) -> Iterator[str]:
    """What `--format` takes."""
    from fod_bench.report import FORMATS

    yield from (name for name in FORMATS if name.startswith(incomplete))


def figure_names(incomplete: str) -> Iterator[str]:
    """What `--figure` takes."""
    from fod_bench.report import FIGURES

    yield from (name for name in (*FIGURES, "all") if name.startswith(incomplete))

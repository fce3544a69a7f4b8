"""To MLflow: a folder or a server, one run per training in one experiment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fod_bench.errors import FodBenchError
from fod_bench.export.exported import ExportedRun
from fod_bench.export.target import Written, allowed, check_folder, refused

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # an address that is wrong is said within seconds

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

KEY, DIGEST = "fod_bench.key", "fod_bench.digest"
"""Tags: the training, and what was exported of it. The latter is set last, so that a run which has it is whole."""
_METRICS, _PARAMETERS = 900, 100
"""Most of them in one request."""
_LONGEST = 6000

_Item = TypeVar("_Item")


class _There(NamedTuple):
    run_id: str
    digest: str | None


def export(runs: Iterable[ExportedRun], to: str, group: str) -> Written:
    """See `Target`; `to` is a tracking URI, `group` the experiment."""
    written = Written()
    try:
        client = MlflowClient(tracking_uri=_folder(to) if urlsplit(to).scheme in ("", "file") else to)
        found = client.get_experiment_by_name(group)
        if found is not None and found.lifecycle_stage != "active":
            raise FodBenchError(
                f"MLflow's experiment {group!r} was deleted; restore it, or name another by --experiment"
            )
        experiment = found.experiment_id if found is not None else client.create_experiment(group)
        there = _there(client, experiment)
        for run in runs:
            before = there.get(run.key, [])
            if any(one.digest == run.digest for one in before):
                written.kept += 1
                continue
            for one in before:
                client.delete_run(one.run_id)
            _write(client, experiment, run)
            written.replaced += bool(before)
            written.new += not before
    except (MlflowException, OSError) as error:
        raise refused("mlflow", to, error) from error
    return written


def _folder(to: str) -> str:
    """The folder's address, whatever the working folder is. Raises `FodBenchError` when it cannot be one."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # MLflow 3 asks for this word before it takes a folder
    path = Path(url2pathname(urlsplit(to).path)).absolute()
    check_folder(str(path.parent))  # MLflow makes its own, with what it wants in it
    if path.exists() and not path.is_dir():
        raise FodBenchError(f"--to {to}: this is a file; MLflow takes a folder or a server")
    return path.as_uri()


def metric_name(name: str) -> str:
    """A metric's name as MLflow takes it: `rec@8+16/image_auroc` is `rec:8-16/image_auroc`."""
    return allowed(name, r"\w\-. :/", {"@": ":", "+": "-"})


def _there(client: MlflowClient, experiment: str) -> dict[str, list[_There]]:
    """The runs of the experiment that came from here, by train key."""
    found: dict[str, list[_There]] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment], "", ViewType.ACTIVE_ONLY, max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            if KEY in tags:
                found.setdefault(tags[KEY], []).append(_There(run.info.run_id, tags.get(DIGEST)))
        token = page.token
        if not token:
            return found


def _write(client: MlflowClient, experiment: str, run: ExportedRun) -> None:
    tags = {KEY: run.key} | {f"fod_bench.{name}": value[:_LONGEST] for name, value in run.facts.items()}
    start, end = round(run.started * 1000), round(run.finished * 1000)
    made = client.create_run(experiment, start_time=start, tags=tags, run_name=run.name).info.run_id
    for parameters in _parts(run.parameters.items(), _PARAMETERS):
        client.log_batch(made, params=[Param(name, str(value)[:_LONGEST]) for name, value in parameters])
    for metrics in _parts(_metrics(run, end), _METRICS):
        client.log_batch(made, metrics=metrics)
    client.set_terminated(made, "FINISHED", end)
    client.log_batch(made, tags=[RunTag(DIGEST, run.digest)])


def _metrics(run: ExportedRun, end: int) -> Iterator[Metric]:
    for name, points in run.series.items():
        for epoch, value in points:
            yield Metric(metric_name(name), value, round(run.time_of(epoch) * 1000), epoch)
    for name, value in run.values.items():
        yield Metric(metric_name(name), value, end, 0)


def _parts(items: Iterable[_Item], size: int) -> Iterator[list[Any]]:
    left = iter(items)
    while part := list(islice(left, size)):
        yield part

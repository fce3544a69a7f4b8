"""`fod-bench submit`: handing a job to a cluster, and asking after it."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fod_bench.cli.common import JobFile, Overrides, StoreOption, Verbose, guarded, load
from fod_bench.cli.typer_app import App
from fod_bench.errors import INTERRUPTED, ClusterError, FodBenchError, UsageError
from fod_bench.machine.terminal import say
from fod_bench.schema.hidden import hidden

if TYPE_CHECKING:
    from fod_bench.cluster.submit.client import JobServer, Submission
    from fod_bench.cluster.submit.kinds import Kubernetes, RayCluster, Slurm
    from fod_bench.job import Job

BEGIN_SECONDS = 120.0
"""Time in which a run is to find the cluster fit; after that it is left to itself."""
LAST_LINES = 20
"""What --wait shows of a run that has failed."""

app = App(default=True, help="Hand a job to a cluster, which goes on with it by itself, and ask after it.")

Cluster = Annotated[
    str,
    typer.Option(
        "--cluster", metavar="FILE|URL", help="File of clusters/, or the address of a Ray that runs: http://host:8265."
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="What `submit` has called it.")]


@app.command()
@guarded
def job(
    job: JobFile,
    cluster: Cluster,
    store: StoreOption = None,
    set_: Overrides = None,
    only: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Work on these row/dataset/category only, as `run` does.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="Most workers at once.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trainings again that failed before.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="No other run uses the store, as `run` has it.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run has ended, with its exit code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="The same, and show what it says.")] = False,
    paths_on_nodes: Annotated[
        bool, typer.Option("--paths-on-nodes", help="Every node has the job's absolute paths under the same name.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Kubernetes, Slurm: where to write; default: the run's name, here."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Kubernetes: have kubectl apply what was written.")] = False,
    verbose: Verbose = False,
) -> None:
    """Hand a job to a cluster, which goes on with it when this machine is gone. Submitted again, it goes on where it stood.

    Sent are the job file, with what it includes, and no data, no results, no keys. On Ray the run is checked and begun; for
    Kubernetes a RayJob is written, for Slurm a batch script, with what the job needs of machines.

    `submit status`, `submit logs ID` and `submit stop ID`, each with --cluster, ask after a submitted job; see their --help.

    Exit codes: 0 submitted, 1 it could not begin, 2 usage; with --wait and --follow those of `run`, or 128 + n where
    signal n has ended it.

    Example: `fod-bench submit jobs/paper.yaml --cluster clusters/aws.yaml --store s3://bucket/fod-bench --follow`
    """
    from fod_bench.cluster.submit.kinds import Kubernetes, RayCluster, read_cluster

    target = read_cluster(cluster)
    loaded = load(job, set_, store, keep_unset=True)
    arguments = _arguments(only, workers, retry_failed, alone)
    if isinstance(target, RayCluster):
        if out is not None or apply:
            raise UsageError("--out and --apply are for Kubernetes and Slurm: a Ray that runs is given the job at once")
        given = _given(job, set_, store)
        raise typer.Exit(_to_ray(target, loaded, given, arguments, paths_on_nodes, wait, follow))
    if wait or follow:
        raise UsageError(f"--wait and --follow are for a Ray that runs; {_elsewhere(target, '')}")
    if isinstance(target, Kubernetes):
        _refuse_unseen(loaded, cluster, paths_on_nodes)
        _for_kubernetes(target, loaded, arguments, out, apply)
    elif apply:
        raise UsageError("--apply is for Kubernetes; a batch script is handed in by `sbatch`")
    else:
        _for_slurm(target, loaded, arguments, out)


@app.command()
@guarded
def status(
    cluster: Cluster,
    id_: Annotated[str | None, typer.Argument(metavar="ID", help="Only this one; default: all of the cluster.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show what was submitted to a cluster, and how it is. `fod-bench status` tells of the trainings.

    Example: `fod-bench submit status --cluster clusters/aws.yaml`
    """
    with _server(cluster) as server:
        found = server.list() if id_ is None else [server.info(id_)]
    if as_json:
        said: Any = [asdict(one) for one in found]
        say(json.dumps(said if id_ is None else said[0], indent=2))
        return
    for one in found:
        times = f"since {one.begun}" if one.at_work else f"{one.begun} to {one.ended}"
        code = "" if one.code is None else f", exit code {one.code}"
        say(f"{one.id}  {one.state}{code}  {times}  store {one.store}")
        if one.state == "FAILED" and one.message:
            say(f"  {one.message}")
    if not found:
        say(f"{cluster}: nothing was submitted", err=True)


@app.command()
@guarded
def logs(
    id_: Id,
    cluster: Cluster,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended, with its exit code.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Show what a submitted run has said.

    Example: `fod-bench submit logs quickstart-0a1b2c3d-4e5f6a --follow --cluster clusters/aws.yaml`
    """
    with _server(cluster) as server:
        server.info(id_)
        if not follow:
            say(server.logs(id_), nl=False)
            return
        code = _watched(server, id_, cluster, follow=True)
    raise typer.Exit(code)


@app.command()
@guarded
def stop(id_: Id, cluster: Cluster, verbose: Verbose = False) -> None:
    """Stop a submitted run as Ctrl-C does: trainings leave a checkpoint, and submitted again the job goes on where it stood.

    Returns when it has ended; exit code 1 when it had ended before.

    Example: `fod-bench submit stop quickstart-0a1b2c3d-4e5f6a --cluster clusters/aws.yaml`
    """
    with _server(cluster) as server:
        found = server.info(id_)
        if not found.at_work:
            raise FodBenchError(f"{id_} has ended already: {found.state}")
        say(f"stopping {id_}: trainings leave a checkpoint", err=True)
        found = server.stop(id_)
    say(f"{id_}  {found.state}", err=True)


def _to_ray(
    target: RayCluster,
    loaded: Job,
    given: str,
    arguments: Sequence[str],
    paths_on_nodes: bool,
    wait: bool,
    follow: bool,
) -> int:
    """The exit code."""
    from fod_bench.cluster.submit.client import fault_of, job_server
    from fod_bench.cluster.submit.package import packaged
    from fod_bench.job import run_id
    from fod_bench.store.address import is_bucket

    here = target.here and not paths_on_nodes
    if not here:
        _refuse_unseen(loaded, target.name, paths_on_nodes)
    store = str(Path(loaded.store).absolute()) if here and not is_bucket(loaded.store) else loaded.store
    with job_server(target) as server:
        server.check_version()
        with packaged(loaded, target.name, here, given, arguments) as folder:
            id_ = server.submit(folder, run_id(loaded), hidden(store))
            say(f"submitted {id_} to {target.name}", err=True)
            try:
                begun = server.begun(id_, BEGIN_SECONDS)
            except KeyboardInterrupt:
                _goes_on(id_, target.name)
                return INTERRUPTED
        if begun.code in (1, 2) and (fault := fault_of(server.logs(id_))):
            error = ClusterError(fault)
            error.exit_code = begun.code
            raise error
        if begun.code and not (wait or follow):
            say(server.logs(id_), err=True, nl=False)
        if wait or follow:
            return _watched(server, id_, target.name, follow)
    if begun.at_work:
        say(f"at work; next: fod-bench submit logs {id_} --follow --cluster {shlex.quote(target.name)}", err=True)
    say(id_)
    return begun.code or 0


def _watched(server: JobServer, id_: str, cluster: str, follow: bool) -> int:
    """Wait for the end of a run, or show what it says until then; its exit code."""

    def write(text: str) -> None:
        say(text, nl=False)
        sys.stdout.flush()

    try:
        ended: Submission = server.follow(id_, write) if follow else server.ended(id_)
    except KeyboardInterrupt:
        _goes_on(id_, cluster)
        return INTERRUPTED
    if ended.state == "FAILED" and not follow:
        _show_end(server, id_, cluster)
    if ended.state == "FAILED" and ended.message:
        say(ended.message, err=True)
    say(f"{id_}  {ended.state}", err=True)
    return ended.code or 0


def _show_end(server: JobServer, id_: str, cluster: str) -> None:
    """The last lines of a run, where they can still be had: its exit code counts more."""
    with contextlib.suppress(ClusterError):
        for line in server.logs(id_).splitlines()[-LAST_LINES:]:
            say(line, err=True)
        say(f"all that it said: fod-bench submit logs {id_} --cluster {shlex.quote(cluster)}", err=True)


def _goes_on(id_: str, cluster: str) -> None:
    say(
        f"fod-bench: the run goes on without this command; to see it again, or to stop it:\n"
        f"  fod-bench submit logs {id_} --follow --cluster {shlex.quote(cluster)}\n"
        f"  fod-bench submit stop {id_} --cluster {shlex.quote(cluster)}",
        err=True,
    )


def _for_kubernetes(target: Kubernetes, loaded: Job, arguments: Sequence[str], out: Path | None, apply: bool) -> None:
    from fod_bench.cluster.submit import kubernetes
    from fod_bench.cluster.submit.needs import needs_of
    from fod_bench.job import run_id

    path = out or Path(f"{run_id(loaded)}.yaml")
    if apply:
        kubernetes.require_kubectl(f"kubectl apply --filename {path}")
    text = kubernetes.manifest_text(kubernetes.filled_in(target, loaded, needs_of(loaded), arguments))
    left = kubernetes.unfilled(text)
    if left and apply:
        raise ClusterError(f"{target.name}: to be filled in before it is applied: {', '.join(left)}")
    _write({path: text})
    if left:
        say(f"to be filled in, in {target.name} or in what was written: {', '.join(left)}", err=True)
    name = kubernetes.object_name(loaded)
    if apply:
        kubernetes.apply(path)
        say(f"applied; next: kubectl logs --follow --selector job-name={name}", err=True)
    else:
        say(f"next: kubectl apply --filename {path}", err=True)


def _for_slurm(target: Slurm, loaded: Job, arguments: Sequence[str], out: Path | None) -> None:
    from fod_bench.cluster.submit import slurm
    from fod_bench.cluster.submit.needs import needs_of
    from fod_bench.job import dump_job, run_id
    from fod_bench.store.address import is_bucket

    run = run_id(loaded)
    path = out or Path(f"{run}.sh")
    job_file = path.with_name(f"{path.stem}.job.yaml").absolute()
    store = loaded.store if is_bucket(loaded.store) else str(Path(loaded.store).absolute())
    text = slurm.filled_in(target.name, target.script, job_file, run, store, needs_of(loaded), arguments)
    _write({job_file: dump_job(loaded), path: text})
    say(f"next: sbatch {shlex.quote(str(path))}", err=True)


def _write(texts: dict[Path, str]) -> None:
    """Write files that are not there yet, or are there just so. Raises `FodBenchError`; then nothing is written."""
    for path, text in texts.items():
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            raise FodBenchError(f"{path} is there already, with other content; --out names another file")
    for path, text in texts.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise FodBenchError(f"{path} cannot be written: {error.strerror or error}") from error
        say(path)


def _refuse_unseen(loaded: Job, cluster: str, on_nodes: bool) -> None:
    from fod_bench.cluster.submit.own_paths import unseen

    if faults := unseen(loaded, cluster, on_nodes):
        raise FodBenchError("\n".join(faults))


def _server(cluster: str) -> Any:
    """Where a cluster takes jobs. Raises `UsageError` for one that is asked otherwise."""
    from fod_bench.cluster.submit.client import job_server
    from fod_bench.cluster.submit.kinds import RayCluster, read_cluster

    target = read_cluster(cluster)
    if not isinstance(target, RayCluster):
        raise UsageError(_elsewhere(target, "NAME"))
    return job_server(target)


def _elsewhere(target: Kubernetes | Slurm, name: str) -> str:
    """How one asks after what was handed in elsewhere."""
    from fod_bench.cluster.submit.kinds import Kubernetes

    if isinstance(target, Kubernetes):
        return (
            f"Kubernetes is asked by kubectl: `kubectl get rayjob {name or 'NAME'} --watch`, `kubectl logs --follow --selector "
            f"job-name={name or 'NAME'}`, and stopped by `kubectl delete rayjob {name or 'NAME'}`"
        )
    return (
        "Slurm is asked by its own commands: `squeue --job JOBID`, `tail --follow fod-bench-JOBID.log`, and stopped by `scancel "
        "--signal=TERM --batch JOBID`"
    )


def _arguments(only: str | None, workers: int | None, retry_failed: bool, alone: bool) -> list[str]:
    """Options of `fod-bench run`."""
    words = [] if only is None else ["--only", only]
    words += [] if workers is None else ["--workers", str(workers)]
    return words + ["--retry-failed"] * retry_failed + ["--alone"] * alone


def _given(job: Path, overrides: Sequence[str] | None, store: str | None) -> str:
    """The job and its options, as a command has them."""
    changes = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join([str(job), *changes, *(["--store", store] if store else [])])

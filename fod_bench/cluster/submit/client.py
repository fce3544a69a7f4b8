"""Jobs on a Ray: handing them in, asking after them, following what they say, stopping them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fod_bench.cluster.joined_ray import WAYS, sent_token, unreachable
from fod_bench.cluster.ray_environment import defaults, ray_environment
from fod_bench.cluster.submit import start
from fod_bench.cluster.submit.kinds import RayCluster
from fod_bench.cluster.submit.package import versions
from fod_bench.cluster.submit.reach import reached
from fod_bench.errors import INTERRUPTED, ClusterError
from fod_bench.schema.problems import suggest

ANSWER_SECONDS = 30.0
"""Time in which the cluster has to answer a request."""
PATIENCE_SECONDS = 300.0
"""Time for which a cluster that does not answer is waited for while a job is followed."""
STOP_SECONDS = 120
"""Time that Ray gives a job to end: trials leave checkpoints within 30 s."""
LOOK_SECONDS = 0.3
_OURS = "fod_bench_run"
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_BEGUN = "\njoined    "
"""The line of a run that has found its nodes fit."""


@dataclass(frozen=True)
class Submission:
    """A job on a cluster, as it is now."""

    id: str
    run_id: str
    store: str
    state: str
    """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`."""
    begun: str | None
    ended: str | None
    """UTC, ISO 8601."""
    code: int | None
    """The run's exit code, 128 + n where signal n has ended it, as in a shell; None while it is at work."""
    message: str
    """What Ray says of its state, in a line, or which signal has ended the run; empty for a run that has ended by itself."""

    @property
    def at_work(self) -> bool:
        return self.state not in _ENDED


class JobServer:
    """Where one cluster takes jobs. Every method raises `ClusterError` when it does not answer, or refuses."""

    def __init__(self, cluster: RayCluster, url: str) -> None:
        self._cluster, self._url = cluster, url
        with self._asked():
            self._client = _client_of(url)
            self._ray_version = self._client.ray_version()

    def check_version(self) -> None:
        """Raises `ClusterError` when the cluster has another Ray."""
        here = versions()["Ray"]
        if self._ray_version != here:
            raise ClusterError(
                f"{self._cluster.name} has Ray {self._ray_version}, this machine {here}; both need the same, by one image or "
                "environment (docs/clusters.md)"
            )

    def submit(self, folder: Path, run_id: str, store: str) -> str:
        """Hand in what `folder` holds; the submission's id."""
        working = [one for one in self.list() if one.run_id == run_id and one.store == store and one.at_work]
        if working:
            raise ClusterError(
                f"this job is at work on {self._cluster.name} already, as {working[0].id}: `fod-bench submit logs {working[0].id} "
                f"--follow --cluster {self._cluster.name}` shows it, `fod-bench submit stop` stops it"
            )
        with self._asked():
            return str(
                self._client.submit_job(
                    entrypoint=f"exec python3 {Path(start.__file__).name}",
                    submission_id=f"{run_id}-{secrets.token_hex(3)}",
                    runtime_env={
                        "working_dir": str(folder),
                        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)},
                    },
                    metadata={_OURS: run_id, "fod_bench_store": store},
                )
            )

    def list(self) -> list[Submission]:
        """Every job that was handed in by this program, the latest last."""
        with self._asked():
            found = [_submission(job) for job in self._client.list_jobs() if _OURS in (job.metadata or {})]
        return sorted(found, key=lambda one: one.begun or "9")

    def info(self, id_: str) -> Submission:
        """One of them. Raises `ClusterError` for an id that none has."""
        with self._asked():
            job = self._client.found(id_)
        if job is None:
            known = [one.id for one in self.list()]
            near = f"; {suggest(id_, known)}" if known else "; it has none"
            raise ClusterError(f"{self._cluster.name} has no submitted job {id_!r}{near}")
        return _submission(job)

    def logs(self, id_: str) -> str:
        """All that the job has said."""
        with self._asked():
            return str(self._client.get_job_logs(id_))

    def stop(self, id_: str) -> Submission:
        """Ask the job to end, as Ctrl-C does, and wait until it has."""
        with self._asked():
            self._client.stop_job(id_)
        return self.ended(id_, limit=STOP_SECONDS + ANSWER_SECONDS)

    def begun(self, id_: str, limit: float) -> Submission:
        """The job once its run has found the cluster fit, or has ended, or has been at it for `limit` seconds."""
        end = time.monotonic() + limit
        while True:
            found = self.info(id_)
            if not found.at_work or _BEGUN in self.logs(id_):
                return found
            if found.state == "PENDING":
                end = time.monotonic() + limit
            elif time.monotonic() > end:
                return found
            time.sleep(LOOK_SECONDS)

    def ended(self, id_: str, limit: float | None = None) -> Submission:
        """The job once it has ended. An outage of the cluster is waited for."""
        end = None if limit is None else time.monotonic() + limit
        while True:
            found = self._patiently(lambda: self.info(id_))
            if not found.at_work:
                return found
            if end is not None and time.monotonic() > end:
                raise ClusterError(f"{id_} has not ended within {limit:.0f} s; it may be waiting for its store")
            time.sleep(LOOK_SECONDS)

    def follow(self, id_: str, write: Callable[[str], None]) -> Submission:
        """Hand on what the job has said and says, until it has ended. After an outage of the cluster it goes on where it stood."""
        seen = 0
        while True:
            seen = self._patiently(lambda seen=seen: self._tail(id_, seen, write))  # type: ignore[misc]
            found = self._patiently(lambda: self.info(id_))
            if not found.at_work:
                rest = self._patiently(lambda: self.logs(id_))[seen:]
                if rest:
                    write(rest)
                return found
            time.sleep(LOOK_SECONDS)

    def _tail(self, id_: str, seen: int, write: Callable[[str], None]) -> int:
        """Hand on what comes after the first `seen` characters, until the connection ends; how many there were."""

        async def pieces() -> int:
            count = 0
            async for piece in self._client.tail_job_logs(id_):
                if count + len(piece) > seen:
                    write(piece[max(0, seen - count) :])
                count += len(piece)
            return max(count, seen)

        with self._asked():
            return asyncio.run(pieces())

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        since = time.monotonic()
        while True:
            try:
                return ask()
            except _OutageError as error:
                if time.monotonic() - since > PATIENCE_SECONDS:
                    raise ClusterError(str(error)) from None
                time.sleep(1.0)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """What Ray raises, in a line."""
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            other = "Authentication failed" in str(error)
            wanted = "another token than this user has" if other else "a token, and none was sent"
            raise ClusterError(f"the Ray of {self._cluster.name} asks for {wanted}; {WAYS}") from None
        except (requests.exceptions.RequestException, aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise _OutageError(str(unreachable(self._url, error))) from None
        except RuntimeError as error:
            if "WebSocket" in str(error):
                raise _OutageError(str(unreachable(self._url, error))) from None
            raise ClusterError(f"the Ray of {self._cluster.name} refuses: {str(error).splitlines()[0]}") from None


class _OutageError(ClusterError):
    """The cluster does not answer, perhaps for a while."""


@contextmanager
def job_server(cluster: RayCluster) -> Iterator[JobServer]:
    """Where the cluster takes jobs, for as long as the block lasts. This user's token is sent where there is one.

    Raises `ClusterError` when it cannot be reached, wants another token, or this machine lacks what it takes to ask.
    """
    none = {"RAY_ADDRESS": None, "RAY_API_SERVER_ADDRESS": None}  # they would be taken instead
    with ray_environment({**none, **defaults(sent_token())}), reached(cluster) as url:
        yield JobServer(cluster, url)


def fault_of(logs: str) -> str:
    """What a run that could not begin said last; empty where it said nothing of the kind."""
    _, found, rest = f"\n{logs}".rpartition("\nfod-bench: ")
    return rest.strip() if found else ""


def _client_of(url: str) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise _lacking(error) from None
    _quiet()

    class Client(JobSubmissionClient):
        """Waits for no answer for ever."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": ANSWER_SECONDS, **options})

        def ray_version(self) -> str:
            return str(self._do_request("GET", "/api/version").json().get("ray_version"))

        def found(self, id_: str) -> Any:
            """The job; None where there is none."""
            try:
                return self.get_job_info(id_)
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    try:
        return Client(url)
    except RuntimeError as error:
        if "ray[default]" in str(error):
            raise _lacking(error) from None
        raise


def _lacking(error: Exception) -> ClusterError:
    said = str(error).splitlines()[0]
    return ClusterError(f"submitting takes more of Ray than is installed ({said}): pip install 'fod-bench[cluster]'")


def _quiet() -> None:
    """Once they are imported, which sets the levels of their loggers."""
    for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _submission(job: Any) -> Submission:
    state = str(getattr(job.status, "value", job.status))
    code = INTERRUPTED if state == "STOPPED" else job.driver_exit_code
    if state in _ENDED and code is None:
        code = 0 if state == "SUCCEEDED" else 1
    message = ""
    if job.driver_exit_code is None:  # it is at work, or Ray could not begin it, has stopped or lost it
        message = next(iter(str(job.message or "").splitlines()), "")
    if code is not None and code < 0:
        message, code = f"ended by signal {-code} ({signal.strsignal(-code) or 'unknown'})", 128 - code
    metadata = job.metadata or {}
    return Submission(
        id=str(job.submission_id),
        run_id=metadata.get(_OURS, ""),
        store=metadata.get("fod_bench_store", ""),
        state=state,
        begun=_time(job.start_time),
        ended=_time(job.end_time),
        code=code if state in _ENDED else None,
        message=message,
    )


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="seconds")

"""The worker as a Ray actor; the imports that take seconds happen in its process, not in the driver's."""

from __future__ import annotations

import os
import signal
import socket
import threading

import ray

from fod_bench.cluster.metrics import WorkerMetrics
from fod_bench.errors import ClusterError
from fod_bench.records.failures import Failure
from fod_bench.records.names import run_of
from fod_bench.records.record import Trial
from fod_bench.runs.messages import Attempt, Outcome, Prepared, SetTask, Speed, SpeedTask, Status, Taken
from fod_bench.runs.resources import Share

GRACE_SECONDS = 20.0
"""Time that a trial has to leave its checkpoint when its machine is taken away; the scarcest spot machines give 30."""


class RemoteWorker:
    """See `fod_bench.cluster.worker.Worker`, to which every call goes on."""

    def __init__(self, store_uri: str, share: Share, expected_object: str) -> None:
        from fod_bench.cluster.worker import Worker

        self._worker = Worker(store_uri, max(1, int(share.cpus)), share.gpus > 0)
        if not self._worker.store.exists(expected_object):
            raise ClusterError(
                f"store {store_uri} on {socket.gethostname()} is not the one that the run was started on; "
                "give a folder that every machine reaches under the same path, or s3://bucket/prefix"
            )
        self._metrics = WorkerMetrics(run_of(expected_object), share)
        self._heed_termination()

    def prepare(self, tasks: list[SetTask]) -> list[Prepared | Taken | Failure]:
        with self._metrics.at_work():
            return self._worker.prepare(tasks)

    def train(self, tasks: list[tuple[Trial, Attempt]]) -> list[Outcome]:
        with self._metrics.at_work():
            return self._worker.train(tasks)

    def measure(self, task: SpeedTask) -> Speed | Failure:
        return self._worker.measure(task)

    def status(self) -> tuple[str, list[Status]]:
        """With Ray's name of the node. Whoever watches the cluster is told at the same time."""
        self._metrics.publish(self._worker.epochs)
        return ray.get_runtime_context().get_node_id(), self._worker.status()

    def stop(self) -> None:
        self._worker.stop()

    def _heed_termination(self) -> None:
        """On SIGTERM, leave a checkpoint at once and end: spot machines and job schedulers announce their going that way.

        Ray keeps the main thread in its own loop, where a Python handler would not run; the signal is heard through a pipe.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        heard, told = socket.socketpair()
        told.setblocking(False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

        def heed() -> None:
            with heard, told:
                heard.recv(1)
                self._worker.leave(GRACE_SECONDS)
            os._exit(0)  # the driver has its answer and finds this worker gone

        threading.Thread(target=heed, name="termination", daemon=True).start()

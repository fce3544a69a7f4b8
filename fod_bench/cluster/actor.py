"""The worker as a Ray actor; the imports that take seconds happen in its process, not in the driver's."""

from __future__ import annotations

import socket

from fod_bench.cluster.messages import Done, Failure, Prepared, PreparedInfo, Status, Stopped
from fod_bench.cluster.session import Share
from fod_bench.errors import ClusterError
from fod_bench.features.request import FeatureRequest
from fod_bench.record import Trial


class RemoteWorker:
    """See `fod_bench.cluster.worker.Worker`, to which every call goes on."""

    def __init__(self, store_uri: str, share: Share, landmark: str) -> None:
        from fod_bench.cluster.worker import Worker

        self._worker = Worker(store_uri, max(1, int(share.cpus)), share.gpus > 0)
        if not self._worker.store.exists(landmark):
            raise ClusterError(
                f"store {store_uri} on {socket.gethostname()} is not the one that the run was started on; "
                "give a folder that every machine reaches under the same path"
            )

    def prepare(self, request: FeatureRequest, kinds: list[str]) -> tuple[PreparedInfo | Failure, Prepared | None]:
        return self._worker.prepare(request, kinds)

    def train(self, trial: Trial, prepared: Prepared) -> Done | Stopped | Failure:
        return self._worker.train(trial, prepared)

    def status(self) -> Status:
        return self._worker.status()

    def stop(self) -> None:
        self._worker.stop()

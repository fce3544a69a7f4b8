"""What simulated workers are like: how long things take, and how work ends that nothing disturbs."""

from __future__ import annotations

from collections.abc import Sequence

from fod_bench.features.request import SetRequest
from fod_bench.methods.settings import Reference
from fod_bench.records.failures import Failure
from fod_bench.records.record import Trial
from fod_bench.runs.executor import LossKind
from fod_bench.runs.messages import Prepared, Speed, SpeedTask
from fod_bench.runs.resources import Share


class Behaviour:
    """The default: everything ends well. Times are in seconds; to be overridden."""

    startup_seconds = 8.0
    """From a worker's start to its first status."""
    stop_seconds = 1.0
    """To leave a checkpoint when told to stop."""
    status_seconds = 0.5
    """Between two statuses of a worker."""
    notice_seconds = 14.0
    """Until the loss of a node is noticed; Ray takes as long."""
    measure_seconds = 1.0
    """Of a measurement of speed."""

    def prepare_seconds(self, request: SetRequest, share: Share) -> float:
        """To make a set and references, for a worker of this share."""
        return 20.0

    def train_seconds(self, trial: Trial, share: Share) -> float:
        """Of a whole trial on this share, evaluation included; in a pack as long as by itself."""
        return 60.0

    def speed(self, task: SpeedTask, share: Share) -> Speed | Failure | LossKind:
        """What a worker of this share measures, or how it is lost at it."""
        return Speed(0.1 * task.pack / task.threads, 0.01, 1)

    def startup_loss(self, worker: int) -> LossKind | None:
        """How a worker fails to start; None for one that starts."""
        return None

    def prepare(self, request: SetRequest, references: Sequence[Reference]) -> Prepared | Failure:
        """What preparing a set comes to."""
        return Prepared(True, 0)

    def train(self, trial: Trial, share: Share, together: int) -> Failure | None:
        """How a trial fails that is one of `together` in a worker of this share; None for one that comes to its record."""
        return None

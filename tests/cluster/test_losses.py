"""Ray's errors as losses of workers."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from fod_bench.cluster.losses import loss_kind
from fod_bench.runs.executor import LossKind

NO_MEMORY = OutOfMemoryError("1 worker(s) were killed\nRefer to the documentation on how to provision more memory.")


@pytest.mark.parametrize(
    ("error", "node_lost", "kind"),
    [
        (ActorUnavailableError("no answer", None), True, "unreachable"),
        (ActorDiedError(), True, "node"),
        (ActorDiedError(), False, "killed"),
        (NO_MEMORY, False, "memory"),
        (RayError("something else"), True, "killed"),
    ],
)
def test_a_worker_at_work_is_lost_in_one_of_four_ways(error: RayError, node_lost: bool, kind: LossKind) -> None:
    assert loss_kind(error, True, lambda: node_lost) == kind


@pytest.mark.parametrize(
    ("error", "node_lost", "kind"),
    [
        (ActorUnavailableError("no answer", None), False, "startup"),
        (ActorUnavailableError("no answer", None), True, "node"),
        (ActorDiedError(), False, "startup"),
        (ActorDiedError(), True, "node"),
        (NO_MEMORY, True, "memory"),
        (RayError("something else"), True, "startup"),
    ],
)
def test_one_that_was_never_heard_of_did_not_start_unless_its_node_went(
    error: RayError, node_lost: bool, kind: LossKind
) -> None:
    assert loss_kind(error, False, lambda: node_lost) == kind

"""A method's graph gives what its detector and scorings give, for every scoring and in every form of its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fod_bench.errors import TrialError
from fod_bench.methods.base import Anchored, Context, Exportable
from fod_bench.methods.fod.references.build import build_references
from fod_bench.methods.fod.references.maker import rows
from fod_bench.methods.fod.references.specs import reference_spec
from fod_bench.methods.registry import method_class, settings_class
from tests.helpers.fitting import BATCH, CPU, fit
from tests.helpers.unpooled_features import BACKBONE, synthetic_splits

torch.set_num_threads(1)
SIZE = 64
FOD = {"method": "fod", "d_model": {8: 16, 16: 16}, "heads": 2, "layers": 2, "epochs": 1}
OFFICIAL = {"embedding": "official", "pretrain_dimension": 20, "target_dimension": 30}
PATCHCORE = {"method": "patchcore", "coreset_ratio": 0.2}
CASES: dict[str, dict[str, Any]] = {
    "full": FOD,
    "patch": FOD | {"views": "patch"},
    "intra": FOD | {"views": "intra"},
    "inter": FOD | {"views": "inter"},
    "coreset": FOD | {"reference": "coreset"},
    "prototype": FOD | {"reference": "prototype"},
    "concat": PATCHCORE,
    "neighbours": PATCHCORE | {"neighbours": 3, "reweight": 3},
    "official": PATCHCORE | OFFICIAL | {"reweight": 1},
    "padim": {"method": "padim", "channels": 30},
    "cflow": {"method": "cflow", "blocks": 2, "condition": 16, "fiber": 32, "epochs": 1, "sub_epochs": 1},
    "draem": {"method": "draem", "width": 4, "batch_size": 2, "epochs": 1},
}


def fitted(case: dict[str, Any]) -> tuple[Any, Any, Context]:
    """Settings, the fitted method, and its context."""
    train, test, _ = synthetic_splits("weave", SIZE, 6, 3, 1)
    shared = {"image_size": SIZE} | ({} if case["method"] == "draem" else {"backbone": BACKBONE, "weights": "random"})
    settings = settings_class(case["method"]).complete(shared | case)
    reference = settings.needs().reference
    made = None
    if reference is not None:
        made = build_references(reference_spec(case.get("reference", "mean")), train.pooled, test.pooled, CPU)
        train = replace(train, reference_rows=rows(made)[0])
    context = Context(SIZE, made)
    return settings, fit(settings, train, context), context


@pytest.mark.parametrize("name", CASES)
def test_it_gives_maps_and_scores_of_every_scoring(name: str) -> None:
    settings, method, context = fitted(CASES[name])
    kind, setting, (_, test, _) = (
        method_class(settings.method),
        settings.training(),
        synthetic_splits("weave", SIZE, 6, 3, 1),
    )
    assert isinstance(kind, Exportable)
    weights = method.weights()
    detector = kind.load_detector(setting, weights, context, CPU)
    batches = [test.batch(slice(start, start + BATCH), CPU) for start in range(0, len(test), BATCH)]
    with torch.no_grad():
        given = [detector.parts(batch) for batch in batches]
        parts = {part: torch.cat([each[part] for each in given]) for part in given[0]}
        anchors = kind.anchors(setting, parts, SIZE) if isinstance(kind, Anchored) else {}
        for expected in kind.scorings(setting, parts, SIZE):
            graph = kind.graph(setting, weights, context, expected.score, anchors).eval()
            found = [graph(batch) for batch in batches]
            maps, scores = (torch.cat(both).numpy() for both in zip(*found, strict=True))
            for got, right in ((maps, expected.pixels.numpy()), (scores, expected.images.numpy())):
                np.testing.assert_allclose(got, right, atol=1e-4 * np.abs(right).max(), err_msg=expected.score)


@pytest.mark.parametrize("kind", ["nearest", "codebook"])
def test_references_that_are_looked_up_have_none(kind: str) -> None:
    settings, method, context = fitted(FOD | {"reference": kind})
    with pytest.raises(TrialError, match=f"references of kind `{kind}` are looked up anew for each image"):
        type(method).graph(settings.training(), method.weights(), context, method.primary_score, {})

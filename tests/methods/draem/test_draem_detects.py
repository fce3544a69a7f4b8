"""DRAEM finds local defects in images of the synthetic data set."""

from __future__ import annotations

import numpy as np

from fod_bench.datasets import SyntheticSettings
from fod_bench.datasets.synthetic.category import SyntheticCategory
from fod_bench.evaluation.evaluate import Truth
from fod_bench.methods.base import Context, Split
from fod_bench.methods.draem.settings import DraemSettings
from tests.helpers.fitting import fit, make, metrics

SIDE = 64


def test_local_defects_in_wood_are_found() -> None:
    category = SyntheticCategory("wood", SyntheticSettings(train=24, test_good=16, test_defect_per_type=8, size=SIDE))
    tested = [sample for sample in category.test if not sample.label or sample.defect.startswith("local")]
    none = np.zeros((SIDE, SIDE), np.uint8)
    truth = Truth(
        np.array([sample.label for sample in tested], np.uint8),
        np.stack([found if (found := category.read_mask(sample)) is not None else none for sample in tested]),
    )
    train, test = (
        Split(images=np.stack([np.asarray(category.read_image(sample)) for sample in samples]))
        for samples in (category.train, tested)
    )
    settings = DraemSettings.complete(
        {"image_size": SIDE, "width": 8, "batch_size": 4, "learning_rate": 3e-3, "epochs": 40}
    )
    context = Context(SIDE)
    found = metrics(fit(settings, train, context), settings, test, context, truth)
    before = metrics(make(settings, train, context), settings, test, context, truth)
    assert found["image_auroc"] is not None and found["image_auroc"] >= 0.9, found
    assert found["pixel_auroc"] is not None and found["pixel_auroc"] >= 0.9, found
    assert before["image_auroc"] is not None and before["image_auroc"] < 0.8, "and not before it is trained"

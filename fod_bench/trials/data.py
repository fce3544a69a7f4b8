"""What a trial works on: the images of both splits in the forms its method needs, and what is true of those of the test split."""

from __future__ import annotations

from dataclasses import dataclass

from fod_bench.evaluation.evaluate import Truth
from fod_bench.methods.base import Context, Split
from fod_bench.records.record import Counts


@dataclass(frozen=True)
class TrialData:
    """Arrays are read only and shared with other trials."""

    train: Split
    test: Split
    truth: Truth
    context: Context

    def counts(self) -> Counts:
        """How many images there are."""
        truth = self.truth
        defects = int(truth.labels.sum())
        labels = truth.labels if truth.masked is None else truth.labels[truth.masked]
        vanished = int((~truth.masks[labels == 1].any((1, 2))).sum())
        return Counts(
            train=len(self.train),
            test_good=len(truth.labels) - defects,
            test_defect=defects,
            test_unmasked=defects - int(labels.sum()),
            test_vanished=vanished,
        )

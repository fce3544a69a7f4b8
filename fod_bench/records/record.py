"""What a benchmark leaves behind: the record of a trial and the plan of a run.

A worker writes a `Record`, the planner a `RunPlan`, a report reads both; nothing else passes between them. Both are
plain JSON, complete in themselves, so that a table can be made from a store alone, without the data and without torch.
What every epoch left lies beside the record (`curves.py`): a report of ten thousand records reads none of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fod_bench.evaluation.metric import MetricName
from fod_bench.records.names import canonical_digest
from fod_bench.store.reading import Amount, Count, OptionalPart, Part, Share

SCHEMA_VERSION: Literal[2] = 2


SELECTED_WEIGHTS: dict[str, MetricName] = {"best_image": "image_auroc", "best_pixel": "pixel_auroc"}
"""Weights kept beside the last epoch's: those of the epoch that is best on the test data, for each metric by itself."""

COST_SCORE = "cost"
"""Where a score name would stand in a cell that asks for a measurement of cost."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def score_name(rule: str, levels: list[int] | tuple[int, ...]) -> str:
    """Name of one way of scoring a training, e.g. `rec@8+16`: scoring rule and the subset of feature levels."""
    return f"{rule}@{'+'.join(str(level) for level in sorted(levels))}" if levels else rule


Selected = tuple[Share | None, Count | None, Share | None, Count | None]
"""The two values of one metric that tables show, each with the number of epochs trained when it was taken: the highest over the
evaluated epochs (the first of equals; selected on the test data, each metric for itself), and that of the last one."""


KeepScores = Literal["selected", "last", "none"]
"""Of which epochs the scores of the test images are kept: the selected ones and the last, the last, or none."""


class Training(_Frozen):
    """What is trained: all that is known of a trial before there is a result."""

    key: Part
    """Train key: hash of everything that changes the training and nothing else."""
    method: str
    dataset: str
    """Name of the data set in the job that trained it."""
    layout: str
    category: str
    fingerprint: str
    """Digest of the category's files, or of the generator's settings for a synthetic one."""
    seed: int
    setting: dict[str, Any]
    """Everything that changed the training, defaults spelled out."""
    features: dict[str, Any]
    """What it works on: key, image size, preprocessing, and where a backbone gives features, or is run, its name, the digest of
    its weights and the levels."""
    sets: dict[str, Part] = Field(default_factory=dict)
    """Keys of the sets it works on: `pooled`, `unpooled`, `images`, and `truth`, the test images' labels and masks. Empty in
    records of versions that kept masks beside the features."""
    reference: dict[str, Any] | None = None
    """Kind, settings and key of the reference features; None where the method needs none. In a record also `facts`, what is worth
    knowing of how they turned out: `{fact: {level: value}}`."""

    @property
    def measures_cost(self) -> bool:
        """Whether it is measured what the training costs, and nothing is trained to its end."""
        return self.setting.get("measure") == COST_SCORE


class Trial(Training):
    """One training as it is handed to a worker."""

    checkpoint_seconds: float
    """Time between two checkpoints; 0 writes one after every step. Without effect on the result."""
    keep_scores: KeepScores = "selected"
    """Without effect on the result."""
    network: dict[str, Any] | None = None
    """Weights of the backbone that the method runs itself: backbone, digest, path, seed; None where it needs none."""

    def training(self) -> dict[str, Any]:
        """What a record says of it."""
        return self.model_dump(exclude={"checkpoint_seconds", "keep_scores", "network"})


class Counts(_Frozen):
    """Images of the category that the trial used."""

    train: Count
    test_good: Count
    test_defect: Count
    test_unmasked: Count = 0
    """Defective ones without a mask, which the pixel metrics leave out."""
    test_vanished: Count = 0
    """Defective ones whose mask marks no pixel at the image size."""


class RunInfo(_Frozen):
    """Circumstances of the run. Not part of the result: two runs with the same result differ here."""

    started: str
    """UTC, ISO 8601."""
    finished: str
    train_seconds: Amount
    evaluate_seconds: Amount
    seconds_per_step: Amount
    device: str
    threads: Annotated[int, Field(ge=1)]
    packed: Annotated[int, Field(ge=1)] = 1
    """Most trials that shared its steps, itself included; of the time of such a step each is charged an equal part."""
    correlation: str = ""
    """Implementation of the correlation operator; empty where the method or its view has none."""
    host: str
    claim: OptionalPart = ""
    """Claim it was written under; the kept weights lie in the folder of that name beside the record."""
    versions: dict[str, str]
    resumed_after: list[int] = Field(default_factory=list)
    """Epochs after which the trial was interrupted and went on."""


class Record(Training):
    """The complete and immutable outcome of one trial."""

    schema_version: Literal[2] = SCHEMA_VERSION
    counts: Counts
    primary_score: str
    """Score name of the method's own scoring over all levels, e.g. `rec@8+16`; `cost` where costs are measured."""
    epochs: Count = 0
    """Number of epochs trained."""
    selected: dict[str, dict[MetricName, Selected]] = Field(default_factory=dict)
    """`{score name: {metric: (best, its epoch, last, its epoch)}}`; None where undefined. Empty where nothing is evaluated."""
    curves: str = ""
    """Digest of what every epoch left, `Curves.digest()`; empty where there is nothing."""
    undefined: dict[str, str] = Field(default_factory=dict)
    """`{metric: reason}` for metrics that this test split does not define."""
    costs: dict[str, Amount] = Field(default_factory=dict)
    """`{name of a cost: value}`, see `CostName`, of the device that `run` names; empty unless cost was measured. Beside those of
    Table 5: `gflops_all`, `backbone_s_per_epoch` (docs/metrics.md)."""
    run: RunInfo

    def scores(self) -> list[str]:
        """Every score name of the record."""
        return [COST_SCORE] if self.costs else list(self.selected)

    def best(self, score: str, metric: MetricName) -> tuple[float | None, int | None]:
        """Highest value of `metric` over the evaluated epochs and its epoch: selected on test data, each metric for itself."""
        return self._selected(score, metric)[:2]

    def last(self, score: str, metric: MetricName) -> tuple[float | None, int | None]:
        """Value of `metric` at the last evaluated epoch and that epoch."""
        return self._selected(score, metric)[2:]

    def result_digest(self) -> str:
        """SHA-256 over everything but `run`, `costs` and `sets`, which follow from the rest: equal for two runs with the same
        result to the bit, in every epoch."""
        return canonical_digest(self.model_dump(mode="json", exclude={"run", "costs", "sets"}))

    def _selected(self, score: str, metric: MetricName) -> Selected:
        return self.selected.get(score, {}).get(metric, (None, None, None, None))


def train_key(features: Any, seed: int, setting: dict[str, Any], version: int) -> str:
    """Key of the training of `setting` on what `features` is the key of, see `Wanted.key`, by one version of its method."""
    content = {"features": features, "seed": seed, "setting": setting, "version": version}
    return canonical_digest(content)[:32]

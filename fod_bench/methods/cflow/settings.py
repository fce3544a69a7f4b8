"""The settings of CFLOW-AD: every key with the published default, and what the program asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from fod_bench.features.offered import backbone_strides
from fod_bench.methods.cflow.fibers import Cut, cut
from fod_bench.methods.settings import BackboneSettings, Levels, Needs, Work
from fod_bench.records.record import Counts
from fod_bench.records.scores import kept_bytes
from fod_bench.schema.fields import NonNegativeNumber, PositiveNumber, PositiveWholeNumber, Switch
from fod_bench.schema.problems import Problem

_NO_COST = ("learning_rate", "decay", "warm_epochs", "epochs", "evaluate_every")
"""What makes no difference to what a training step or an image costs."""


class CflowSettings(BackboneSettings):
    """CFLOW-AD (WACV 2022)."""

    implementation: ClassVar[str] = "fod_bench.methods.cflow.method:CflowMethod"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "a conditional normalizing flow per feature level; the score is how unlikely the features are"
    )
    works_on: ClassVar[str] = "features without pooling"
    source: ClassVar[str] = (
        "Gudovskiy et al., CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via Conditional Normalizing Flows, "
        "WACV 2022"
    )
    licence: ClassVar[str] = (
        "authors' code, gudovskiy/cflow-ad: BSD-3-Clause; written here from its equations and measured against it"
    )
    costed: ClassVar[bool] = True

    method: str = "cflow"
    """Method that is trained; `fod-bench methods` lists those there are."""
    levels: Levels = (8, 16)
    """Feature levels, by stride (pixels per feature); each has a flow of its own. The paper takes 8, 16 and 32."""
    blocks: PositiveWholeNumber = 8
    """Coupling blocks of a flow."""
    condition: PositiveWholeNumber = 128
    """Numbers of the sine/cosine code of the position that a flow is conditioned on, a multiple of 4."""
    clamp: PositiveNumber = 1.9
    """Bound of the logarithm by which a block stretches a number."""
    fiber: PositiveWholeNumber = 256
    """Rows of features, from anywhere in a batch of images, that the optimiser moves on at a time."""
    batch_size: PositiveWholeNumber = 32
    """Images whose rows are shuffled together; all of them where there are fewer. Those that do not fill a batch are left out of
    the pass, which every pass chooses anew."""
    learning_rate: PositiveNumber = 2e-4
    """Learning rate of Adam, from which a cosine over the epochs begins; constant within an epoch."""
    decay: NonNegativeNumber = 0.1
    """The cosine ends at `learning_rate` times the third power of this."""
    warm_epochs: PositiveWholeNumber = 2
    """Epochs in which the rate follows a line instead, from a tenth of `learning_rate` towards the cosine."""
    epochs: PositiveWholeNumber = 25
    """Epochs of `sub_epochs` passes; called meta epochs in the paper."""
    sub_epochs: PositiveWholeNumber = 8
    """Passes over the training images in an epoch."""
    evaluate_every: PositiveWholeNumber = 1
    """Epochs between two evaluations on the test split; the last epoch is always evaluated."""
    zero_gradient_step: Switch = False
    """Repeat an effect of the authors' loop under PyTorch 1: every level also moves by momentum on the other levels' fibers. Steps
    of the program then take a whole batch."""

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.condition % 4:
            right = " or ".join(str(size) for size in (self.condition // 4 * 4, self.condition // 4 * 4 + 4) if size)
            text = f"{self.condition} is not a multiple of 4, which the 2-D sine/cosine position code needs; {right} is"
            yield Problem(("condition",), text)

    def training(self) -> dict[str, Any]:
        """See `MethodSettings`. `evaluate_every` is in it, because it decides what the record holds."""
        setting: dict[str, Any] = {
            "method": self.method,
            "backbone": self.backbone,
            "image_size": self.image_size,
            "levels": list(self.levels),
            "blocks": self.blocks,
            "condition": self.condition,
            "clamp": self.clamp,
            "fiber": self.fiber,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "warm_epochs": self.warm_epochs,
            "epochs": self.epochs,
            "sub_epochs": self.sub_epochs,
            "evaluate_every": min(self.evaluate_every, self.epochs),
        }
        if len(self.levels) > 1:
            setting["zero_gradient_step"] = self.zero_gradient_step
        if self.backbone_precision != "float32":
            setting["backbone_precision"] = self.backbone_precision
        if self.measures_cost:
            return {key: value for key, value in setting.items() if key not in _NO_COST} | {"measure": "cost"}
        return setting

    def needs(self) -> Needs:
        return Needs((self.features(pooled=False),))

    def _positions(self) -> dict[int, int]:
        return {level: (self.image_size // level) ** 2 for level in self.levels}

    def _cut(self, counts: Counts) -> Cut:
        in_order = self.zero_gradient_step and len(self.levels) > 1
        return cut(counts.train, self._positions(), self.batch_size, self.fiber, in_order=in_order)

    def too_small(self, counts: Counts) -> str | None:
        try:
            self._cut(counts)
        except ValueError as error:
            return str(error)
        return None

    def steps(self, counts: Counts) -> int:
        """Steps of the program, each of some fibers of every level; 0 for a measurement, which takes only some."""
        if self.measures_cost or self.too_small(counts):
            return 0
        made = self._cut(counts)
        return self.epochs * self.sub_epochs * made.batches * made.pieces

    def work(self, counts: Counts) -> Work:
        if self.measures_cost or self.too_small(counts):
            return Work(0.0, 0.0)
        made, strides = self._cut(counts), backbone_strides(self.backbone)
        tested = counts.test_good + counts.test_defect
        evaluations = -(-self.epochs // self.evaluate_every)
        operations = memory = weights = scores = 0.0
        for level, positions in self._positions().items():
            channels = strides[level]
            row = row_operations(channels, self.condition, self.blocks)
            rows = self.epochs * self.sub_epochs * made.batches * made.fibers[level] * self.fiber
            operations += row * (3.0 * rows + evaluations * tested * positions)
            seen = channels - channels // 2 + self.condition
            learned = learned_numbers(channels, self.condition, self.blocks)
            weights += 4.0 * (learned + self.blocks * channels**2)
            scores += tested * kept_bytes(positions)
            # features of all images; values, gradients and Adam's two moments; rotations; what a fiber keeps for its gradients
            memory += 4.0 * (
                (counts.train + tested) * positions * channels
                + 4 * learned
                + self.blocks * channels**2
                + 2 * self.fiber * self.blocks * (3 * seen + 3.2 * channels)
                + tested * positions
            )
        # in float64: a map of every level, their sum, and one on its way
        memory += 8.0 * (len(self.levels) + 2) * tested * self.image_size**2
        return Work(operations, memory, weights, scores)


def learned_numbers(channels: int, condition: int, blocks: int) -> int:
    """Learned numbers of a flow: two linear layers, scale and offset in every block."""
    half = channels // 2
    seen = channels - half + condition
    return blocks * (2 * seen * (seen + 1) + 2 * half * (2 * seen + 1) + 2 * channels)


def row_operations(channels: int, condition: int, blocks: int) -> float:
    """Floating-point operations of a row through a flow, those of its products; a multiply-add counts as two."""
    half = channels // 2
    seen = channels - half + condition
    return 2.0 * blocks * (2 * seen**2 + 4 * seen * half + channels**2)

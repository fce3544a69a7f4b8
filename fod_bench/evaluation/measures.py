"""What is measured, and how a table shows it."""

from __future__ import annotations

from dataclasses import dataclass

from fod_bench.evaluation.metric import METRICS, CostName, MetricName

Metric = MetricName | CostName

BETTER = "↓ lower is better, ↑ higher is better."

CONVENTION = (
    "FLOPs: multiply-adds of the layers with weights, for one image: with the backbone's stages that are used, without the "
    "products of attention. "
    "Training: from stored features, without the backbone, whose pass is made once. Inference: one image at a time, from image "
    "to map and score, backbone included."
)
"""What our costs are, see docs/metrics.md."""


@dataclass(frozen=True)
class Measure:
    """How the values of one metric are shown."""

    title: str
    """Within a sentence."""
    digits: int = 3
    header: str = ""
    """Over a column, where it is not the title: with the unit, and an arrow to the better side."""
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """Text over a column or lines of such values."""
        return self.header or self.title


MEASURES: dict[str, Measure] = {
    **{name: Measure(metric.title) for name, metric in METRICS.items()},
    "gflops": Measure("FLOPs", 1, "FLOPs, G ↓", lower_is_better=True),
    "learnable_params_m": Measure("parameters", 1, "learnable parameters, M ↓", lower_is_better=True),
    "train_s_per_epoch": Measure("training time", 1, "training, s per epoch ↓", lower_is_better=True),
    "inference_fps": Measure("inference speed", 1, "inference, frames per s ↑"),
}

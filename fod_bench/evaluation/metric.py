"""Names of the metrics and costs."""

from __future__ import annotations

from typing import Literal, get_args

MetricName = Literal["image_auroc", "pixel_auroc", "pixel_aupro", "image_f1_max", "pixel_f1_max"]


METRICS: tuple[MetricName, ...] = get_args(MetricName)


CostName = Literal["gflops", "learnable_params_m", "train_s_per_epoch", "inference_fps"]


COSTS: tuple[CostName, ...] = get_args(CostName)

"""Metrics by name."""

from __future__ import annotations

from onnx2snn.errors import UsageError
from onnx2snn.score.agreement import Agreement
from onnx2snn.score.class_metrics import Logit, MeanIoU, Top1, Top5
from onnx2snn.score.closeness import MeanSquaredError
from onnx2snn.score.detection import MeanAveragePrecision
from onnx2snn.score.metrics import Metric

METRICS: dict[str, type[Metric]] = {
    "top1": Top1,
    "top5": Top5,
    "logit": Logit,
    "miou": MeanIoU,
    "mse": MeanSquaredError,
    "agreement": Agreement,
    "map": MeanAveragePrecision,
}


def metric_class(name: str) -> type[Metric]:
    """Return the metric of a name; UsageError for an unknown one."""
    if name not in METRICS:
        known = ", ".join(METRICS)
        raise UsageError(f"metric is '{name}'; it has to be one of {known} or script.py:function")
    return METRICS[name]

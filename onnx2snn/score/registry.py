"""TODO."""

from __future__ import annotations

from onnx2snn.errors import UsageError
from onnx2snn.score.metrics import Agreement, MeanIoU, MeanSquaredError, Metric, Top1, Top5


def metric_class(name: str) -> type[Metric]:
    """The metric of this name; the detection library is imported only for `map`. UsageError for an unknown one."""
    if name == "map":
        from onnx2snn.score.detection import MeanAveragePrecision

        return MeanAveragePrecision
    if name not in METRICS:
        raise UsageError(
            f"metric is '{name}'; it has to be one of {', '.join([*METRICS, 'map'])} or script.py:function"
        )
    return METRICS[name]


METRICS: dict[str, type[Metric]] = {
    "top1": Top1,
    "top5": Top5,
    "miou": MeanIoU,
    "mse": MeanSquaredError,
    "agreement": Agreement,
}

"""torchvision's own definitions of the paper's networks, exported with random weights and
converted.

    pip install torch==2.13.0 onnxscript pillow && pip install --no-deps torchvision==0.28.0
    python benchmarks/torchvision_models.py [--only NAME ...] [--exporter dynamo|torchscript]
    [--write docs/foreign.md]

Weights and statistics are torchvision's initial ones. (With BatchNorm statistics of random data
random networks become chaotic: every layer then enlarges an error, whatever made it.) Of the
detectors backbone, pyramid and heads are exported: class scores and box offsets, before anchors are
decoded and boxes suppressed.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from foreign import relative_errors, write_table
from torch import Tensor, nn

import onnx2snn

_operators = torch.library.Library(
    "torchvision", "DEF"
)  # torchvision asks for them when it is imported
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int "
    "pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
):
    _operators.define(_schema)

from torchvision.models import detection, mobilenet_v2, resnet18, resnet34, segmentation  # noqa: E402

NONE = {"weights": None, "weights_backbone": None}


class Heads(nn.Module):
    """A detector up to its heads' outputs."""

    def __init__(self, detector: Any) -> None:
        """`detector`: RetinaNet or FCOS."""
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images -> class scores, box offsets (and, of FCOS, centre-ness)."""
        return tuple(self.head(list(self.backbone(images).values())).values())


class Scores(nn.Module):
    """A segmentation network without its auxiliary output."""

    def __init__(self, network: Any) -> None:
        """`network`: FCN or DeepLabV3."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images -> class scores at their resolution."""
        scores: Tensor = self.network(images)["out"]
        return scores


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet-18": (lambda: resnet18(weights=None), 64),
    "ResNet-34": (lambda: resnet34(weights=None), 64),
    "MobileNet-v2": (lambda: mobilenet_v2(weights=None), 64),
    "FCN-ResNet50": (lambda: Scores(segmentation.fcn_resnet50(**NONE)), 64),
    "DeepLabV3-ResNet50": (lambda: Scores(segmentation.deeplabv3_resnet50(**NONE)), 64),
    "RetinaNet heads": (lambda: Heads(detection.retinanet_resnet50_fpn(**NONE)), 128),
    "FCOS heads": (lambda: Heads(detection.fcos_resnet50_fpn(**NONE)), 128),
}
"""A network, and the height and width of its images."""


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A seeded network in inference mode and an image for it."""
    torch.manual_seed(0)
    make, size = MODELS[name]
    return make().eval(), torch.randn(1, 3, size, size)


def exported(model: nn.Module, image: Tensor, exporter: str) -> onnx.ModelProto:
    """The network as ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
            assert program is not None
            model_proto: onnx.ModelProto = program.model_proto
            return model_proto
        buffer = io.BytesIO()
        torch.onnx.export(model, (image,), buffer, dynamo=False, opset_version=17)
    return onnx.load_from_string(buffer.getvalue())


def main() -> None:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--exporter", choices=("dynamo", "torchscript"), default="dynamo")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    lines = [
        "| network | nodes | analog | error at T = 64 | error at T = 256 | seconds |",
        "| --- " * 6 + "|",
    ]
    for name in given.only:
        model, image = build(name)
        proto = exported(model, image, given.exporter)
        started = time.perf_counter()
        try:
            (few, many), analog = relative_errors(proto, {proto.graph.input[0].name: image.numpy()})
            outcome = f"{analog} | {few:.2%} | {many:.2%}"
        except onnx2snn.UnsupportedGraphError as error:
            outcome = f" | {error} | "
        seconds = time.perf_counter() - started
        lines.append(f"| {name} | {len(proto.graph.node)} | {outcome} | {seconds:.0f} |")
        print(lines[-1], flush=True)
    if given.write is not None:
        write_table(lines, given.write, "torchvision")


if __name__ == "__main__":
    main()

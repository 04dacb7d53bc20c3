"""ResNet-18 at 224 x 224 with random weights, as an exporter writes it.

BatchNormalization nodes, dynamic batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

STAGES = (64, 128, 256, 512)
"""Channels of the four stages of two residual blocks each (He et al., 2015, table 1)."""


def resnet18(seed: int = 0, size: int = 224, classes: int = 1000) -> onnx.ModelProto:
    """The model: `input` float32 [N, 3, size, size] to `logits` float32 [N, classes].

    Weights by He's rule.
    """
    made = _Writer(np.random.default_rng(seed))
    x = made.relu(made.convolution("input", "stem", 3, STAGES[0], kernel=7, stride=2), "stem.relu")
    x = made.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    before = STAGES[0]
    for stage, channels in enumerate(STAGES):
        for block in range(2):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            y = made.relu(
                made.convolution(x, f"{name}.conv1", before, channels, stride=stride),
                f"{name}.relu1",
            )
            y = made.convolution(y, f"{name}.conv2", channels, channels)
            if stride == 2:
                x = made.convolution(
                    x, f"{name}.downsample", before, channels, kernel=1, stride=stride
                )
            x = made.relu(made.node("Add", [y, x], f"{name}.add"), f"{name}.relu2")
            before = channels
    x = made.node("Flatten", [made.node("GlobalAveragePool", [x], "avgpool")], "flatten")
    weight = made.weight("fc.weight", made.rng.standard_normal((classes, STAGES[-1])) * 0.05)
    made.nodes.append(
        helper.make_node(
            "Gemm",
            [x, weight, made.weight("fc.bias", np.zeros(classes))],
            ["logits"],
            "fc",
            transB=1,
        )
    )
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (("input", (3, size, size)), ("logits", (classes,)))
    )
    graph = helper.make_graph(made.nodes, "resnet18", [image], [logits], made.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Writer:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, value: Array) -> str:
        self.weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def relu(self, x: str, name: str) -> str:
        return self.node("Relu", [x], name)

    def convolution(
        self, x: str, name: str, before: int, channels: int, *, kernel: int = 3, stride: int = 1
    ) -> str:
        """Conv without bias, then BatchNormalization with biases that vary."""
        scale = np.sqrt(2 / (before * kernel**2))
        weight = self.weight(
            f"{name}.weight", self.rng.standard_normal((channels, before, kernel, kernel)) * scale
        )
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        x = self.node("Conv", [x, weight], name, **shape)
        statistics = {
            "scale": np.ones(channels),
            "bias": self.rng.standard_normal(channels) * 0.1,
            "mean": np.zeros(channels),
            "var": np.ones(channels),
        }
        normal = [self.weight(f"{name}.bn.{key}", value) for key, value in statistics.items()]
        return self.node("BatchNormalization", [x, *normal], f"{name}.bn")

"""Every non-recurrent model of the onnx wheel's `pytorch-converted/` inside a spiking network.

How far off is it?

    python benchmarks/pytorch_converted.py [--only NAME ...] [--write docs/foreign.md]

Each model stands between two seeded layers: layer, Relu, model, Relu, layer. The layers are
convolutions, or products with a matrix where the tensor has rank 2. A model that takes indices
cannot stand behind a Relu: it comes first, then Relu, layer, Relu, layer. Thresholds are the maxima
over the batch that is scored; no delay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from foreign import Array, relative_errors, wheel_data, write_table
from onnx import TensorProto, helper, numpy_helper

import onnx2snn

RECURRENT = {"RNN", "LSTM", "GRU"}
SAMPLES = 8
BOUND = 0.05


class Wrapper:
    """Adds the nodes around a model, in operators that opset 6 knows; shapes stay as they are."""

    def __init__(self, seed: int) -> None:
        """Start with no node."""
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def relu(self, x: str, out: str) -> str:
        """Relu."""
        self.nodes.append(helper.make_node("Relu", [x], [out]))
        return out

    def layer(self, x: str, shape: list[int], out: str) -> str:
        """A convolution of kernel 3 (1 along shorter axes), or for rank 2 a matrix product."""
        channels = shape[1]
        if len(shape) == 2:
            weights = self._weight(
                self.rng.standard_normal([channels, channels]) * np.sqrt(2.0 / channels)
            )
            self.nodes.append(helper.make_node("MatMul", [x, weights], [out]))
            return out
        kernel = [3 if size >= 3 else 1 for size in shape[2:]]
        deviation = np.sqrt(2.0 / (channels * np.prod(kernel)))  # keeps the variance
        weights = self._weight(self.rng.standard_normal([channels, channels, *kernel]) * deviation)
        bias = self._weight(self.rng.standard_normal(channels) * 0.1)
        pads = [k // 2 for k in kernel] * 2
        self.nodes.append(
            helper.make_node("Conv", [x, weights, bias], [out], kernel_shape=kernel, pads=pads)
        )
        return out

    def _weight(self, values: Array) -> str:
        name = f"wrapper/{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


def load(name: str, seed: int = 0) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model between two layers, and a batch for it."""
    model = onnx.load(wheel_data("pytorch-converted") / name / "model.onnx")
    graph = model.graph
    given = {t.name: t for t in graph.initializer}
    (source,) = [v for v in graph.input if v.name not in given]
    (result,) = graph.output
    size, made = ([d.dim_value for d in v.type.tensor_type.shape.dim] for v in (source, result))
    shape = [-(-SAMPLES // size[0]) * size[0], *size[1:]]
    wrapper = Wrapper(seed)
    entry = source
    if source.type.tensor_type.elem_type == TensorProto.FLOAT:
        entry = helper.make_tensor_value_info("wrapper/input", TensorProto.FLOAT, size)
        wrapper.relu(wrapper.layer(entry.name, size, "wrapper/first"), source.name)
        x: Array = np.random.default_rng([seed, 1]).standard_normal(shape).astype(np.float32)
    else:
        rows = next(iter(given.values())).dims[0]
        x = np.random.default_rng([seed, 1]).integers(0, rows, shape)
    before, wrapper.nodes = wrapper.nodes, []
    y = wrapper.relu(result.name, "wrapper/relu")
    if entry is source:
        y = wrapper.relu(wrapper.layer(y, made, "wrapper/first"), "wrapper/relu2")
    wrapper.layer(y, made, "wrapper/output")
    weights = [*graph.initializer, *wrapper.weights]
    output = helper.make_tensor_value_info("wrapper/output", TensorProto.FLOAT, made)
    listed = [
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in weights
    ]  # IR 3 wants it so
    graph = helper.make_graph(
        [*before, *graph.node, *wrapper.nodes], name, [entry, *listed], [output], weights
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    ), {entry.name: x}


def names() -> list[str]:
    """The models without recurrent operators."""
    folders = sorted(p.parent for p in wheel_data("pytorch-converted").glob("*/model.onnx"))
    return [
        p.name
        for p in folders
        if not RECURRENT & {n.op_type for n in onnx.load(p / "model.onnx").graph.node}
    ]


def main() -> None:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=names())
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    lines = [
        "| model | operators | analog | error at T = 64 | error at T = 256 |",
        "| --- " * 5 + "|",
    ]
    good = 0
    chosen = given.only or names()
    for name in chosen:
        model, feed = load(name)
        inner = onnx.load(wheel_data("pytorch-converted") / name / "model.onnx").graph.node
        ops = ", ".join(dict.fromkeys(n.op_type for n in inner if n.op_type != "Constant"))
        try:
            (few, many), analog = relative_errors(model, feed)
            good += many <= BOUND
            outcome = f"{analog} | {few:.2%} | {many:.2%}"
        except onnx2snn.UnsupportedGraphError as error:
            outcome = f" | refused: {error} | "
        lines.append(f"| {name.removeprefix('test_')} | {ops} | {outcome} |")
        print(lines[-1], flush=True)
    lines += ["", f"{good} of {len(chosen)} convert and are off by at most {BOUND:.0%} at T = 256."]
    print(lines[-1])
    if given.write is not None:
        write_table(lines, given.write, "pytorch-converted")


if __name__ == "__main__":
    main()

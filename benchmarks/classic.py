"""The nine classic topologies of the onnx wheel, with random weights.

Error of their spiking models at T = 64 and 256.

    python benchmarks/classic.py [--only NAME ...] [--images N] [--write docs/foreign.md]

The wheel's files hold constants (`ConstantOfShape`) for weights. Here they are drawn with a seed
and scaled so that every layer's output has a variance near 1. Thresholds are maxima over the images
scored; no delay.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from foreign import Array, quiet_session, relative_errors, wheel_data, write_table
from onnx import helper, numpy_helper

NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


def load(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of the topologies with seeded weights."""
    model = onnx.load(wheel_data("light") / f"light_{name}.onnx")
    shapes = {
        t.name: [int(d) for d in numpy_helper.to_array(t)]
        for t in model.graph.initializer
        if t.data_type == 7
    }
    made = {
        n.output[0]: shapes[n.input[0]] for n in model.graph.node if n.op_type == "ConstantOfShape"
    }
    alias = {
        n.output[0]: n.input[0]
        for n in model.graph.node
        if n.op_type in ("Unsqueeze", "Reshape") and n.input[0] in made
    }
    roles = _roles(model, made, alias)
    scales = _scales(model, made, alias)
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(_draw(rng, roles[name], shape, scales.get(name, 1.0)), name)
        for name, shape in made.items()
    ]
    kept = [n for n in model.graph.node if n.op_type != "ConstantOfShape"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(weights)  # listed among the inputs, as everything is in IR 3
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in weights
    )
    _scale_scores(model, images(model, 1))
    return model


def images(model: onnx.ModelProto, count: int) -> dict[str, Array]:
    """Seeded normal images."""
    given = {t.name for t in model.graph.initializer}
    (image,) = [v for v in model.graph.input if v.name not in given]
    size = [d.dim_value for d in image.type.tensor_type.shape.dim]
    return {
        image.name: np.random.default_rng(1).standard_normal([count, *size[1:]]).astype(np.float32)
    }


def _scale_scores(model: onnx.ModelProto, feed: dict[str, Array]) -> None:
    """Divide the last layer's weights by the deviation of its scores.

    What pools average away is not foreseen.
    """
    last = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")][-1]
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.append(onnx.ValueInfoProto(name=last.output[0]))
    (scores,) = quiet_session(asked).run(None, feed)
    source = {t: n.input[0] for n in model.graph.node if n.op_type == "Reshape" for t in n.output}
    name = source.get(last.input[1], last.input[1])
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) / scores.std(), name)
            )


def _roles(
    model: onnx.ModelProto, made: dict[str, list[int]], alias: dict[str, str]
) -> dict[str, str]:
    """What each weight is: a factor or term per channel, a variance, or the weights of a layer."""
    layers = {
        "Conv": ["weights", "term"],
        "Gemm": ["weights", "term"],
        "Mul": ["factor"],
        "Add": ["term"],
    }
    layers["BatchNormalization"] = ["factor", "term", "term", "factor"]
    roles = {}
    for node in model.graph.node:
        for position, role in enumerate(layers.get(node.op_type, []), 1):
            if (
                len(node.input) > position
                and (name := alias.get(node.input[position], node.input[position])) in made
            ):
                roles[name] = role
    return roles


def _scales(
    model: onnx.ModelProto, made: dict[str, list[int]], alias: dict[str, str]
) -> dict[str, float]:
    """The deviation of each layer's weights that gives its output a variance near 1 (mean squares,
    node by node).
    """
    square: dict[str, float] = {}
    scales = {}
    for node in model.graph.node:
        known = [square[t] for t in node.input if t in square]
        found = sum(known) if node.op_type == "Sum" else float(np.mean(known)) if known else 1.0
        if node.op_type in ("Conv", "Gemm"):
            name = alias.get(node.input[1], node.input[1])
            fan_in = made[name][-1] if node.op_type == "Gemm" else int(np.prod(made[name][1:]))
            scales[name] = float(1 / np.sqrt(fan_in * found))
            found = 1.0
        elif node.op_type == "Relu":
            found *= 0.5
        square.update(dict.fromkeys(node.output, found))
    return scales


def _draw(rng: np.random.Generator, role: str, shape: list[int], scale: float) -> Array:
    if role == "factor":
        values: Any = rng.uniform(0.8, 1.2, shape)
    else:
        values = rng.standard_normal(shape) * (scale if role == "weights" else 0.1)
    return np.asarray(values, np.float32)


def main() -> None:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=NAMES)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    lines = [
        "| topology | nodes | analog | error at T = 64 | error at T = 256 | ratio | seconds |",
        "| --- " * 7 + "|",
    ]
    for name in given.only or NAMES:
        started = time.perf_counter()
        model = load(name)
        (few, many), analog = relative_errors(model, images(model, given.images))
        seconds = time.perf_counter() - started
        ratio = many / few
        lines.append(
            f"| {name} | {len(model.graph.node)} | {analog} | {few:.2%} | {many:.2%} | "
            f"{ratio:.2f} | {seconds:.0f} |"
        )
        print(lines[-1], flush=True)
    if given.write is not None:
        write_table(lines, given.write, "classic")


if __name__ == "__main__":
    main()

"""What many nodes cost: processor seconds of loading and normalising, and of whole conversions.

    python benchmarks/sizes.py [--nodes 4000,32000,100000] [--relus 250,1000] [--kinds NAME ...]
                               [--write docs/performance.md]

Processor time, of one core, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from foreign import write_table
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import onnx2snn
from onnx2snn.prepare.normalise import normalise
from onnx2snn.protos.load import load_model

WIDTH = 8
SHIFT = np.roll(np.eye(WIDTH, dtype=np.float32), 1, axis=0)
"""Weights that move each value on by one channel: however deep, nothing grows or dies out."""

MIXED = ("Sigmoid", "Mul", "Tanh", "Sub", "Div", "Neg", "Abs", "Add", "Identity", "Max")


class Chain:
    """Nodes one behind the other, on vectors."""

    def __init__(self) -> None:
        """Begin at the input."""
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self.last = "x"

    def add(self, op: str, values: NDArray[Any] | None = None, **attributes: Any) -> None:
        """Append a node, with a constant of its own where values are given."""
        inputs = [self.last]
        if values is not None:
            name = f"n{len(self.nodes)}_constant"
            self.held.append(numpy_helper.from_array(values, name))
            inputs.append(name)
        self.join(op, inputs, **attributes)

    def join(self, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Append a node that takes several tensors."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name, **attributes))
        self.last = f"{name}_out"

    def model(self, sizes: Sequence[int] = (WIDTH,)) -> onnx.ModelProto:
        """Return the network, whose output is the last tensor."""
        shape: list[str | int | None] = ["batch", *sizes]
        given, made = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name in ("x", self.last)
        )
        graph = helper.make_graph(self.nodes, "chain", [given], [made], self.held)
        imports = [helper.make_opsetid("", 18)]
        return helper.make_model(graph, opset_imports=imports, ir_version=9)


def dense(count: int) -> onnx.ModelProto:
    """Gemm and ReLU in turn."""
    chain = Chain()
    for _ in range(count // 2):
        chain.add("Gemm", SHIFT)
        chain.add("Relu")
    chain.add("Gemm", SHIFT)
    return chain.model()


def convolutions(count: int) -> onnx.ModelProto:
    """Conv and ReLU in turn."""
    chain = Chain()
    for _ in range(count // 2):
        chain.add("Conv", SHIFT[:, :, None, None])
        chain.add("Relu")
    return chain.model((WIDTH, 2, 2))


def additions(count: int) -> onnx.ModelProto:
    """Additions of constants behind a layer."""
    chain = Chain()
    chain.add("Gemm", SHIFT)
    chain.add("Relu")
    for number in range(count):
        chain.add("Add", np.full(WIDTH, 1e-3 * number, np.float32))
    chain.add("Gemm", SHIFT)
    return chain.model()


def mixed(count: int) -> onnx.ModelProto:
    """Ten elementwise operators in turn behind a layer."""
    chain = Chain()
    chain.add("Gemm", SHIFT)
    chain.add("Relu")
    for number in range(count):
        op = MIXED[number % len(MIXED)]
        values = np.full(WIDTH, 0.9, np.float32)
        chain.add(op, values if op in ("Mul", "Sub", "Div", "Add", "Max") else None)
    chain.add("Gemm", SHIFT)
    return chain.model()


def blocks(count: int) -> onnx.ModelProto:
    """Blocks of two layers side by side, whose sum goes on."""
    chain = Chain()
    for _ in range(count // 5):
        before, ends = chain.last, []
        for _ in range(2):
            chain.last = before
            chain.add("Gemm", SHIFT)
            chain.add("Relu")
            ends.append(chain.last)
        chain.join("Add", ends)
    return chain.model()


KINDS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "Gemm, ReLU": dense,
    "Conv, ReLU": convolutions,
    "Add": additions,
    "ten elementwise": mixed,
    "blocks of two branches": blocks,
}

CODINGS: dict[str, dict[str, Any]] = {
    "rate, maximum": {"preset": "paper", "method": "max"},
    "differential": {"preset": "differential"},
}


def normalising(model: onnx.ModelProto) -> tuple[float, float]:
    """Return the processor seconds of loading and of normalising a model."""
    data = model.SerializeToString()
    began = time.process_time()
    loaded = load_model(data)
    between = time.process_time()
    normalise(loaded)
    return between - began, time.process_time() - between


def converting(model: onnx.ModelProto, options: dict[str, Any]) -> float:
    """Return the processor seconds of converting a network of vectors on 20 samples."""
    inputs = np.random.default_rng(0).standard_normal((20, WIDTH)).astype(np.float32)
    data = model.SerializeToString()
    began = time.process_time()
    onnx2snn.convert(data, inputs, timesteps=2, threads=1, **options)
    return time.process_time() - began


def table(heading: str, counts: Sequence[int], rows: dict[str, Sequence[float]]) -> list[str]:
    """Return a table with a column for each number of nodes."""
    head = [f"| {heading} | {' | '.join(f'{count:,}' for count in counts)} |"]
    head.append(f"| --- |{' --- |' * len(counts)}")
    return head + [
        f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |"
        for name, values in rows.items()
    ]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def main() -> None:
    """Print both tables, or write them into a page."""
    warnings.simplefilter("ignore", UserWarning)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=_numbers, default=[4000, 32000, 100000])
    parser.add_argument("--relus", type=_numbers, default=[250, 1000])
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    lines: dict[str, list[str]] = {}
    rows: dict[str, Sequence[float]] = {}
    if given.nodes:
        for kind in given.kinds:
            found = [normalising(KINDS[kind](count)) for count in given.nodes]
            loading, rest = zip(*found, strict=True)
            rows |= {f"{kind}: loading": loading, f"{kind}: normalising": rest}
        lines["nodes"] = table("nodes", given.nodes, rows)
    if given.relus:
        rows = {
            name: [converting(dense(2 * count), options) for count in given.relus]
            for name, options in CODINGS.items()
        }
        lines["relus"] = table("ReLUs", given.relus, rows)
    for name, text in lines.items():
        print("\n".join([*text, ""]), flush=True)
        if given.write is not None:
            write_table(text, given.write, name)


if __name__ == "__main__":
    main()

"""Absurd sizes and numbers: small files that ask for much, and options out of every range."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.networks import inputs_for, mlp
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import convert
from robustness.ann_cases import FAST, written
from robustness.matrix import ANY, OUT, Arguments, Case
from robustness.snn_cases import spiking

SIZES = "absurd size"
NUMBERS = "number"

HUGE = 2**36
"""Elements that no machine of today holds as float32."""

Nodes = Callable[[onnx.ModelProto], list[onnx.NodeProto]]
"""Nodes that make a tensor `big` out of constants, which they add to the model."""


def _constant(model: onnx.ModelProto, name: str, values: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def of_shape(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    shape = _constant(model, "shape", np.array([HUGE]))
    return [helper.make_node("ConstantOfShape", [shape], ["big"])]


def expanded(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    one = _constant(model, "one", np.ones(1, np.float32))
    return [helper.make_node("Expand", [one, _constant(model, "s", np.array([HUGE]))], ["big"])]


def tiled(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    one = _constant(model, "one", np.ones(1, np.float32))
    return [helper.make_node("Tile", [one, _constant(model, "s", np.array([HUGE]))], ["big"])]


def padded(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    one = _constant(model, "one", np.ones(1, np.float32))
    return [helper.make_node("Pad", [one, _constant(model, "s", np.array([0, HUGE]))], ["big"])]


def random(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [helper.make_node("RandomNormal", [], ["big"], shape=[HUGE])]


def product(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    column = _constant(model, "column", np.ones((2**18, 1), np.float32))
    row = _constant(model, "row", np.ones((1, 2**18), np.float32))
    return [helper.make_node("MatMul", [column, row], ["big"])]


def joined(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Each doubles what the one before has made."""
    _constant(model, "j0", np.ones(1, np.float32))
    nodes = []
    for step in range(36):
        made = "big" if step == 35 else f"j{step + 1}"
        nodes.append(helper.make_node("Concat", [f"j{step}"] * 2, [made], axis=0))
    return nodes


BIG: dict[str, Nodes] = {
    "ConstantOfShape": of_shape,
    "Expand": expanded,
    "Tile": tiled,
    "Pad": padded,
    "RandomNormal": random,
    "MatMul": product,
    "Concat doubling 36 times": joined,
}


def with_big(nodes: Nodes) -> onnx.ModelProto:
    model = mlp()
    made = nodes(model)
    total = helper.make_node("ReduceSum", ["big"], ["total"], keepdims=0)
    model.graph.node[-1].output[0] = "before"
    last = helper.make_node("Add", ["before", "total"], ["logits"])
    model.graph.node.extend([*made, total, last])
    return model


def wide_input(*sizes: int) -> onnx.ModelProto:
    """A convolution of 64 channels on an input of these sizes."""
    weight = numpy_helper.from_array(np.zeros((64, sizes[1], 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"]),
    ]
    last = numpy_helper.from_array(np.zeros((1, 64, 1, 1), np.float32), "v")
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(sizes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight, last],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def functions(calls: int, depth: int, *, closed: bool = False) -> onnx.ModelProto:
    """Functions of which each calls the next some times; `closed`: the last calls the first."""
    model = mlp()
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for level in range(depth):
        body = []
        for call in range(calls):
            called = "F0" if closed else "Relu"
            domain = "f" if closed else ""
            if level + 1 < depth:
                called, domain = f"F{level + 1}", "f"
            source = "x" if call == 0 else f"t{call - 1}"
            target = "y" if call == calls - 1 else f"t{call}"
            body.append(helper.make_node(called, [source], [target], domain=domain))
        made = helper.make_function("f", f"F{level}", ["x"], ["y"], body, opsets)
        model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("f", 1))
    model.graph.node[1].op_type = "F0"
    model.graph.node[1].domain = "f"
    return model


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{f"a constant of 256 GiB by {name}": partial(with_big, nodes) for name, nodes in BIG.items()},
    "an input of 80,000 x 80,000": partial(wide_input, 1, 3, 80_000, 80_000),
    "a fixed batch of 10^9": partial(wide_input, 10**9, 3, 64, 64),
    "10^9 channels": partial(wide_input, 1, 1, 1, 2**40),
    "functions that double 24 times": partial(functions, 2, 24),
    "functions that multiply by 1,000 four times": partial(functions, 1000, 4),
    "functions nested 100 deep": partial(functions, 1, 100),
    "a function that calls itself": partial(functions, 1, 1, closed=True),
    "functions that call each other": partial(functions, 2, 3, closed=True),
}


def _model(folder: Path, make: Callable[[], onnx.ModelProto], command: str) -> Arguments:
    written(folder, make())
    path = str(folder / "net.onnx")
    if command == "inspect":
        return ["inspect", path]
    return [path, "-o", str(folder / OUT), *FAST]


OPTIONS: dict[str, list[str]] = {
    "levels 10^30": ["--levels", "1" + "0" * 30],
    "levels 2^63": ["--levels", str(2**63)],
    "levels 0": ["--levels", "0"],
    "levels -1": ["--levels", "-1"],
    "time-steps 0": ["--timesteps", "0"],
    "time-steps -5": ["--timesteps", "-5"],
    "time-steps 10^30": ["--timesteps", "1" + "0" * 30],
    "time-steps 2^31": ["--timesteps", str(2**31)],
    "a delay of 10^30": ["--delay", "1" + "0" * 30],
    "a delay of -1": ["--delay", "-1"],
    "iterations 0": ["--iterations", "0", "--method", "local"],
    "a batch of 0": ["--batch-size", "0"],
    "a seed of -1": ["--seed", "-1"],
    "a percentile of 0": ["--percentile", "0"],
    "a percentile of NaN": ["--percentile", "nan"],
    "a percentile of 101": ["--percentile", "101"],
    "a drop of NaN": ["--max-drop", "nan"],
    "a drop of -1": ["--max-drop", "-1"],
    "no threads": ["--threads", "0"],
    "1,000,000 threads": ["--threads", "1000000"],
    "rounds -1": ["--rounds", "-1"],
    "rounds 10^30": ["--rounds", "1" + "0" * 30, "--correct", "bias"],
    "a text for a number": ["--timesteps", "many"],
    "an unknown method": ["--method", "magic"],
    "a memory limit of 0": ["--memory-limit", "0"],
    "a memory limit of -1G": ["--memory-limit", "-1G"],
    "a memory limit of NaN": ["--memory-limit", "nan"],
    "a memory limit of infinity": ["--memory-limit", "inf"],
    "a memory limit of text": ["--memory-limit", "much"],
    "a time limit of 0": ["--time-limit", "0"],
    "a time limit of NaN": ["--time-limit", "nan"],
    "a time limit of 10^30": ["--time-limit", "1" + "0" * 30],
    "digits of another script": ["--timesteps", "\u0664"],
    "10^9 time-steps in a second": ["--timesteps", str(10**9), "--time-limit", "1"],
    "10^7 iterations in a second": [
        "--iterations", str(10**7), "--method", "local", "--time-limit", "1",
    ],
}  # fmt: skip

FINE = ("digits of another script",)
"""What is read as a number after all."""


def _options(folder: Path, options: list[str]) -> Arguments:
    written(folder, mlp())
    np.save(folder / "x.npy", inputs_for("mlp", 20))
    data = ["--calibration", str(folder / "x.npy")]
    return [str(folder / "net.onnx"), "-o", str(folder / OUT), *FAST, *data, *options]


RUNS: dict[str, list[str]] = {
    "0 time-steps": ["--timesteps", "0"],
    "10^30 time-steps": ["--timesteps", "1" + "0" * 30],
    "10^9 time-steps in a second": ["--timesteps", str(10**9), "--time-limit", "1"],
    "a delay beyond": ["--delay", "99"],
}


def _run(folder: Path, options: list[str]) -> Arguments:
    written(folder, spiking(), "snn.onnx")
    np.savez(folder / "x.npz", input=inputs_for("mlp", 4))
    inputs = ["--inputs", str(folder / "x.npz"), "-o", str(folder / OUT), "--quiet"]
    return ["run", str(folder / "snn.onnx"), *inputs, *options]


def _export(folder: Path, options: list[str]) -> Arguments:
    written(folder, spiking(), "snn.onnx")
    return [
        "export",
        str(folder / "snn.onnx"),
        "--to",
        "rollout",
        "-o",
        str(folder / OUT),
        *options,
    ]


EVALS: dict[str, list[str]] = {
    "a drop of NaN": ["--max-drop", "nan"],
    "a price of NaN": ["--sop-joules", "nan"],
    "a price of infinity": ["--flop-joules", "inf"],
    "a price below 0": ["--sop-joules", "-1"],
    "a limit of 0": ["--limit", "0"],
    "a limit of -1": ["--limit", "-1"],
    "time-steps 0": ["--timesteps", "0,4"],
    "time-steps of text": ["--timesteps", "4,x"],
    "an unknown output": ["--output", "gadget"],
    "an unknown metric": ["--metric", "gadget"],
}


def _eval(folder: Path, options: list[str]) -> Arguments:
    written(folder, spiking(), "snn.onnx")
    written(folder, mlp())
    np.savez(folder / "x.npz", input=inputs_for("mlp", 4), labels=np.arange(4) % 3)
    files = [str(folder / name) for name in ("net.onnx", "snn.onnx")]
    return ["eval", *files, "--data", str(folder / "x.npz"), "--quiet", *options]


def scaled(factor: float) -> Callable[[], onnx.ModelProto]:
    """A network with weights near the end of float32."""

    def make() -> onnx.ModelProto:
        model = mlp()
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor).astype(np.float64) * factor
            limited = np.clip(values, -3e38, 3e38).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(limited, tensor.name))
        return model

    return make


def _inputs(folder: Path, value: float) -> Arguments:
    written(folder, mlp())
    np.save(folder / "x.npy", np.full((20, 10), value, np.float32))
    data = ["--calibration", str(folder / "x.npy")]
    return [str(folder / "net.onnx"), "-o", str(folder / OUT), *FAST, *data]


Thresholds = Callable[[dict[str, Any]], None]


def theta(value: float) -> Thresholds:
    def change(arrays: dict[str, Any]) -> None:
        for name in arrays:
            if name.startswith("threshold:"):
                arrays[name] = np.full_like(arrays[name], value)

    return change


def stored(key: str, value: Any) -> Thresholds:
    def change(arrays: dict[str, Any]) -> None:
        arrays[key] = np.array(value)

    return change


SETTINGS: dict[str, str] = {
    "a list": "[]",
    "a number": "1",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "empty": "",
    "without a method": "{}",
    "of other types": json.dumps({"method": 1, "granularity": [], "seed": "x"}),
}

THRESHOLDS: dict[str, Thresholds] = {
    **{f"thresholds of {value:g}": theta(value) for value in (3e38, 1e300, 1e-300, 0.0, -1.0)},
    **{f"thresholds of {value}": theta(float(value)) for value in ("nan", "inf")},
    **{f"settings {name}": stored("settings", text) for name, text in SETTINGS.items()},
    "settings that are an array": stored("settings", [1.0, 2.0]),
    "a calibrated that is text": stored("calibrated", "maybe"),
    "a calibrated that is an array": stored("calibrated", [True, False]),
    "a hash that is a number": stored("source_sha256", 3),
}


def _kept(folder: Path, change: Thresholds) -> Arguments:
    written(folder, mlp())
    made = convert(folder / "net.onnx", inputs_for("mlp", 20), method="max", timesteps=4)
    made.save_thresholds(folder / "kept.npz")
    with np.load(folder / "kept.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(folder / "changed.npz", **arrays)
    np.save(folder / "x.npy", inputs_for("mlp", 20))
    files = ["--thresholds", str(folder / "changed.npz"), "--calibration", str(folder / "x.npy")]
    return [str(folder / "net.onnx"), "-o", str(folder / OUT), "--quiet", *files]


def cases() -> Iterator[Case]:
    for name, make_model in MODELS.items():
        for command in ("inspect", "convert"):
            make = partial(_model, make=make_model, command=command)
            yield Case(SIZES, f"{command}, {name}", make)
    for name, options in OPTIONS.items():
        codes = ANY if name in FINE else (2,)
        yield Case(NUMBERS, f"convert, {name}", partial(_options, options=options), codes)
    for name, options in RUNS.items():
        yield Case(NUMBERS, f"run, {name}", partial(_run, options=options), (2,))
    for name in ("0 time-steps", "10^30 time-steps", "a delay beyond"):
        make = partial(_export, options=RUNS[name])
        yield Case(NUMBERS, f"export, {name}", make, (2,))
    for name, options in EVALS.items():
        yield Case(NUMBERS, f"eval, {name}", partial(_eval, options=options), (2,))
    for factor in (1e20, 1e30, 1e38, 1e-30, 1e-44, 0.0):
        make = partial(_model, make=scaled(factor), command="convert")
        yield Case(NUMBERS, f"convert, weights times {factor:g}", make, ANY)
    for value in (1e38, 3e38, 1e-40, 0.0):
        yield Case(NUMBERS, f"convert, inputs of {value:g}", partial(_inputs, value=value), ANY)
    for name, change in THRESHOLDS.items():
        yield Case(NUMBERS, f"convert, {name}", partial(_kept, change=change), ANY)
    exact = ["--max-drop", "0", "--timesteps", "64"]
    yield Case(NUMBERS, "convert, a drop of 0", partial(_options, options=exact), (0, 1))

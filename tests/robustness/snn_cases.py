"""Damaged spiking files: every key of the description damaged in every way, by every command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.networks import inputs_for, mlp
from onnx import helper

from onnx2snn import convert, rollout
from onnx2snn.snn.format import METADATA_KEY, ROLLOUT_KEY, metadata_of
from robustness.ann_cases import FAST, written
from robustness.matrix import ANY, OUT, REFUSED, Arguments, Case

KIND = "damaged spiking file"

Change = Callable[[dict[str, Any]], object]
"""Damages a description in place, or returns the text to stand in its place."""

MISSING = object()

Path_ = tuple[str | int, ...]
"""The way to a value inside the description: keys and indices."""

WRONG: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "a list": [],
    "a text": "gadget",
    "-1": -1,
    "10^30": 10**30,
    "0.5": 0.5,
    "NaN": float("nan"),
    "true": True,
    "deep": json.loads("[" * 50 + "]" * 50),
}


OPTIONS: dict[str, dict[str, Any]] = {
    "rate": {"method": "max", "timesteps": 4, "coding": "rate"},
    "differential": {"timesteps": 4, "coding": "differential"},
}
"""Options of a conversion, by coding."""


@cache
def _spiking(coding: str = "rate") -> bytes:
    return convert(mlp(), inputs_for("mlp", 20), **OPTIONS[coding]).to_bytes()


@cache
def _rollout() -> bytes:
    data: bytes = rollout(_spiking()).SerializeToString()
    return data


def spiking(coding: str = "rate") -> onnx.ModelProto:
    model: onnx.ModelProto = onnx.ModelProto.FromString(_spiking(coding))
    return model


def described(change: Change, key: str = METADATA_KEY, coding: str = "rate") -> onnx.ModelProto:
    """A spiking model with a damaged description."""
    model = spiking(coding) if key == METADATA_KEY else onnx.ModelProto.FromString(_rollout())
    description = json.loads(metadata_of(model, key) or "")
    text = change(description)
    if not isinstance(text, str):
        text = json.dumps(description)
    helper.set_model_props(model, {key: text})
    return model


def _set(way: Path_, value: Any, description: dict[str, Any]) -> None:
    inner: Any = description
    for step in way[:-1]:
        inner = inner[step]
    if value is MISSING:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value


def ways(value: Any, before: Path_ = ()) -> Iterator[Path_]:
    """Every place in a description; of a list the first entry stands for all."""
    if before and before[0] == "settings" and len(before) > 1:
        return  # for people: a reader can do without them
    if before:
        yield before
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ways(inner, (*before, key))
    elif isinstance(value, list) and value:
        yield from ways(value[0], (*before, 0))


def description(coding: str = "rate") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metadata_of(spiking(coding)) or "")
    return found


TEXTS: dict[str, str] = {
    "no JSON": "{",
    "a number": "1",
    "a list": "[]",
    "a very deep list": "[" * 100_000,
    "a very long number": '{"format": ' + "1" * 10_000 + "}",
    "empty": "",
    "format of another type": '{"format": [1]}',
    "format 99": '{"format": 99}',
    "two of a key": '{"format": 1, "format": 2}',
}

Graph = Callable[[onnx.ModelProto], None]


def no_states(model: onnx.ModelProto) -> None:
    del model.graph.input[1:]


def state_of_rank(rank: int) -> Graph:
    def change(model: onnx.ModelProto) -> None:
        value = model.graph.input[-1]
        value.CopyFrom(helper.make_tensor_value_info(value.name, 1, [None] * rank))

    return change


def state_of_type(kind: int) -> Graph:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[-1].type.tensor_type.elem_type = kind

    return change


def without(what: str) -> Graph:
    def change(model: onnx.ModelProto) -> None:
        for message in (model, model.graph):
            if what in [field.name for field in message.DESCRIPTOR.fields]:
                message.ClearField(what)

    return change


def other_neuron(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.domain:
            node.op_type = "GradedIF"


def renamed_nodes(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = f"x{node.name}"


def shuffled_inputs(model: onnx.ModelProto) -> None:
    values = list(model.graph.input)[::-1]
    del model.graph.input[:]
    model.graph.input.extend(values)


def wrong_threshold(value: float) -> Graph:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for held in node.attribute:
                if held.name == "threshold":
                    held.f = value

    return change


def recursive_function(model: onnx.ModelProto) -> None:
    function = model.functions[0]
    node = function.node.add()
    node.CopyFrom(next(node for node in model.graph.node if node.domain))
    function.opset_import.append(helper.make_opsetid(node.domain, 1))


GRAPHS: dict[str, Graph] = {
    "no states in the graph": no_states,
    "a state of rank 60": state_of_rank(60),
    "a state of rank 0": state_of_rank(0),
    "a state of type int64": state_of_type(7),
    "a state of type 0": state_of_type(0),
    "no functions": without("functions"),
    "no nodes": without("node"),
    "no inputs": without("input"),
    "no outputs": without("output"),
    "no weights": without("initializer"),
    "neurons of another kind": other_neuron,
    "nodes of other names": renamed_nodes,
    "inputs in another order": shuffled_inputs,
    "a function that calls itself": recursive_function,
}


def arguments(command: str, folder: Path) -> Arguments:
    """A command on snn.onnx in a folder."""
    model, out = str(folder / "snn.onnx"), str(folder / OUT)
    data = str(folder / "x.npz")
    np.savez(data, input=inputs_for("mlp", 4), labels=np.arange(4) % 3)
    written(folder, mlp(), "ann.onnx")
    return {
        "inspect": ["inspect", model],
        "inspect as JSON": ["inspect", model, "--json"],
        "run": ["run", model, "--inputs", data, "-o", out, "--quiet"],
        "export": ["export", model, "--to", "rollout", "-o", out],
        "eval": ["eval", str(folder / "ann.onnx"), model, "--data", data, "--quiet"],
        "convert": [model, "-o", out, *FAST],
    }[command]


def _damaged(
    folder: Path, change: Change, command: str, key: str = METADATA_KEY, coding: str = "rate"
) -> Arguments:
    written(folder, described(change, key, coding), "snn.onnx")
    return arguments(command, folder)


def _text(text: str, _: dict[str, Any]) -> str:
    return text


def _changed(folder: Path, change: Graph, command: str, coding: str = "rate") -> Arguments:
    model = spiking(coding)
    change(model)
    written(folder, model, "snn.onnx")
    return arguments(command, folder)


COMMANDS = ("inspect", "run", "export", "eval")


CONTRADICTIONS: dict[str, tuple[str, Path_, Any]] = {
    # what the nodes of the graph say is 5, and for the second neuron the file's 3
    "digits of a neuron are others": ("differential", ("neurons", 0, "digits"), 4),
    "digits of a neuron are those of the file": ("differential", ("neurons", 0, "digits"), 3),
    "digits of a neuron are none": ("differential", ("neurons", 0, "digits"), 0),
    "digits of a neuron are 2^31": ("differential", ("neurons", 0, "digits"), 2**31),
    "digits of the second neuron are others": ("differential", ("neurons", 1, "digits"), 5),
    "digits of the file are others": ("differential", ("digits",), 2),
    "later digits are more": ("differential", ("later_digits",), 4),
    "a neuron is of rate coding": ("differential", ("neurons", 0, "kind"), "IF"),
    "a neuron has another shape": ("rate", ("neurons", 0, "shape", 1), 15),
    "a state has another shape": ("rate", ("states", 1, "shape", 1), 15),
    "a neuron stands twice": ("rate", ("neurons", 1, "name"), "h1_out/neuron"),
}
"""Values of the right type that say something else than the graph."""


def digits_of_node(value: int | None) -> Graph:
    """Let the first neuron's node say otherwise than the description, or nothing."""

    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.domain)
        kept = [held for held in node.attribute if held.name != "digits"]
        assert len(kept) < len(node.attribute)
        del node.attribute[:]
        node.attribute.extend(kept)
        if value is not None:
            node.attribute.append(helper.make_attribute("digits", value))

    return change


def _contradicting() -> Iterator[Case]:
    for number, (name, (coding, way, value)) in enumerate(CONTRADICTIONS.items()):
        command = COMMANDS[number % len(COMMANDS)]
        change = partial(_set, way, value)
        make = partial(_damaged, change=change, command=command, coding=coding)
        yield Case(KIND, f"{command}, {name}", make, REFUSED, "damaged")
    for value in (0, -1, 4, 99, 2**62):
        make = partial(_changed, change=digits_of_node(value), command="run", coding="differential")
        yield Case(KIND, f"run, the node says {value} digits", make, REFUSED, "damaged")
    make = partial(_changed, change=digits_of_node(None), command="run", coding="differential")
    yield Case(KIND, "run, the node says no digits", make, ANY)


def cases() -> Iterator[Case]:
    yield from _contradicting()
    yield from _damaged_keys("rate", list(ways(description())))
    # keys that both codings have are read by the same schema
    shared = set(ways(description()))
    own = [way for way in ways(description("differential")) if way not in shared]
    yield from _damaged_keys("differential", own)
    for name, text in TEXTS.items():
        for command in COMMANDS:
            make = partial(_damaged, change=partial(_text, text), command=command)
            yield Case(KIND, f"{command}, the description is {name}", make)
        make = partial(_damaged, change=partial(_text, text), command="inspect", key=ROLLOUT_KEY)
        yield Case(KIND, f"inspect, a rollout's description is {name}", make, ANY)
    for name, change in GRAPHS.items():
        for command in COMMANDS:
            make = partial(_changed, change=change, command=command)
            yield Case(KIND, f"{command}, {name}", make, ANY)
    for value in (0.0, -1.0, float("nan"), float("inf"), 1e-45, 3e38):
        make = partial(_changed, change=wrong_threshold(value), command="run")
        yield Case(KIND, f"run, thresholds of {value:g}", make, ANY)


def _damaged_keys(coding: str, places: list[Path_]) -> Iterator[Case]:
    """Each key in each way by one command, in turn: the door is one for all."""
    number = 0
    for way in places:
        place = ".".join(map(str, way))
        for wrong, value in WRONG.items():
            if _is_allowed(way, value):
                continue
            command = COMMANDS[number % len(COMMANDS)]
            number += 1
            change = partial(_set, way, value)
            make = partial(_damaged, change=change, command=command, coding=coding)
            yield Case(KIND, f"{command}, {place} is {wrong}", make, REFUSED, "damaged|format")


def _is_allowed(way: Path_, value: object) -> bool:
    """Whether a value may stand there: names and numbers for people, and what is free."""
    last, text = way[-1], isinstance(value, str)
    free = ("tool", "source_sha256", "source", "form", "node", "op", "reason")
    if text and (last in free or "shape" in way[:-1]):
        return True
    nothing = value is None and (last == "channels" or "shape" in way)
    empty = value == [] and last in ("analog", "encoder", "weighted")
    optional = value is MISSING and (last == "mean" or isinstance(last, int))
    flag = value is True and last == "calibrated"
    return nothing or empty or optional or flag

"""Damaged ANN files: one mutation of a small network each, inspected and converted."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from helpers.networks import mlp, resnet
from onnx import TensorProto, helper, numpy_helper

from robustness.matrix import ANY, OUT, REFUSED, Arguments, Case

KIND = "damaged ANN"

FAST = ["--method", "max", "--timesteps", "4", "--quiet"]

Mutation = Callable[[onnx.ModelProto], onnx.ModelProto | bytes | None]
"""Changes a model in place, or returns another one."""


def convert(model: str = "net.onnx", *more: str) -> Arguments:
    return [model, "-o", OUT, *FAST, *more]


def written(folder: Path, model: onnx.ModelProto | bytes, name: str = "net.onnx") -> None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / name).write_bytes(data)


def _case(folder: Path, mutate: Mutation, command: str) -> Arguments:
    model = mlp()
    written(folder, mutate(model) or model)
    path = str(folder / "net.onnx")
    if command == "inspect":
        return ["inspect", path]
    return [path, "-o", str(folder / OUT), *FAST]


def weight(model: onnx.ModelProto) -> TensorProto:
    first: TensorProto = model.graph.initializer[0]
    return first


# Tensors.


def raw_data(change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        weight(model).raw_data = change(weight(model).raw_data)

    return mutate


def half_raw_data(model: onnx.ModelProto) -> None:
    half = numpy_helper.from_array(np.zeros((16, 10), np.float16), weight(model).name)
    half.raw_data = half.raw_data[:-3]
    weight(model).CopyFrom(half)


def twice(model: onnx.ModelProto) -> None:
    weight(model).float_data.extend([1.0] * 160)


def wrong_field(model: onnx.ModelProto) -> None:
    weight(model).ClearField("raw_data")
    weight(model).int64_data.extend([1] * 160)


def few_floats(model: onnx.ModelProto) -> None:
    weight(model).ClearField("raw_data")
    weight(model).float_data.extend([1.0] * 7)


def tensor_type(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        weight(model).data_type = number

    return mutate


def dims(*sizes: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        weight(model).dims[:] = sizes

    return mutate


def empty_weight(model: onnx.ModelProto) -> None:
    weight(model).CopyFrom(
        numpy_helper.from_array(np.zeros((0, 10), np.float32), weight(model).name)
    )


def values(number: float, index: int = 0) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[index]
        array = numpy_helper.to_array(tensor).copy()
        array.flat[3] = number
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return mutate


def external(**entries: str) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        tensor = weight(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return mutate


# Names and values.


def not_utf8(where: bytes) -> Mutation:
    def mutate(model: onnx.ModelProto) -> bytes:
        data: bytes = model.SerializeToString()
        return data.replace(where, b"\xcd" * len(where))

    return mutate


def input_type(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = number

    return mutate


def output_type(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.elem_type = number

    return mutate


def inner_type(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("h1_out", 1, [None, 16])
        value.type.tensor_type.elem_type = number
        model.graph.value_info.append(value)

    return mutate


def no_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].ClearField("type")


def sequence_input(model: onnx.ModelProto) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [None]))
    model.graph.input[0].CopyFrom(helper.make_value_info("input", kind))


def ir_version(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.ir_version = number

    return mutate


def opset(number: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = number

    return mutate


def cleared(what: str) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        for message in (model, model.graph):
            if what in [field.name for field in message.DESCRIPTOR.fields]:
                message.ClearField(what)

    return mutate


def same_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = "same"


def same_output(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "logits"


def missing_input(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "nowhere"


def own_operator(domain: str, op: str) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.graph.node[1].domain = domain
        model.graph.node[1].op_type = op
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return mutate


def empty_node(model: onnx.ModelProto) -> None:
    model.graph.node.add()


def attribute(name: str, value: object) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        node = model.graph.node[0]
        kept = [held for held in node.attribute if held.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return mutate


def untyped_attribute(model: onnx.ModelProto) -> None:
    held = model.graph.node[0].attribute[0]
    held.type = 0


def input_dims(*sizes: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("input", 1, list(sizes)))

    return mutate


def scalar_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("input", 1, []))


def output_is_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("logits", 1, [None, 3]))


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def truncated(share: float) -> Mutation:
    def mutate(model: onnx.ModelProto) -> bytes:
        data: bytes = model.SerializeToString()
        return data[: int(len(data) * share)]

    return mutate


def flipped(place: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> bytes:
        data = bytearray(model.SerializeToString())
        data[place % len(data)] ^= 0xFF
        return bytes(data)

    return mutate


def nan_bytes(model: onnx.ModelProto) -> None:
    weight(model).raw_data = struct.pack("<f", float("nan")) * 160


def sparse(sizes: list[int], index: int) -> Mutation:
    def mutate(model: onnx.ModelProto) -> None:
        held = TensorProto(name="s", data_type=1, dims=[1], float_data=[1.0])
        where = TensorProto(name="i", data_type=7, dims=[1], int64_data=[index])
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(held, where, sizes))

    return mutate


def bad_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    model = resnet()
    index = next(node for node in model.graph.node if node.op_type == "BatchNormalization").input[4]
    for tensor in model.graph.initializer:
        if tensor.name == index:
            size = tensor.dims[0]
            tensor.CopyFrom(numpy_helper.from_array(np.full(size, -1, np.float32), tensor.name))
    return model


def not_finite_activation(model: onnx.ModelProto) -> None:
    # the logarithm of a negative number
    model.graph.node[1].op_type = "Log"


def reference(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="alpha", type=1, ref_attr_name="x")


def long_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "n" * 10**6


def many_axes(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(
        TensorProto(name="s", data_type=1, dims=[1] * 65, raw_data=b"1234")
    )
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Add", ["before", "s"], ["logits"]))


def loop(trips: str, condition: str, *, inside: str = "") -> Mutation:
    """A Loop behind the network; `inside`: the constant that its body gives as condition."""

    def mutate(model: onnx.ModelProto) -> None:
        names = {"i": 7, "before": 9, "x": 1, "after": 9, "y": 1}
        value = {
            name: helper.make_tensor_value_info(name, kind, None if kind == 1 else [])
            for name, kind in names.items()
        }
        copies = [
            helper.make_node("Identity", [inside or "before"], ["after"]),
            helper.make_node("Relu", ["x"], ["y"]),
        ]
        given = [value[name] for name in ("i", "before", "x")]
        body = helper.make_graph(copies, "body", given, [value["after"], value["y"]])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(10**12), "many"))
        model.graph.node[-1].output[0] = "ready"
        ends = [trips, condition, "ready"]
        model.graph.node.append(helper.make_node("Loop", ends, ["logits"], body=body))

    return mutate


UNSOUND: dict[str, Mutation] = {
    "raw data shorter": raw_data(lambda data: data[:-4]),
    "raw data longer": raw_data(lambda data: data + b"\0" * 8),
    "raw data of odd length": raw_data(lambda data: data[:-3]),
    "no raw data": raw_data(lambda _: b""),
    "float16 raw data of odd length": half_raw_data,
    "raw and typed data": twice,
    "values in another type's field": wrong_field,
    "too few values": few_floats,
    "tensor of type 0": tensor_type(0),
    "tensor of type 99": tensor_type(99),
    "tensor of type -1": tensor_type(-1),
    "tensor of type string": tensor_type(8),
    "tensor of type int64": tensor_type(7),
    "negative size": dims(-16, 10),
    "size 2^62": dims(2**62, 10),
    "sizes whose product overflows": dims(2**33, 2**33),
    "rank 1000": dims(*[1] * 1000),
    "weights of size zero": empty_weight,
    "weights all NaN": nan_bytes,
    "a weight is NaN": values(float("nan")),
    "a weight is infinite": values(float("inf")),
    "a bias is NaN": values(float("nan"), 1),
    "a bias is -infinite": values(float("-inf"), 1),
    "variance below zero": bad_norm,
    "activations not finite": not_finite_activation,
    "external file is missing": external(location="none.data"),
    "external location empty": external(location=""),
    "external without location": external(offset="0"),
    "external location with NUL": external(location="a\0b"),
    "external location of 5,000 characters": external(location="a" * 5000),
    "external location of 300 characters": external(location="a" * 300),
    "external location of many folders": external(location="a/" * 2000 + "b"),
    "external offset beyond the file": external(location="net.onnx", offset="999999"),
    "external length beyond the file": external(location="net.onnx", length="999999"),
    "external length negative": external(location="net.onnx", length="-1"),
    "external offset no number": external(location="net.onnx", offset="0x10"),
    "external offset 10^30": external(location="net.onnx", offset="1" + "0" * 30),
    "external location is a folder": external(location="."),
    "external location is /dev/zero": external(location="/dev/zero"),
    "node name not UTF-8": not_utf8(b"h1"),
    "tensor name not UTF-8": not_utf8(b"logits"),
    "graph name not UTF-8": not_utf8(b"net"),
    "operator not UTF-8": not_utf8(b"Relu"),
    "symbol not UTF-8": not_utf8(b"batch"),
    "input of type 0": input_type(0),
    "input of type 99": input_type(99),
    "input of type -5": input_type(-5),
    "input of type string": input_type(8),
    "input of type complex": input_type(14),
    "output of type 0": output_type(0),
    "output of type 99": output_type(99),
    "output of type int64": output_type(7),
    "inner tensor of type 99": inner_type(99),
    "input without a type": no_type,
    "input is a sequence": sequence_input,
    "IR version 0": ir_version(0),
    "IR version -5": ir_version(-5),
    "IR version 9999": ir_version(9999),
    "opset 0": opset(0),
    "opset -1": opset(-1),
    "opset 2^40": opset(2**40),
    "opset 999": opset(999),
    "no opsets": cleared("opset_import"),
    "no inputs": cleared("input"),
    "no outputs": cleared("output"),
    "no initializers": cleared("initializer"),
    "no nodes": cleared("node"),
    "no graph": cleared("graph"),
    "two tensors of a name": same_output,
    "a cycle": cycle,
    "an input nobody makes": missing_input,
    "a custom operator": own_operator("evil", "Gadget"),
    "a custom operator called Relu": own_operator("evil", "Relu"),
    "a custom operator called Gemm": own_operator("evil", "Gemm"),
    "an unknown standard operator": own_operator("", "Gadget"),
    "a node without an operator": empty_node,
    "an attribute of another type": attribute("transB", "yes"),
    "an attribute nobody knows": attribute("gadget", 1),
    "an attribute out of range": attribute("transB", 2**62),
    "an attribute NaN": attribute("alpha", float("nan")),
    "an attribute infinite": attribute("alpha", float("inf")),
    "an attribute without a type": untyped_attribute,
    "an attribute of a call outside of functions": reference,
    "an operator of 1,000,000 characters": long_operator,
    "a Loop without end": loop("", "true"),
    "a Loop without trips or condition": loop("", ""),
    "a Loop of 10^12 trips": loop("many", "true"),
    "a Loop that always goes on": loop("many", "true", inside="true"),
    "an initializer of 65 axes": many_axes,
    "input of 100,000 axes": input_dims(*[1] * 100_000),
    "input of 0 elements": input_dims(1, 0),
    "input of another size": input_dims(1, 11),
    "input of rank 64": input_dims(*[1] * 64),
    "input of size 2^62": input_dims(1, 2**62),
    "input of size -7": input_dims(1, -7),
    "batch of 10^9": input_dims(10**9, 10),
    "scalar input": scalar_input,
    "an output is an input, too": output_is_input,
    "an input twice": two_inputs,
    "sparse index outside": sparse([4], 7),
    "sparse index negative": sparse([4], -7),
    "sparse shape of 10^12": sparse([10**6, 10**6], 0),
    "sparse shape of 2^120": sparse([2**60, 2**60], 0),
    "empty file": lambda _: b"\0",
    "text": lambda _: b"this is no model\n" * 100,
    "an archive": lambda _: b"PK\x03\x04" + b"\0" * 200,
    **{f"truncated at {share:.0%}": truncated(share) for share in (0.01, 0.3, 0.6, 0.97)},
    **{f"byte {place} flipped": flipped(place) for place in (0, 1, 3, 9, 17, 40, 99, 300, -5, -30)},
}

HARMLESS = {
    # what onnxruntime takes in its stride, or what is mended
    "an attribute out of range",
    "an input nobody reads",
    "sparse shape of 2^120",
}


def cases() -> Iterator[Case]:
    for name, mutate in UNSOUND.items():
        for command in ("inspect", "convert"):
            # an inspection tells why a model is not convertible, with exit code 0
            codes = ANY if command == "inspect" or name in HARMLESS else REFUSED
            if name.startswith("byte "):
                codes = ANY
            make = partial(_case, mutate=mutate, command=command)
            yield Case(KIND, f"{command}, {name}", make, codes)
    make = partial(_case, mutate=same_names, command="convert")
    yield Case(KIND, "convert, all nodes of one name", make, (0,))

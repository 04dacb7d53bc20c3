"""Operators in the forms that older opsets have for them.

A form takes a node and gives nodes that compute the same; it raises `UnsayableError` where none do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.inlining import hold_tensor
from onnx2snn.protos.nodes import attribute


class UnsayableError(Exception):
    """No older form computes the same; the text says why."""


@dataclass
class Facts:
    """What forms ask: the opset, constants and ranks by tensor; and the constants they add."""

    version: int
    values: Mapping[str, TensorProto]
    ranks: Mapping[str, int]
    added: dict[str, TensorProto] = field(default_factory=dict)

    def value(self, tensor: str) -> Array:
        """Return a constant's values."""
        if tensor not in self.values:
            raise UnsayableError(f"'{tensor}' had to be constant")
        return numpy_helper.to_array(self.values[tensor])

    def constant(self, name: str, values: Array) -> str:
        """Add a constant and return its name."""
        self.added[name] = numpy_helper.from_array(values, name)
        return name


Form = Callable[[NodeProto, Facts], list[NodeProto]]


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if len(node.input) > index else ""


def _with_attributes(node: NodeProto, inputs: int, **attributes: object) -> list[NodeProto]:
    """Give a node attributes in place of the inputs behind the first ones; None: it has none."""
    del node.input[inputs:]
    for name, value in attributes.items():
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))
    return [node]


def _numbers(node: NodeProto, index: int, facts: Facts) -> list[int] | None:
    """Return the whole numbers of an input, or None where it is left out."""
    name = _input(node, index)
    return [int(number) for number in facts.value(name).ravel()] if name else None


def _number(node: NodeProto, index: int, facts: Facts) -> float | None:
    """Return the number of an input, or None where it is left out."""
    name = _input(node, index)
    return float(facts.value(name).ravel()[0]) if name else None


def _clip(node: NodeProto, facts: Facts) -> list[NodeProto]:
    bounds = {"min": _number(node, 1, facts), "max": _number(node, 2, facts)}
    return _with_attributes(node, 1, **bounds)


def _axes(node: NodeProto, facts: Facts) -> list[NodeProto]:
    """Axes of Squeeze, Unsqueeze and reductions."""
    axes = _numbers(node, 1, facts)
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        raise UnsayableError("without axes it reduced all")
    return _with_attributes(node, 1, axes=axes)


def _split(node: NodeProto, facts: Facts) -> list[NodeProto]:
    return _with_attributes(node, 1, split=_numbers(node, 1, facts))


def _split_evenly(node: NodeProto, facts: Facts) -> list[NodeProto]:
    """Leave out the number of outputs; parts were equal, while the last may be smaller now."""
    if attribute(node, "num_outputs") is not None:
        raise UnsayableError("it needs the sizes of its outputs as an input")
    return [node]


def _pad(node: NodeProto, facts: Facts) -> list[NodeProto]:
    pads, value = _numbers(node, 1, facts), _number(node, 2, facts)
    return _with_attributes(node, 1, pads=pads, value=value)


def _slice(node: NodeProto, facts: Facts) -> list[NodeProto]:
    if set(_numbers(node, 4, facts) or [1]) != {1}:
        raise UnsayableError("it had no steps")
    starts, ends, axes = (_numbers(node, index, facts) for index in (1, 2, 3))
    return _with_attributes(node, 1, starts=starts, ends=ends, axes=axes)


def _top_k(node: NodeProto, facts: Facts) -> list[NodeProto]:
    (k,) = _numbers(node, 1, facts) or [0]
    return _with_attributes(node, 1, k=k)


def _last_axis(node: NodeProto, facts: Facts) -> list[NodeProto]:
    """Softmax and the like, which flattened from the axis on: the same along the last one."""
    rank = facts.ranks.get(node.input[0])
    axis = attribute(node, "axis", -1)
    if rank is None or axis not in (-1, rank - 1):
        raise UnsayableError("it is not along the last axis")
    _set_axis(node, rank - 1)
    return [node]


def _set_axis(node: NodeProto, axis: int) -> None:
    kept = [given for given in node.attribute if given.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axis", axis)])


def _axis_from_front(node: NodeProto, facts: Facts) -> list[NodeProto]:
    """Axes were counted from the front alone."""
    axis = attribute(node, "axis", 0)
    if axis < 0:
        rank = facts.ranks.get(node.input[0])
        if rank is None:
            raise UnsayableError("its axis counts from the end of an unknown rank")
        _set_axis(node, axis + rank)
    return [node]


def _or_equal(strict: str) -> Form:
    """Return the form of a comparison: less or equal; false for what is no number."""

    def form(node: NodeProto, _: Facts) -> list[NodeProto]:
        out = node.output[0]
        names = [f"{out}/{op.lower()}" for op in (strict, "Equal")]
        return [
            helper.make_node(strict, node.input, names[:1], names[0]),
            helper.make_node("Equal", node.input, names[1:], names[1]),
            helper.make_node("Or", names, [out], node.name),
        ]

    return form


def _constant(node: NodeProto, _: Facts) -> list[NodeProto]:
    hold_tensor(node)
    return [node]


def _resize(node: NodeProto, facts: Facts) -> list[NodeProto]:
    """Inputs that may be left out since are empty."""
    for index in (1, 2):
        if not _input(node, index):
            empty = facts.constant(f"{node.output[0]}/empty", np.zeros(0, np.float32))
            node.input[index] = empty
    return [node]


def _gemm(node: NodeProto, facts: Facts) -> list[NodeProto]:
    if not _input(node, 2):
        del node.input[2:]
        node.input.append(facts.constant(f"{node.output[0]}/zero", np.zeros(1, np.float32)))
    return [node]


REDUCED = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
"""Reductions that took axes as an input later than the sum."""

FORMS: dict[str, Sequence[tuple[int, Form]]] = {
    "Clip": [(11, _clip)],
    "Concat": [(11, _axis_from_front)],
    "Constant": [(12, _constant)],
    "Flatten": [(11, _axis_from_front)],
    "Gather": [(11, _axis_from_front)],
    "Gemm": [(11, _gemm)],
    "GreaterOrEqual": [(12, _or_equal("Greater"))],
    "LessOrEqual": [(12, _or_equal("Less"))],
    "Pad": [(11, _pad)],
    "ReduceSum": [(13, _axes)],
    "Resize": [(13, _resize)],
    "Slice": [(10, _slice)],
    "Split": [(18, _split_evenly), (13, _split)],
    "Squeeze": [(13, _axes)],
    "TopK": [(10, _top_k)],
    "Unsqueeze": [(13, _axes)],
    **{name: [(13, _last_axis)] for name in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"Reduce{name}": [(18, _axes)] for name in REDUCED},
}
"""Forms by operator, each with the opset that brought the newer form."""

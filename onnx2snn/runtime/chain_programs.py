"""Programs of chains: elementwise operators as steps over registers, as `Chain` computes them.

A step is an operation, where its result goes, and three operands. `tools/kernels` has the operator
and its numbers of operations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, TypedDict

from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.protos.nodes import attribute, standard

MOST_REGISTERS = 128
MOST_ENDS = 64
"""Inputs of a chain, and outputs, at most."""

ONCE: Final = 0
"""The kind of an input that is the same at all time-steps."""
EACH_STEP: Final = 1
"""The kind of an input whose first axis is time."""
STATE: Final = 2
"""The kind of an input that holds a state before the first time-step."""


@dataclass(frozen=True)
class Operation:
    """An elementwise operator.

    Attributes:
        code: The operation's number; None: the result is the operand itself.
        folds: Whether it takes any number of operands, two by two.
        logical: Whether it makes truth values, which a chain holds as 0 and 1.
        takes_logical: Whether it takes them.
    """

    code: int | None
    folds: bool = False
    logical: bool = False
    takes_logical: bool = False


ELEMENTWISE: dict[str, Operation] = {
    "Identity": Operation(None),
    "Cast": Operation(None, takes_logical=True),
    "Add": Operation(1),
    "Sum": Operation(1, folds=True),
    "Sub": Operation(2),
    "Mul": Operation(3),
    "Div": Operation(4),
    "Min": Operation(5, folds=True),
    "Max": Operation(6, folds=True),
    "Neg": Operation(7),
    "Abs": Operation(8),
    "Sign": Operation(9),
    "Floor": Operation(10),
    "Round": Operation(11),
    "Relu": Operation(12),
    "Clip": Operation(13),
    "HardSigmoid": Operation(14),
    "GreaterOrEqual": Operation(15, logical=True),
    "Greater": Operation(16, logical=True),
    "LessOrEqual": Operation(17, logical=True),
    "Less": Operation(18, logical=True),
    "And": Operation(19, logical=True, takes_logical=True),
    "Not": Operation(20, logical=True, takes_logical=True),
}
"""Operators of a chain, by their names; numbers as in chain.c."""

MOVE: Final = 0
"""The operation that copies."""
TELL: Final = 21
"""The operation that rounds what is within bounds to its first bits, and then to a whole number."""

Register = str | float
"""A tensor by its name, or a constant."""

Step = tuple[int, str, list[Register]]
"""An operation's number, what it makes, and its operands."""


class ChainAttributes(TypedDict):
    """The attributes of a Chain, as chain.c describes them."""

    program: list[int]
    registers: int
    input_kinds: list[int]
    results: list[int]
    states: list[int]
    constants: list[float]
    timed: int


class Program:
    """A program that grows operator by operator."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.sources: list[str] = []
        """The tensors that the inputs are fed with."""
        self.results: list[str] = []
        """The tensors that the outputs are."""
        self._kinds: dict[str, int] = {}
        """Of inputs, by their names inside."""
        self._constants: list[float] = []
        self._aliases: dict[str, Register] = {}
        self._steps: list[Step] = []
        self._made: set[str] = set()
        self._logical: set[Register] = set()
        self._given: list[tuple[Register, bool]] = []
        self._states: list[tuple[str, Register]] = []

    @property
    def steps(self) -> int:
        """How many operations it has."""
        return len(self._steps)

    def take(self, name: str, source: str, kind: int = ONCE) -> None:
        """Add an input: its name inside, the tensor it is fed with, and its kind."""
        self._kinds[name] = kind
        self.sources.append(source)

    def add(self, node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
        """Add an operator; return False where it is none of a chain.

        Args:
            node: The operator. What it takes and nobody has made or taken becomes an input.
            constants: Initializers outside, by name.
        """
        if node.op_type == "Constant":
            value = scalar_of(node)
            if value is None:
                return False
            self._aliases[node.output[0]] = value
            return True
        operation = ELEMENTWISE.get(node.op_type)
        if operation is None or not standard(node):
            return False
        operands = [self._operand(name, constants) for name in node.input if name]
        if not operation.takes_logical and self._logical.intersection(operands):
            return False
        if operation.code is None:
            return self._add_alias(node, operands[0])
        if node.op_type == "Clip":
            operands = self._bounds(node, operands)
        if node.op_type == "HardSigmoid":
            line: tuple[float, ...] = (attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5))
            operands += [self._constant(float(number)) for number in line]
        self._append(operation, node.output[0], operands)
        return True

    def _add_alias(self, node: NodeProto, operand: Register) -> bool:
        if node.op_type == "Cast" and attribute(node, "to") != TensorProto.FLOAT:
            return False
        if operand in self._logical:
            # as a number it is another register
            self._append(Operation(MOVE), node.output[0], [operand])
        else:
            self._aliases[node.output[0]] = operand
        return True

    def _append(self, operation: Operation, output: str, operands: list[Register]) -> None:
        assert operation.code is not None
        code = operation.code
        if operation.folds:
            if len(operands) == 1:
                self._aliases[output] = operands[0]
                return
            # a op b op c ... two by two; results between have names of their own
            last = len(operands) - 1

            def both(a: Register, numbered: tuple[int, Register]) -> Register:
                place, b = numbered
                name = output if place == last else f"{output}/{place}"
                self._steps.append((code, name, [a, b]))
                self._made.add(name)
                return name

            reduce(both, enumerate(operands[1:], 1), operands[0])
            return
        self._steps.append((code, output, operands))
        self._made.add(output)
        if operation.logical:
            self._logical.add(output)

    def _bounds(self, node: NodeProto, operands: list[Register]) -> list[Register]:
        """Return x, the lower and the upper bound of a Clip, either of which may be missing."""
        given = iter(operands)
        names = [*node.input, "", ""][:3]
        missing = (0.0, -math.inf, math.inf)
        found = []
        for name, default in zip(names, missing, strict=True):
            found.append(next(given) if name else self._constant(default))
        return found

    def _operand(self, name: str, constants: Mapping[str, TensorProto]) -> Register:
        if name in self._aliases:
            return self._aliases[name]
        if name in self._made or name in self._kinds:
            return name
        tensor = constants.get(name)
        if tensor is not None and not tensor.dims and tensor.data_type == TensorProto.FLOAT:
            return self._constant(float(numpy_helper.to_array(tensor)))
        self.take(name, name)
        return name

    def _constant(self, value: float) -> float:
        if value not in self._constants:
            self._constants.append(value)
        return value

    def give(self, inside: str, result: str, *, last: bool = False) -> bool:
        """Add an output, of each time-step or of the `last`; return False for truth values."""
        register = self._aliases.get(inside, inside)
        if register in self._logical:
            return False
        self.results.append(result)
        self._given.append((register, last))
        return True

    def hand_on(self, before: str, after: str) -> bool:
        """Let a state go from step to step: the input's name inside, and its next value.

        Return False where that is another state, which would have to be handed on later.
        """
        register = self._aliases.get(after, after)
        if register != before and self._kinds.get(str(register)) == STATE:
            return False
        self._states.append((before, register))
        return True

    def _asked(self) -> list[Register]:
        """Return the registers that outputs and states are."""
        return [one for one, _ in self._given] + [after for _, after in self._states]

    def attributes(self, *, timed: bool) -> ChainAttributes | None:
        """Return the attributes of the Chain; None where it would have too many registers."""
        for register in self._asked():
            if isinstance(register, float):
                self._constant(register)
        for _, _, operands in self._steps:
            for operand in operands:
                if isinstance(operand, float):
                    self._constant(operand)
        self._steps = _with_tells(self._steps, {str(one) for one in self._asked()})
        made = [name for _, name, _ in self._steps]
        named: list[Register] = [*self._kinds, *self._constants, *made]
        if len(named) > MOST_REGISTERS or max(len(self._kinds), len(self._given)) > MOST_ENDS:
            return None
        numbers = {register: number for number, register in enumerate(named)}
        program: list[int] = []
        for code, name, operands in self._steps:
            # an operand that an operation has not is its first one
            full = (operands + [operands[0]] * 2)[:3]
            program += [code, numbers[name], *(numbers[one] for one in full)]
        outputs: list[int] = []
        for register, last in self._given:
            outputs += [numbers[register], int(last)]
        states: list[int] = []
        for before, after in self._states:
            states += [numbers[before], numbers[after]]
        return {
            "program": program,
            "registers": len(named),
            "input_kinds": list(self._kinds.values()),
            "results": outputs,
            "states": states,
            "constants": list(self._constants),
            "timed": int(timed),
        }


def _with_tells(steps: list[Step], asked: set[str]) -> list[Step]:
    """Return steps where the five that round to the first bits, the bounds before, are one, Tell.

    x = clip(e, -L, L),  g = C x,  d = x - g,  p = g + d,  rounded: `snn.differential` tells why.
    """
    users = Counter(str(one) for _, _, operands in steps for one in dict.fromkeys(operands))
    users.update(asked)
    makers = {name: (code, operands) for code, name, operands in steps}
    kept: list[Step] = []
    gone: set[str] = set()
    for code, name, operands in steps:
        found = _told(makers, operands[0]) if code == ELEMENTWISE["Round"].code else None
        # by these alone
        if found is not None and all(users[one] == count for one, count in found.inner.items()):
            gone.update(found.inner)
            kept.append((TELL, name, [found.error, found.largest, found.splitter]))
        else:
            kept.append((code, name, operands))
    return [step for step in kept if step[1] not in gone]


@dataclass(frozen=True)
class _Tell:
    """What a neuron of differential coding rounds: e, L and C.

    `inner`: how often x, g, d and p are taken, by name, and -L where it is computed.
    """

    error: Register
    largest: Register
    splitter: Register
    inner: dict[str, int]


def _told(makers: Mapping[str, tuple[int, list[Register]]], p: Register) -> _Tell | None:
    """Return what p is made of, if it is a number rounded to its first bits."""

    def made(name: Register, op: str) -> list[Register] | None:
        code, operands = makers.get(str(name), (None, []))
        return operands if code == ELEMENTWISE[op].code else None

    total = made(p, "Add")
    if total is None:
        return None
    g, d = total
    product, difference = made(g, "Mul"), made(d, "Sub")
    if product is None or difference is None or difference != [product[0], g]:
        return None
    x, splitter = product
    bounds = made(x, "Clip")
    if bounds is None:
        return None
    inner = {str(x): 2, str(g): 2, str(d): 1, str(p): 1}
    error, lowest, largest = bounds
    if made(lowest, "Neg") == [largest]:
        inner[str(lowest)] = 1
    elif not isinstance(largest, float) or lowest != -largest:
        return None
    return _Tell(error, largest, splitter, inner)


def scalar_of(node: NodeProto) -> float | None:
    """Return the float of a Constant that is a scalar of float32, else None."""
    (given,) = node.attribute
    if given.name == "value_float":
        return float(given.f)
    if given.name != "value" or given.t.data_type != TensorProto.FLOAT or given.t.dims:
        return None
    return float(numpy_helper.to_array(given.t))


def chain_node(program: Program, name: str, domain: str, extra: list[str]) -> NodeProto | None:
    """Return a program as a node; None where it would have too many registers.

    Args:
        program: The program, with all inputs and outputs.
        name: The node's name.
        domain: Of the operator Chain.
        extra: A tensor with as many numbers as there are time-steps; nothing without time.
    """
    attributes = program.attributes(timed=bool(extra))
    if attributes is None:
        return None
    # an attribute of no numbers would have no type
    kept: dict[str, Any] = {key: value for key, value in attributes.items() if value != []}
    taken = [*program.sources, *extra]
    return helper.make_node("Chain", taken, program.results, name, domain=domain, **kept)

"""An emitted model in the forms that other runtimes read: without functions, with static shapes,
at an older opset.

Step graphs and rollouts are taken alike. Names, states, values and the description stay: whatever
reads the file as it was emitted reads it in these forms, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper

from onnx2snn.aliases import Dim, ModelSource
from onnx2snn.errors import UsageError
from onnx2snn.protos.inlining import inlined
from onnx2snn.protos.load import load_model
from onnx2snn.protos.older_opset import OLDEST, at_opset
from onnx2snn.protos.sessions import measured_shapes
from onnx2snn.protos.specs import TensorSpec, input_specs
from onnx2snn.snn.description import read_rollout_metadata
from onnx2snn.snn.format import ROLLOUT_KEY, metadata_of
from onnx2snn.snn.step_model import State, read_step_model

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Form:
    """What other runtimes ask of a file.

    Attributes:
        inline: No model-local functions.
        batch: The size of axis 0 of every input whose shape is not asked for.
        shapes: Shapes of inputs by name.
        opset: The version of ONNX's own operators; None keeps that of the file.
    """

    inline: bool = False
    batch: int | None = None
    shapes: Shapes = field(default_factory=dict)
    opset: int | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        sizes = [size for shape in self.shapes.values() for size in shape]
        if self.batch is not None:
            sizes.append(self.batch)
        wrong = [size for size in sizes if size < 1]
        if wrong:
            raise UsageError(f"a size of {wrong[0]} was asked for; sizes are 1 or more")
        if self.opset is not None and self.opset < OLDEST:
            raise UsageError(f"opset is {self.opset}; it has to be {OLDEST} or newer")

    @property
    def is_static(self) -> bool:
        """Whether sizes are asked for."""
        return self.batch is not None or bool(self.shapes)


def portable(
    model: ModelSource,
    *,
    inline: bool = True,
    batch: int | None = None,
    shapes: Shapes = MappingProxyType({}),
    opset: int | None = None,
) -> onnx.ModelProto:
    """Return a step graph or a rollout in the form that other runtimes read.

    What is computed, names and the description stay. Many runtimes know no model-local functions,
    and some only static shapes; rollouts for them have `unroll=True`.

    Args:
        model: A path, bytes or ModelProto: what `convert` or `rollout` made.
        inline: No model-local functions.
        batch: Static shapes, of inputs, outputs and states, for a batch of so many samples.
        shapes: Static shapes, and these for inputs by name.
        opset: The version of ONNX's own operators, 9 or newer, with the IR that goes with it; it
            writes functions out. None keeps that of the file.

    Raises:
        ModelFileError: The file is no spiking model.
        UsageError: An input is not there, or sizes do not fit the model.
        UnsupportedGraphError: An operator cannot be said in that opset.
    """
    form = Form(inline, batch, shapes, opset)
    loaded = load_model(model)
    name = os.fspath(loaded.name)
    if metadata_of(loaded.proto, ROLLOUT_KEY) is None:
        return in_form(loaded.proto, form, read_step_model(loaded.proto, name).states)
    read_rollout_metadata(loaded.proto, name)
    return in_form(loaded.proto, form)


def in_form(proto: onnx.ModelProto, form: Form, states: Sequence[State] = ()) -> onnx.ModelProto:
    """Return an emitted model in a form; the model itself where nothing is asked for.

    Functions need opset 15 and IR 8, and ONNX's converter drops them: at another opset they are
    written out.

    Args:
        proto: A step graph or a rollout.
        form: What is asked for.
        states: Those of a step graph.

    Raises:
        UsageError: An input is not there, or sizes do not fit the model.
        UnsupportedGraphError: An operator cannot be said in the opset.
    """
    made = proto
    if form.is_static:
        made = _with_sizes(made, form, states)
    if form.inline or form.opset is not None:
        made = inlined(made)
    if form.opset is not None:
        made = at_opset(made, form.opset)
    return made


def _with_sizes(proto: onnx.ModelProto, form: Form, states: Sequence[State]) -> onnx.ModelProto:
    """Return a model whose inputs, outputs and states declare every size.

    The sizes of outputs and states are those of one run on zeros.
    """
    of_states = {state.input for state in states}
    own = [spec for spec in input_specs(proto) if spec.name not in of_states]
    sizes = input_sizes(own, form)
    feed = {spec.name: np.zeros(sizes[spec.name], spec.dtype) for spec in own}
    for state in states:
        feed[state.input] = np.zeros([1] * state.rank, np.float32)
    outputs = [value.name for value in proto.graph.output]
    runs = measured_shapes(proto, outputs, [feed])
    if not runs:
        told = " ".join(f"{name}={_listed(shape)}" for name, shape in sizes.items())
        raise UsageError(f"the model does not run on inputs of shape {told}; give others")
    sizes |= runs[0]
    sizes |= {state.input: sizes[state.output] for state in states}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in _ends(copy):
        if value.name in sizes:
            _declare(value, sizes[value.name])
    return copy


def input_sizes(inputs: Sequence[TensorSpec], form: Form) -> dict[str, Sequence[int]]:
    """Return the shape of each input, every size of it known (UsageError)."""
    known = [spec.name for spec in inputs]
    for name in form.shapes:
        if name not in known:
            raise UsageError(f"there is no input '{name}'; the inputs are {', '.join(known)}")
    return {spec.name: _sizes(spec, form) for spec in inputs}


def _sizes(spec: TensorSpec, form: Form) -> Sequence[int]:
    """Return the shape asked for of an input (UsageError where it is none of its shapes)."""
    declared = spec.shape
    asked = form.shapes.get(spec.name)
    if asked is None and declared is not None:
        # axis 0 is the batch
        batch = [form.batch] if form.batch is not None else []
        behind = declared[len(batch) :]
        asked = [size for size in (*batch, *behind) if isinstance(size, int)]
        if len(asked) < len(declared):
            asked = None
    if asked is None:
        raise UsageError(
            f"not every size of input {spec} is known; "
            f"give its shape, like --shape {spec.name}=1,3,224,224"
        )
    if declared is not None and not _fits(asked, declared):
        raise UsageError(f"shape {_listed(asked)} does not fit input {spec}; give one that does")
    return asked


def _fits(sizes: Sequence[int], declared: Sequence[Dim]) -> bool:
    """Return whether sizes are those declared, as far as these are numbers."""
    if len(sizes) != len(declared):
        return False
    pairs = zip(sizes, declared, strict=True)
    return all(not isinstance(known, int) or known == size for size, known in pairs)


def _listed(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def _ends(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*proto.graph.input, *proto.graph.output]


def _declare(value: onnx.ValueInfoProto, sizes: Sequence[int]) -> None:
    """Declare a tensor's shape."""
    kind = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, sizes))

"""Types and shapes of a graph's tensors: inferred, and measured in runs of the model.

ONNX infers, and onnxruntime where ONNX does not know an operator. Neither knows the shape of a
tensor that depends on data, and both are wrong at times (of a pool with `ceil_mode` and padding,
for one). A run of the model tells, with these rules:

* a rank that the runs agree on holds;
* an inferred size that a run contradicts is forgotten;
* a size that is not inferred is taken from the runs where they agree, their data differ, and all
  sizes of the inputs but the batch are fixed: otherwise it may change with the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.aliases import Array, Dim
from onnx2snn.graph.editing import is_constant, to_proto
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.protos import large
from onnx2snn.protos.sessions import NUMPY_TYPES, measured_shapes, types_of
from onnx2snn.protos.specs import is_settled, symbols

Shape = tuple[int, ...]

READABLE = frozenset(NUMPY_TYPES.values())
"""Types of tensors whose shapes can be measured."""


@dataclass(frozen=True)
class Trial:
    """Feeds to measure shapes with.

    `telling`: sizes that all feeds agree on hold for all data, since the data of the feeds and
    their batch sizes differ, and the model fixes all other sizes of its inputs.
    """

    feeds: Sequence[Mapping[str, Array]]
    telling: bool


def infer_shapes(graph: Graph, trial: Trial | None = None, *, confirm: bool = False) -> None:
    """Write types and shapes onto the graph's tensors.

    Args:
        graph: The graph, which is changed. A shape that cannot be told stays None.
        trial: What shapes are measured with (None: they are only inferred).
        confirm: Whether shapes that are inferred are measured, too.
    """
    tensors = _computed(graph)
    proto = _infer(graph, tensors)
    if trial is None:
        return
    unknown = any(tensor.shape is None for tensor in tensors.values())
    if not unknown and not confirm:
        return
    names = [name for name, tensor in tensors.items() if tensor.dtype in READABLE]
    runs = measured_shapes(proto, names, trial.feeds)
    telling = trial.telling and len(runs) == len(trial.feeds)
    if _apply(tensors, names, runs, telling=telling):
        # what lies behind a rank that was unknown can be inferred now, its channels above all
        _infer(graph, tensors)
        _apply(tensors, names, runs, telling=telling)


def _computed(graph: Graph) -> dict[str, Tensor]:
    """Return the tensors that nodes make, by name."""

    def computed(tensor: Tensor) -> bool:
        return bool(tensor.name and tensor.inputs) and not is_constant(tensor)

    every = graph.tensors()
    return {name: tensor for name, tensor in every.items() if computed(tensor)}


def _infer(graph: Graph, tensors: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Infer types and shapes of tensors, and return the graph's model as it was before."""
    proto = to_proto(graph)
    inferred = large.infer_model_shapes(proto).graph
    for value in inferred.value_info:
        if value.name in tensors and value.type.HasField("tensor_type"):
            _set_type(tensors[value.name], value.type.tensor_type)
    _infer_outputs(inferred, tensors)
    # tensors that are neither inferred nor given: the outputs of nodes that ONNX does not know
    unknown = [name for name, tensor in tensors.items() if tensor.shape is None]
    if not unknown:
        return proto
    for name, (dtype, shape) in types_of(proto, unknown).items():
        tensors[name].dtype = dtype
        if shape is not None:
            tensors[name].shape = list(shape)
    return proto


def _infer_outputs(inferred: onnx.GraphProto, tensors: Mapping[str, Tensor]) -> None:
    """Write inferred types and shapes onto outputs without a shape.

    One with a size that has no name of the model's is left to onnxruntime.
    """
    known = symbols(inferred.input)
    for value in inferred.output:
        tensor = tensors.get(value.name)
        if tensor is not None and tensor.shape is None and is_settled(value, known):
            _set_type(tensor, value.type.tensor_type)


def _set_type(tensor: Tensor, kind: onnx.TypeProto.Tensor) -> None:
    """Write an inferred type onto a tensor; where the rank is unknown its shape stays."""
    tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if kind.HasField("shape"):
        tensor.shape = [_inferred_dim(dim) for dim in kind.shape.dim]


def _inferred_dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _apply(
    tensors: Mapping[str, Tensor],
    names: Iterable[str],
    runs: Sequence[Mapping[str, Shape]],
    *,
    telling: bool,
) -> bool:
    """Correct the shapes of tensors by what runs say; return whether a rank became known."""
    found = False
    for name in names:
        shapes = [run[name] for run in runs]
        if len({len(shape) for shape in shapes}) != 1:
            continue
        tensor = tensors[name]
        known = tensor.shape
        if known is None or len(known) != len(shapes[0]):
            found = True
            known = [None] * len(shapes[0])
        sizes = zip(*shapes, strict=True)
        tensor.shape = [
            _corrected(dim, set(measured), telling)
            for dim, measured in zip(known, sizes, strict=True)
        ]
    return found


def _corrected(dim: Dim, measured: set[int], telling: bool) -> Dim:
    """Return a dimension that was inferred (None: it was not) as the sizes measured allow."""
    if isinstance(dim, str) or measured == {dim}:
        return dim
    if telling and len(measured) == 1:
        return measured.pop()
    return None

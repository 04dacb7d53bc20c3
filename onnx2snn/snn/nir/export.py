"""The face of the folder: a spiking model in, a NIR graph out (docs/nir.md)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx2snn.aliases import Delay, ModelSource
from onnx2snn.errors import UnsupportedGraphError, UsageError, quoted
from onnx2snn.protos.load import load_model
from onnx2snn.protos.sessions import measured_shapes
from onnx2snn.protos.specs import fixed_batch, input_specs
from onnx2snn.protos.unbatched import with_batch
from onnx2snn.snn.format import Metadata
from onnx2snn.snn.nir.checks import check_sayable
from onnx2snn.snn.nir.drawing import draw
from onnx2snn.snn.nir.network import Network, network_of
from onnx2snn.snn.nir.sketch import Shape
from onnx2snn.snn.portable import Form, Shapes, input_sizes
from onnx2snn.snn.step_model import StepModel, read_step_model
from onnx2snn.snn.window import window_delay

if TYPE_CHECKING:
    import nir

SAMPLES = 2
"""The batch in which shapes are measured: of 1, an axis of another meaning could pass for it."""


def require_library() -> None:
    """Check that `nir` is installed, without loading it (UsageError)."""
    if find_spec("nir") is None:
        raise UsageError("a NIR graph needs the package nir: run `pip install 'onnx2snn[nir]'`")


def nir_graph(
    model: ModelSource,
    timesteps: int | None = None,
    delay: Delay = None,
    *,
    start_bias: bool = False,
    shapes: Shapes = MappingProxyType({}),
) -> nir.NIRGraph:
    """Return a spiking model as a graph of NIR, the Neuromorphic Intermediate Representation.

    Rate coding with spikes of 0 and 1. Thresholds and resistances are 1. What NIR has no argument
    for stands in the metadata: soft reset and initial potential of each neuron, and of the graph T
    and the delay; the answer is the mean of the outputs over steps delay + 1 to T. What stands
    behind the last neurons and is not linear is left to the host: a warning names it, and so does
    the metadata.

    Args:
        model: A path, bytes or ModelProto as `convert` made it.
        timesteps: The number of steps T; None: the model's own.
        delay: Steps left out of the mean: a number, "half", "auto", or None for the model's own.
        start_bias: Initial potentials as a bias of v(0) / T at each step, for readers that start
            at 0.
        shapes: Shapes of inputs by name, with the batch; needed where the model leaves sizes open.

    Raises:
        ModelFileError: The file is not a spiking model.
        UnsupportedGraphError: NIR cannot say it.
        UsageError: The package `nir` is not installed; steps or delay are impossible; or shapes are
            missing or do not fit.
    """
    graph, told = nir_graph_told(model, timesteps, delay, start_bias=start_bias, shapes=shapes)
    for text in told:
        warnings.warn(text, UserWarning, stacklevel=2)
    return graph


def nir_graph_told(
    model: ModelSource,
    timesteps: int | None,
    delay: Delay,
    *,
    start_bias: bool,
    shapes: Shapes,
) -> tuple[nir.NIRGraph, list[str]]:
    """Return `nir_graph` and the texts of its warnings; arguments and errors are those of that."""
    require_library()
    loaded = load_model(model)
    step = read_step_model(loaded.proto, os.fspath(loaded.name))
    check_sayable(step)
    metadata = step.metadata
    total = metadata["timesteps"] if timesteps is None else timesteps
    about = _about(metadata, total, window_delay(metadata, delay, total))
    unbatched = metadata.get("unbatched", [])
    if unbatched:
        step = read_step_model(with_batch(step.proto, unbatched), "model")
    network = network_of(step)
    drawn = draw(network, _sample_shapes(step, network, shapes), total if start_bias else None)
    told = []
    if drawn.left:
        about["left_to_host"] = ", ".join(drawn.left)
        told.append(
            f"nodes {quoted(drawn.left)} behind the last neurons are no part of the NIR graph; "
            "the host computes them of the mean of its outputs"
        )

    # loads the library of the extra `nir`
    from onnx2snn.snn.nir.library import as_graph

    return as_graph(drawn.sketch, about), told


def _about(metadata: Metadata, timesteps: int, delay: int) -> dict[str, Any]:
    """Return the metadata of the graph."""
    return {
        "tool": metadata["tool"],
        "source_sha256": metadata["source_sha256"],
        "coding": "rate",
        "input": "the same at every time-step",
        "answer": "the mean of the outputs over steps delay + 1 to timesteps",
        "timesteps": timesteps,
        "delay": delay,
    }


def _sample_shapes(step: StepModel, network: Network, asked: Shapes) -> Mapping[str, Shape]:
    """Return the shapes of a sample of a network's tensors, those of one step on zeros."""
    own = [spec for spec in input_specs(step.proto) if spec.name in step.inputs]
    batch = SAMPLES if fixed_batch(own) is None and not asked else None
    sizes = input_sizes(own, Form(batch=batch, shapes=asked))
    feed = {spec.name: np.zeros(sizes[spec.name], spec.dtype) for spec in own}
    for state in step.states:
        feed[state.input] = np.zeros([1] * state.rank, np.float32)
    runs = measured_shapes(step.proto, network.tensors(), [feed])
    if not runs:
        raise UsageError("the model does not run on inputs of the shapes asked for; give others")
    count = sizes[own[0].name][0]
    return {name: _of_sample(name, shape, count) for name, shape in runs[0].items()}


def _of_sample(name: str, shape: Shape, count: int) -> Shape:
    if len(shape) < 2 or shape[0] != count:
        raise UnsupportedGraphError(
            "",
            "",
            f"tensor '{name}' of shape {list(shape)} has no sample per element of axis 0, "
            "or no channels, and NIR tells one sample",
        )
    return shape[1:]

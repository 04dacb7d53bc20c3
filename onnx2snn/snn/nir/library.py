"""A sketch as objects of the package `nir`, and as its file; the extra `nir` installs it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import nir
import numpy as np

from onnx2snn.snn.nir.sketch import NirNode, Sketch


def as_graph(sketch: Sketch, metadata: Mapping[str, Any]) -> nir.NIRGraph:
    """Return a sketch as a graph, whose types `nir` checks."""
    nodes = {name: _node(node) for name, node in sketch.nodes.items()}
    return nir.NIRGraph(nodes, list(sketch.edges), metadata=dict(metadata))


def _node(node: NirNode) -> nir.NIRNode:
    fields = dict(node.fields)
    ends = {"Input": ("input_type", "input"), "Output": ("output_type", "output")}
    if node.kind in ends:
        argument, key = ends[node.kind]
        fields[argument] = {key: np.array(fields[argument])}
    return getattr(nir, node.kind)(**fields, metadata=dict(node.metadata))


def file_of(graph: nir.NIRGraph) -> bytes:
    """Return the file of a graph (HDF5)."""
    written = io.BytesIO()
    nir.write(written, graph)
    return written.getvalue()

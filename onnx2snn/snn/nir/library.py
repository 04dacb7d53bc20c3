"""A sketch as objects of the package `nir`, and as its file; the extra `nir` installs it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import nir

from onnx2snn.snn.nir.sketch import Sketch


def as_graph(sketch: Sketch, metadata: Mapping[str, Any]) -> nir.NIRGraph:
    """Return a sketch as a graph, whose types `nir` checks."""
    nodes = {}
    for name, node in sketch.nodes.items():
        kind = getattr(nir, node.kind)
        nodes[name] = kind(**node.fields, metadata=node.metadata)
    told = dict(metadata)
    return nir.NIRGraph(nodes, sketch.edges, metadata=told)


def file_of(graph: nir.NIRGraph) -> bytes:
    """Return the file of a graph (HDF5)."""
    written = io.BytesIO()
    nir.write(written, graph)
    return written.getvalue()

"""Max-pools behind an activation that turns: LeakyRelu or PRelu with a negative slope.

It falls and rises again, so a pool does not change places with it (`prepare.max_pools`). But it is
a maximum itself. With n = min(α, 0) and p = max(α, 0), channel by channel,

    f(z) = relu(max(z, n z)) - p relu(-z)
    maxpool(f(z)) = relu(maxpool(z, n z)) - p relu(-maxpool(z))

where the first pool takes z and n z together: they stand side by side along a new axis, which is
pooled with the positions, or for a pool over all positions along one of theirs. The second pool is
left out where no slope is positive.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import Editor, constant, drop, producer
from onnx2snn.graph.flow import between_weights
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.protos.nodes import MAX_POOLS, standard

RANKS = (3, 4)
"""Of tensors whose pools can take one more axis: onnxruntime pools along three at most."""

NEW_AXIS = 2
"""Behind samples and channels."""


def turn_pools(graph: Graph, sources: dict[str, str]) -> list[str]:
    """Move max-pools before an activation that turns; the graph is changed.

    Args:
        graph: Nodes that are made go to its end; whoever calls sorts it.
        sources: Gets the ANN node of every activation that is made.

    Returns:
        The names of the pools that moved.
    """
    editor = Editor(graph)
    inside = between_weights(graph.nodes)
    moved = []
    for pool in list(graph.nodes):
        if pool.op not in MAX_POOLS or not standard(pool):
            continue
        indices_used = len(pool.outputs) > 1 and pool.outputs[1].outputs
        activation = producer(pool.inputs[0])
        if activation is None or activation.name not in inside or indices_used:
            continue
        slopes = turning_slopes(activation)
        if slopes is not None:
            _Turning(editor, pool, activation, sources).replace(slopes)
            moved.append(pool.name)
    return moved


def turning_slopes(node: Node) -> Array | None:
    """Return the slopes of an activation that turns in some channel, or None of any other node.

    They broadcast to its output, and differ along channels (axis 1) alone.
    """
    ndim = rank(node.inputs[0]) if node.inputs else None
    if ndim not in RANKS or not standard(node):
        return None
    slopes: Array | None = None
    if node.op == "LeakyRelu":
        slopes = np.asarray(node.attrs.get("alpha", 0.01))
    elif node.op == "PRelu":
        slopes = constant(node.inputs[1])
    if slopes is None or slopes.ndim > ndim or not np.any(slopes < 0):
        return None
    # aligned to the right, as ONNX broadcasts
    aligned = slopes.reshape((1,) * (ndim - slopes.ndim) + slopes.shape)
    if any(size != 1 for axis, size in enumerate(aligned.shape) if axis != 1):
        return None
    return aligned


class _Turning:
    """A pool and the activation before it, being replaced."""

    def __init__(
        self, editor: Editor, pool: Node, activation: Node, sources: dict[str, str]
    ) -> None:
        self.editor = editor
        self.pool = pool
        self.activation = activation
        self.sources = sources
        self.z = activation.inputs[0]
        self.dtype = self.z.dtype or np.float32
        self.ndim = rank(self.z) or 0

    def replace(self, slopes: Array) -> None:
        """Put relu(maxpool(z, n z)) - p relu(-maxpool(z)) in the pool's place."""
        pool, name = self.pool, self.pool.name
        out = pool.outputs[0]
        drop(self.editor.graph, pool)
        turned = self._times("falling", self.z, np.minimum(slopes, 0.0))
        rising = np.maximum(slopes, 0.0)
        if not np.any(rising):
            self._pool_of_both(turned, out)
            return
        first = self._variable("first", self.ndim)
        self._pool_of_both(turned, first)
        lowest = self._add(pool.op, "rising", [self.z], self.ndim, attrs=dict(pool.attrs))
        negative = self._times("negative", lowest, np.asarray(-1.0))
        scaled = self._times("scaled", self._fired(negative), rising)
        self.editor.node("Sub", f"{name}/joined", [first, scaled], [out])

    def _pool_of_both(self, turned: Tensor, out: Tensor) -> None:
        """Append relu(maxpool(z, n z)), which is `out`."""
        pool = self.pool
        side: dict[str, object] = {"axis": NEW_AXIS}
        if pool.op == "GlobalMaxPool":
            pair = self._add("Concat", "pair", [self.z, turned], self.ndim, attrs=side)
            pooled = self._variable("pooled", self.ndim)
            self.editor.append(pool.op, pool.name, [pair], [pooled])
            self._fired(pooled, out)
            return
        several = [self._unsqueezed(values) for values in (self.z, turned)]
        pair = self._add("Concat", "pair", several, self.ndim + 1, attrs=side)
        pooled = self._variable("pooled", self.ndim + 1)
        self.editor.append(pool.op, pool.name, [pair], [pooled], self._with_new_axis())
        fired = self._fired(pooled)
        self.editor.node("Squeeze", f"{pool.name}/squeeze", [fired, self._axes()], [out])

    def _with_new_axis(self) -> dict[str, object]:
        """Return a MaxPool's attributes, with a window of 2 along the new axis."""
        attrs = dict(self.pool.attrs)
        spatial = self.ndim - NEW_AXIS
        attrs["kernel_shape"] = [2, *attrs["kernel_shape"]]
        # as far as the window: the axis is gone behind it, whatever the padding is called
        attrs["strides"] = [2, *attrs.get("strides", [1] * spatial)]
        attrs["dilations"] = [1, *attrs.get("dilations", [1] * spatial)]
        if "pads" in attrs:
            pads = list(attrs["pads"])
            attrs["pads"] = [0, *pads[:spatial], 0, *pads[spatial:]]
        return attrs

    def _unsqueezed(self, values: Tensor) -> Tensor:
        return self._add("Unsqueeze", "unsqueezed", [values, self._axes()], self.ndim + 1)

    def _axes(self) -> Tensor:
        return self.editor.constant(f"{self.pool.name}/axes", np.array([NEW_AXIS], np.int64))

    def _times(self, label: str, values: Tensor, factor: Array) -> Tensor:
        fixed = self.editor.constant(f"{self.pool.name}/factor", factor.astype(self.dtype))
        return self._add("Mul", label, [values, fixed], self.ndim)

    def _fired(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """Append relu(values), which becomes neurons of the activation, and return it."""
        fired = out
        if fired is None:
            fired = self._variable("fired", rank(values) or 0)
        label = f"{self.activation.name}/{self.pool.name}"
        relu = self.editor.node("Relu", label, [values], [fired])
        name = self.activation.name
        self.sources[relu.name] = self.sources.get(name, name)
        return fired

    def _add(
        self,
        op: str,
        label: str,
        inputs: list[Tensor],
        ndim: int,
        attrs: dict[str, object] | None = None,
    ) -> Tensor:
        """Append a node and return its output, of a rank."""
        out = self._variable(label, ndim)
        self.editor.node(op, f"{self.pool.name}/{label}", inputs, [out], attrs)
        return out

    def _variable(self, label: str, ndim: int) -> Tensor:
        """Return a new variable of a rank."""
        name = f"{self.pool.name}/{label}_out"
        return self.editor.variable(name, shape=[None] * ndim, dtype=self.dtype)

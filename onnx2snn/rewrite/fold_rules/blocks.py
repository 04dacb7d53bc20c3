"""Rules of folding for DepthToSpace and SpaceToDepth: channels of one pixel against pixels of one
channel.

The tensor of few channels holds a block of pixels for each pixel of the tensor of many. A scale per
channel moves from few to many; the other way, the channels that make a block have to have one
scale.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.rewrite.fold_rules.moves import (
    NOT_PER_CHANNEL,
    FoldOutcome,
    Scales,
    as_vector,
    compress,
    to_first,
)


def depth_to_space_back(node: Node, scale: Array) -> FoldOutcome:
    """Give a channel's scale to every channel its pixels come from.

    Refuses a scale that varies within a channel.
    """
    return _to_many(node, scale, node.outputs[0])


def depth_to_space_forward(_node: Node, scales: Scales) -> FoldOutcome:
    """Pass one scale for all channels. Refuses channels of a block that have different ones."""
    return _to_few(scales[0])


def space_to_depth_back(_node: Node, scale: Array) -> FoldOutcome:
    """Pass one scale for all channels. Refuses channels of a block that have different ones."""
    return _to_few(scale)


def space_to_depth_forward(node: Node, scales: Scales) -> FoldOutcome:
    """Give a channel's scale to every channel its pixels go to.

    Refuses a scale that varies within a channel.
    """
    return _to_many(node, scales[0], node.inputs[0])


def _to_many(node: Node, scale: Array, few: Tensor) -> FoldOutcome:
    """Return the scale of the tensor of few channels, for the tensor of many."""
    vector = as_vector(scale, 1)
    channels = None if few.shape is None else few.shape[1]
    if vector is None or not isinstance(channels, int):
        return NOT_PER_CHANNEL
    area = node.attrs["blocksize"] ** 2
    # every channel of few becomes `area` channels of many
    full = np.broadcast_to(vector, (channels,))
    # mode CRD stores a channel's pixels side by side, DCR a pixel's channels
    side_by_side = node.attrs.get("mode", "DCR") == "CRD"
    if node.op == "DepthToSpace" and side_by_side:
        many = np.repeat(full, area)
    else:
        many = np.tile(full, area)
    per_channel = many.reshape(1, -1, 1, 1)
    return to_first(compress(per_channel))


def _to_few(scale: Array) -> FoldOutcome:
    if scale.size > 1:
        return "the scale varies within a block"
    return to_first(scale)

"""Opening models whose chains are in the order of onnxruntime's convolutions.

onnxruntime decides on that order as it optimises a model. So the model is optimised first and
written out; `runtime.blocked_chains` takes out of it what is turned around chains.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from onnx2snn.protos.computing import from_runtime
from onnx2snn.protos.sessions import open_session, session_options, session_with
from onnx2snn.protos.temporary import temporary_folder
from onnx2snn.runtime.blocked_chains import DOMAIN, in_blocks, turned_map

LARGEST = 2**28
"""Bytes of a model that is written out and read again for this; larger ones are left as they are.
"""


def with_blocks(proto: onnx.ModelProto, library: str) -> onnx.ModelProto | None:
    """Return a model with chains in blocks, to be opened without further optimisation.

    Args:
        proto: A model with chains.
        library: The path of the library with the operators.

    Returns:
        The model; None where no chain is better off in blocks.
    """
    operators = {node.op_type for node in proto.graph.node}
    if not operators >= {"Chain", "Conv"} or proto.ByteSize() > LARGEST:
        return None
    block = block_size()
    if block is None:
        return None
    try:
        made = optimised(proto, library)
    except Exception as error:
        if not from_runtime(error):
            raise
        return None  # no room for the file, say: a session can be opened without it
    return in_blocks(made, block)


def optimised(proto: onnx.ModelProto, library: str) -> onnx.ModelProto:
    """Return a model as onnxruntime runs it here."""
    options = session_options(1, once=True)
    options.register_custom_ops_library(library)
    with temporary_folder() as folder:
        written = folder / "optimised.onnx"
        options.optimized_model_filepath = str(written)
        session_with(proto, options)
        return onnx.load(str(written))


@lru_cache(maxsize=1)
def block_size() -> int | None:
    """Return how many channels lie side by side in a block here; None where there are no blocks.

    It is seen in what onnxruntime makes of numbered channels.
    """
    channels, pixels = 64, 2
    turn = helper.make_node("ReorderInput", ["plain"], ["turned"], domain=DOMAIN)
    shape = [1, channels, 1, pixels]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("plain", "turned")
    ]
    graph = helper.make_graph([turn], "block", values[:1], values[1:])
    domains = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    numbers = np.arange(channels * pixels, dtype=np.float32).reshape(shape)
    try:
        (turned,) = open_session(model, 1).run(None, {"plain": numbers})
    except Exception:  # noqa: BLE001 - it has no such operator, or not here: then there is no block
        return None
    for block in (4, 8, 16, 32):
        if np.array_equal(turned, turned_map(numbers, block)):
            return block
    return None


def opened_in_blocks(
    proto: onnx.ModelProto, library: str, options: ort.SessionOptions
) -> onnx.ModelProto:
    """Return a model with chains in blocks where that is better, with options that go with it."""
    blocked = with_blocks(proto, library)
    if blocked is None:
        return proto
    # it is optimised: what onnxruntime would do once more knows nothing of blocks
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return blocked

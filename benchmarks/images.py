"""A pass over a folder of JPEGs whose decoding overlaps computing, beside either alone.

    python benchmarks/images.py [--images 2000] [--side 256] [--threads 1] [--write FILE]

The images are made on the fly. Decoding alone is a pass that looks at nothing; computing alone is a
pass over the same samples when they are decoded already, by a network of a few convolutions, whose
width is chosen so that it takes about as long: then overlap saves most, and is hardest to reach.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from foreign import write_table
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from timing import Watch

from onnx2snn.data.batches import batches
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.protos.specs import input_specs

SIZE = 64
"""Side of the model's input."""
BATCH = 32
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256, help="of the JPEGs")
    parser.add_argument("--threads", type=int, default=1, help="of onnxruntime")
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), given.images, given.side)
        lines = _measured(Path(folder), given.images, given.threads)
    print("\n".join(lines))
    if given.write is not None:
        write_table(lines, given.write, "images")


def _make(folder: Path, count: int, side: int) -> None:
    """Write JPEGs of smooth noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        coarse.resize((side, side)).save(folder / f"{number:05}.jpg", quality=90)


def _measured(folder: Path, count: int, threads: int) -> list[str]:
    proto = _network(WIDTHS[0])
    watch = Watch()
    with open_samples(folder, input_specs(proto)) as samples:
        decoding = _seconds(samples, None)
    chosen = None
    for width in WIDTHS:
        session = _session(_network(width), threads)
        with open_samples(folder, input_specs(proto)) as samples:
            both = _seconds(samples, session)
            computing = _seconds(samples, session)
        if chosen is None or abs(computing - decoding) < abs(chosen[0] - decoding):
            chosen = computing, both
        if computing > decoding:
            break
    assert chosen is not None
    computing, both = chosen
    ratio = both / max(computing, decoding)
    cells = [f"{count:,}", f"{decoding:.2f}", f"{computing:.2f}", f"{both:.2f}", f"{ratio:.2f}"]
    cells.append(f"{watch.stop() or 0:.2f}")
    head = ["images", "decoding, s", "computing, s", "the pass, s", "the pass / the slower"]
    head.append("other programs, cores")
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), cells)]


def _seconds(samples: Samples, session: ort.InferenceSession | None) -> float:
    """Return the seconds of one pass."""
    started = time.perf_counter()
    for batch in batches(samples, BATCH, None):
        if session is not None:
            session.run(None, batch.feed)
    return time.perf_counter() - started


def _session(proto: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(proto.SerializeToString(), options)


def _network(width: int) -> onnx.ModelProto:
    """Return three convolutions of this many channels."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    channels, before = 3, "input"
    for layer in range(3):
        values = rng.standard_normal((width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        pads = [1, 1, 1, 1]
        nodes.append(helper.make_node("Conv", [before, f"w{layer}"], [f"c{layer}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        channels, before = width, f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["output"]))
    shape: list[str | int | None] = ["N", 3, SIZE, SIZE]
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", width, 1, 1])
    graph = helper.make_graph(nodes, "convolutions", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


if __name__ == "__main__":
    main()

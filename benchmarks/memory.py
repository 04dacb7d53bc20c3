"""The most memory that converting, correcting, counting SOPs and a page's raster take, at three
sizes, as a Markdown table.

    python benchmarks/memory.py [--only "convert, paper" SOPs raster ...]

Each figure is that of a process of its own: the most memory it held during the work, less what it
held just before, when the package and onnxruntime were imported and the inputs made. Beside it
stands the memory that it is measured against.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MB = 1e6
SAMPLES = 16
Values = NDArray[np.float32]


# --- networks ---


def dense(width: int) -> onnx.ModelProto:
    """Return a network of four dense layers [width, width], whose weights are all that counts."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    x = "input"
    for layer in range(4):
        values = rng.standard_normal((width, width), np.float32) * np.float32((2 / width) ** 0.5)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("Gemm", [x, f"w{layer}"], [f"z{layer}"], f"dense{layer}"))
        x = f"z{layer}"
        if layer < 3:
            nodes.append(helper.make_node("Relu", [x], [f"a{layer}"], f"relu{layer}"))
            x = f"a{layer}"
    return _model(nodes, weights, [width], [width], x)


def sound(length: int) -> onnx.ModelProto:
    """Return a network on one axis: convolutions, pools, upsampling, and a sum over all places."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def convolution(x: str, name: str, channels: int, filters: int, stride: int) -> str:
        values = rng.standard_normal((filters, channels, 9), np.float32) * np.float32(0.2)
        weights.append(numpy_helper.from_array(values, f"{name}_w"))
        inputs = [x, f"{name}_w"]
        nodes.append(helper.make_node("Conv", inputs, [name], name, strides=[stride], pads=[4, 4]))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_a"], f"{name}_relu"))
        return f"{name}_a"

    x = convolution("input", "first", 1, 8, 1)
    nodes.append(
        helper.make_node("AveragePool", [x], ["pooled"], "pool", kernel_shape=[4], strides=[4])
    )
    x = convolution("pooled", "second", 8, 8, 1)
    weights.append(numpy_helper.from_array(np.array([1, 1, 4], np.float32), "scales"))
    nodes.append(helper.make_node("Resize", [x, "", "scales"], ["up"], "up", mode="linear"))
    x = convolution("up", "third", 8, 4, 2)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"], "mean"))
    weights.append(numpy_helper.from_array(rng.standard_normal((4, 3), np.float32), "head_w"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], "flat"))
    nodes.append(helper.make_node("Gemm", ["flat", "head_w"], ["out"], "head"))
    return _model(nodes, weights, [1, length], [3], "out")


def image(side: int, channels: int = 32, filters: int = 4) -> onnx.ModelProto:
    """Return two convolutions with neurons for each channel and place of a square image."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((channels, 3, 3, 3), np.float32)
    second = rng.standard_normal((filters, channels, 3, 3), np.float32)
    weights = [numpy_helper.from_array(first, "w0"), numpy_helper.from_array(second, "w1")]
    nodes = [
        helper.make_node("Conv", ["input", "w0"], ["z"], "conv0", pads=[1] * 4),
        helper.make_node("Relu", ["z"], ["a"], "relu"),
        helper.make_node("Conv", ["a", "w1"], ["out"], "conv1", pads=[1] * 4),
    ]
    return _model(nodes, weights, [3, side, side], [filters, side, side], "out")


def wide(channels: int) -> onnx.ModelProto:
    """Return two convolutions of which the second has nine inputs a channel for each output."""
    return image(28, channels, channels)


def _model(
    nodes: list[onnx.NodeProto],
    weights: list[TensorProto],
    taken: list[int],
    given: list[int],
    output: str,
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *taken])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", *given])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


# --- work: each returns the bytes that its memory is measured against ---


def convert_paper(folder: Path) -> float:
    """Convert with the paper's method, in few mini-batches."""
    return _converted(folder, preset="paper", iterations=2, batch_size=4)


def convert_corrected(folder: Path) -> float:
    """Convert with thresholds and weights that are corrected for few time-steps."""
    return _converted(folder, preset="low-latency", timesteps=4)


def convert_estimates(folder: Path) -> float:
    """Convert to differential coding."""
    return _converted(folder, preset="differential")


def correct(folder: Path) -> float:
    """Correct weights, biases and potentials; the stage alone is measured."""
    import onnx2snn
    from onnx2snn.pipeline import rate

    path = folder / "ann.onnx"
    stage = rate.correct_layerwise  # type: ignore[attr-defined]

    def measured_stage(*given: Any) -> Any:
        memory = Held()
        correction = stage(*given)
        memory.print()
        return correction

    rate.correct_layerwise = measured_stage  # type: ignore[attr-defined, assignment]
    rows = {"input": np.load(folder / "x.npy")}
    options = {"preset": "low-latency", "correct": "weights,bias,potential", "timesteps": 4}
    onnx2snn.convert(path, rows, threads=1, **options)  # type: ignore[arg-type]
    return _activations(path)


def _converted(folder: Path, **options: object) -> float:
    import onnx2snn
    import onnx2snn.pipeline.convert  # what a first call imports is no memory of the work

    path = folder / "ann.onnx"
    rows = {"input": np.load(folder / "x.npy")}
    memory = Held()
    made = onnx2snn.convert(path, rows, **options)  # type: ignore[arg-type]
    made.save(folder / "snn.onnx")
    memory.print()
    return path.stat().st_size


def count_sops(folder: Path) -> float:
    """Count every neuron's synapses."""
    from onnx2snn.runtime.parts import Opening
    from onnx2snn.runtime.simulation import Simulation
    from onnx2snn.score.synapses import wiring

    simulation = Simulation(onnx.load(folder / "snn.onnx"), Opening(threads=1))
    feed = {"input": np.load(folder / "x.npy")[:1]}
    memory = Held()
    wiring(simulation.model, feed)
    memory.print()
    own, _ = _in_a_child("own", folder)
    return own


def draw_raster(folder: Path) -> float:
    """Choose the spikes that a page shows of its largest layer, over 64 time-steps."""
    from onnx2snn.data.samples import open_samples
    from onnx2snn.display.subject import Subject
    from onnx2snn.protos.load import load_model
    from onnx2snn.protos.specs import input_specs
    from onnx2snn.runtime.parts import Opening
    from onnx2snn.runtime.simulation import Simulation

    source = load_model(folder / "ann.onnx")
    simulation = Simulation(onnx.load(folder / "snn.onnx"), Opening(threads=1), count_spikes=True)
    samples = open_samples({"input": np.load(folder / "x.npy")[:1]}, input_specs(source.proto))
    subject = Subject(source, simulation, samples, [(64, 0)], "", 1)
    for _ in simulation.steps(samples.batch([0]), 2, 0):
        pass
    memory = Held()
    subject.raster(simulation.neurons[0]["name"])
    memory.print()
    own, _ = _in_a_child("own", folder)
    return own


def run_network(folder: Path) -> float:
    """Run a spiking model of one sample, what others are measured against."""
    from onnx2snn.runtime.parts import Opening
    from onnx2snn.runtime.simulation import Simulation

    simulation = Simulation(onnx.load(folder / "snn.onnx"), Opening(threads=1), schedule="stepped")
    feed = {"input": np.load(folder / "x.npy")[:1]}
    memory = Held()
    simulation.run(feed, 2, 0)
    memory.print()
    return 0.0


def _activations(path: Path) -> float:
    """Return the bytes of a model's weights and of all its tensors in one run of one sample."""
    from onnx2snn.score.node_runs import all_values

    proto = onnx.load(path)
    feed = {"input": np.load(path.parent / "x.npy")[:1]}
    for value in proto.graph.input[1:]:
        rank = len(value.type.tensor_type.shape.dim)
        feed[value.name] = np.zeros([1] * rank, np.float32)
    return float(sum(values.nbytes for values in all_values(proto, feed).values()))


@dataclass(frozen=True)
class Work:
    """A kind of work: the network of a size, whether it is converted before, and its sizes."""

    run: Callable[[Path], float]
    network: Callable[[int], onnx.ModelProto]
    sizes: tuple[int, int, int]
    converted: bool
    against: str


AGAINST = "model and a sample"

WORK = {
    "convert, paper": Work(convert_paper, dense, (1448, 2048, 2896), False, "model file"),
    "convert, low-latency": Work(convert_corrected, dense, (1448, 2048, 2896), False, "model file"),
    "convert, differential": Work(
        convert_estimates, dense, (1448, 2048, 2896), False, "model file"
    ),
    "correct, large maps": Work(correct, image, (64, 128, 256), False, AGAINST),
    "correct, many inputs": Work(correct, wide, (128, 256, 512), False, AGAINST),
    "SOPs": Work(count_sops, sound, (8000, 16000, 64000), True, "a run of the network"),
    "raster": Work(draw_raster, image, (80, 160, 320), True, "a run of the network"),
}


# --- measuring ---


class Held:
    """Memory of this process from now on."""

    def __init__(self) -> None:
        """Forget the peak so far."""
        # Linux alone knows how; elsewhere nothing is measured
        Path("/proc/self/clear_refs").write_text("5")
        self.before = _status("VmRSS")

    def print(self) -> None:
        """Print the most bytes held meanwhile, beyond those at the start."""
        print("peak", self.most())

    def most(self) -> int:
        """Return the most bytes held meanwhile, beyond those at the start."""
        return _status("VmHWM") - self.before


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def measured(name: str, size: int) -> tuple[float, float]:
    """Return the most bytes that some work takes at a size, and those it is measured against."""
    work = WORK[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = work.network(size)
        onnx.save(model, folder / "ann.onnx")
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        rng = np.random.default_rng(1)
        np.save(folder / "x.npy", rng.standard_normal((SAMPLES, *shape), np.float32))
        if work.converted:
            import onnx2snn

            made = onnx2snn.convert(folder / "ann.onnx")
            made.save(folder / "snn.onnx")
        return _in_a_child(name, folder)


def _in_a_child(name: str, folder: Path) -> tuple[float, float]:
    """Do some work in a process of its own; return its peak and what that is measured against."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", name, str(folder)]
    # one arena of the allocator: what a thread has freed is there for the others
    alone = os.environ | {"MALLOC_ARENA_MAX": "1"}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    peak = re.search(r"peak (\d+)", ran.stdout)
    against = re.search(r"against (\S+)", ran.stdout)
    assert peak is not None
    assert against is not None
    return float(peak[1]), float(against[1])


def table(names: list[str]) -> list[str]:
    """Return the lines of the table."""
    lines = ["| work | size | against | MB | most held, MB | ratio |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        work = WORK[name]
        for size in work.sizes:
            peak, against = measured(name, size)
            figures = f"{against / MB:.1f} | {peak / MB:.1f} | {peak / against:.2f}"
            lines.append(f"| {name} | {size} | {work.against} | {figures} |")
            print(lines[-1], flush=True)
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--child", nargs=2, metavar=("WORK", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, folder = given.child
        run = run_network if name == "own" else WORK[name].run
        print("against", run(Path(folder)))
        return
    print("\n".join(table(given.only)))


if __name__ == "__main__":
    _main()

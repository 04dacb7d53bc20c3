"""Simulators that read NIR: how a graph is opened, what is set, and what its neurons count.

Each is opened by its own importer. Those of sinabs and Norse call `nirtorch.load`, which is
deprecated and runs a node with two inputs before the second is there; graphs with such nodes, or
nodes that an importer has no layer for, are put together of its layers by `nirtorch.nir_to_torch`.

As read, all start at a potential of 0. `meant` then sets what the metadata of a graph says and NIR
has no argument for: soft reset, spikes of 0 and 1, v(0).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from helpers.nir_walk import AS_MEANT, Reader, walk
from numpy.typing import NDArray

Array = NDArray[Any]
Counts = Mapping[str, Array]


@dataclass(frozen=True)
class Task:
    """A graph to run: its file, a batch for its one input, the number of time-steps."""

    path: Path
    samples: Array
    timesteps: int

    def graph(self) -> Any:
        """Read the file afresh: importers change what they are given."""
        return importlib.import_module("nir").read(self.path)


def in_numpy(task: Task, reader: Reader) -> Counts:
    """Run a graph by the walk of the tests."""
    graph = task.graph()
    (name,) = (node.metadata["name"] for node in graph.inputs.values())
    return walk(graph, {name: task.samples}, task.timesteps, reader).counts


def in_sinabs(task: Task, *, meant: bool) -> Counts:
    """sinabs, all time-steps at once."""
    torch = importlib.import_module("torch")
    single = importlib.import_module("sinabs.activation").SingleSpike
    graph = task.graph()
    count = len(task.samples)
    reading = importlib.import_module("sinabs.nir")

    def layer_of(node: Any) -> Any:
        return reading._import_sinabs_module(node, batch_size=count, num_timesteps=None)

    with torch.no_grad():
        model = _opened(task.graph(), partial(reading.from_nir, batch_size=count), layer_of)
        layers = _neurons(model, graph)
        for name, layer in layers.items():
            if meant:
                layer.spike_fn = single
                layer.min_v_mem = None
                layer.init_state_with_shape((count, *graph.nodes[name].v_threshold.shape))
                layer.v_mem.data = torch.from_numpy(_initial(graph.nodes[name], count))
        heard = _listen(layers)
        # samples lie outside, steps inside
        model(torch.from_numpy(task.samples).repeat_interleave(task.timesteps, 0))
    found = {}
    for name, (spikes,) in heard.items():
        by_step = spikes.reshape(count, task.timesteps, *spikes.shape[1:])
        found[name] = by_step.sum(1)
    return found


def in_snntorch(task: Task, *, meant: bool) -> Counts:
    """snnTorch, a sample at a time: it reads a Flatten as of a tensor without a batch."""
    torch = importlib.import_module("torch")
    read = importlib.import_module("snntorch.import_nir").import_from_nir
    graph = task.graph()

    def opened() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            model = read(task.graph())
        for name, layer in _neurons(model, graph).items():
            # else an IF returns its potential, too, which no reader of it takes
            layer.init_hidden = True
            if meant:
                layer.beta = torch.tensor(1.0)
                layer.mem = torch.from_numpy(_initial(graph.nodes[name], 1)[0])
        return model

    return _by_sample(task, graph, opened)


def in_norse(task: Task, *, meant: bool) -> Counts:
    """Norse, a sample at a time; its IF knows no soft reset."""
    assert not meant
    reading = importlib.import_module("norse.torch.utils.import_nir")

    def opened() -> Any:
        return _opened(task.graph(), reading.from_nir, reading._import_norse_module)

    return _by_sample(task, task.graph(), opened)


def _opened(graph: Any, importer: Callable[[Any], Any], layer_of: Callable[[Any], Any]) -> Any:
    """Open a graph by an importer, or by nirtorch of the layers it has for nodes."""
    readers = [reader for _, reader in graph.edges]
    layers = {}
    lacking = False
    for node in graph.nodes.values():
        if type(node).__name__ in ("Input", "Output"):
            continue
        if layer_of(node) is None:
            lacking = True
        else:
            layers[type(node)] = layer_of
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if len(set(readers)) == len(readers) and not lacking:
            return importer(graph)
        return importlib.import_module("nirtorch").nir_to_torch(graph, layers)


def _by_sample(task: Task, graph: Any, opened: Callable[[], Any]) -> Counts:
    """Step through time with one sample after the other, without a batch axis."""
    torch = importlib.import_module("torch")
    found: dict[str, list[Array]] = {}
    with torch.no_grad():
        for sample in task.samples:
            model = opened()
            heard = _listen(_neurons(model, graph))
            state = None
            for _ in range(task.timesteps):
                _, state = model(torch.from_numpy(sample), state)
            for name, spikes in heard.items():
                found.setdefault(name, []).append(np.sum(spikes, axis=0))
    return {name: np.stack(counts) for name, counts in found.items()}


def _neurons(model: Any, graph: Any) -> dict[str, Any]:
    """Return the modules that stand for the neurons of a graph."""
    modules = dict(model.named_modules())
    names = [name for name, node in graph.nodes.items() if type(node).__name__ == "IF"]
    return {name: modules[name] for name in names}


def _initial(node: Any, count: int) -> Array:
    """Return the initial potential of the metadata, for each neuron of a batch."""
    initial = np.asarray(node.metadata["v_init"], np.float32)
    shape = node.v_threshold.shape
    channels = initial.reshape(*initial.shape, *[1] * (len(shape) - initial.ndim))
    return np.broadcast_to(channels, (count, *shape)).copy()


def _listen(layers: Mapping[str, Any]) -> dict[str, list[Array]]:
    """Keep what modules answer."""
    heard: dict[str, list[Array]] = {name: [] for name in layers}

    def listening(name: str) -> Callable[[Any, Any, Any], None]:
        def keep(_module: Any, _inputs: Any, answer: Any) -> None:
            spikes = answer[0] if isinstance(answer, tuple) else answer
            heard[name].append(spikes.detach().numpy().copy())

        return keep

    for name, layer in layers.items():
        layer.register_forward_hook(listening(name))
    return heard


@dataclass(frozen=True)
class Simulator:
    """A simulator, and the semantics of its neuron as it reads an IF.

    Attributes:
        package: Its name in the registry.
        run: Opens a graph and counts.
        own: Its semantics as read.
        meant: Its semantics once it is set to what the metadata say; None: it cannot be set so.
    """

    package: str
    run: Callable[..., Counts]
    own: Reader
    meant: Reader | None = AS_MEANT


SIMULATORS = {
    # several spikes a step, and a potential that is cut off at -1
    "sinabs": Simulator("sinabs", in_sinabs, Reader(most=None, floor=-1.0, starts=False)),
    # a tenth of the potential leaks at each step
    "snnTorch": Simulator(
        "snntorch",
        in_snntorch,
        Reader(leak=0.9, withholds=True, starts=False),
        Reader(withholds=True),
    ),
    "Norse": Simulator("norse", in_norse, Reader(reset="zero", starts=False), None),
}
"""Simulators by name."""

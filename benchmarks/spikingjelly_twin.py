"""The same network in SpikingJelly 2.0, with the same thresholds, to hold against ours.

    pip install torch==2.13.0 loguru h5py tqdm scipy matplotlib einops requests    # the extra
    `peer`
    pip install --no-deps spikingjelly==2.0.0    # its own requirements name packages that this
    needs nothing of

The ANN's file, constants and BatchNormalization folded by onnxruntime, becomes a torch graph that
computes the same function. SpikingJelly's own recipe for local threshold balancing (the paper's
method) turns that into a spiking network; in place of calibrating anew it is given our thresholds.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from loguru import logger
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from spikingjelly.activation_based import ann2snn, base, functional
from spikingjelly.activation_based.ann2snn.recipes.local_threshold_balancing import (
    LocalThresholdBalancingHook,
)
from torch import fx, nn

Array = NDArray[Any]
Attributes = Mapping[str, Any]

logger.remove()


class UnsupportedOperatorError(Exception):
    """SpikingJelly, or this translation, has nothing for an operator."""


class Stateless(nn.Module, base.StepModule):
    """A function of the trailing dimensions, the same with and without a leading axis of time."""

    __module__ = "torch.nn"  # where fx looks for modules that it does not look into

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Wrap a function."""
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return self.function(x)


def _convolution(attributes: Attributes, weight: Array, bias: Array | None = None) -> nn.Module:
    groups, pads = attributes.get("group", 1), attributes.get("pads", [0] * 4)
    _require(
        weight.ndim == 4 and pads[:2] == pads[2:],
        "Conv that is not 2-d with the same padding on both sides",
    )
    made = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2:],
        attributes.get("strides", 1),
        pads[:2],
        attributes.get("dilations", 1),
        groups,
        bias is not None,
    )
    return _with_weights(made, weight, bias)


def _linear(attributes: Attributes, weight: Array, bias: Array | None = None) -> nn.Module:
    _require(attributes.get("alpha", 1) == attributes.get("beta", 1) == 1, "Gemm with factors")
    rows = weight if attributes.get("transB") else weight.T
    return _with_weights(nn.Linear(rows.shape[1], rows.shape[0], bias is not None), rows, bias)


def _with_weights(module: Any, weight: Array, bias: Array | None) -> nn.Module:
    module.weight.data = torch.from_numpy(np.array(weight))
    if bias is not None:
        module.bias.data = torch.from_numpy(np.array(bias))
    made: nn.Module = module
    return made


def _pool(kind: Any, attributes: Attributes) -> nn.Module:
    pads = attributes.get("pads", [0] * 4)
    _require(
        pads[:2] == pads[2:] and not attributes.get("ceil_mode"),
        "pools padded unevenly or rounded up",
    )
    _require(kind is nn.MaxPool2d or not any(pads), "average pools with padding")
    made: nn.Module = kind(attributes["kernel_shape"], attributes.get("strides", 1), pads[:2])
    return made


def _slice(
    attributes: Attributes, starts: Array, ends: Array, axes: Array, steps: Array | None = None
) -> nn.Module:
    _require(bool(np.all(axes > 0)), "Slice of the batch axis, or of axes counted from the end")
    by = np.ones_like(starts) if steps is None else steps
    index = [slice(None)] * 4
    for axis, start, end, step in zip(axes, starts, ends, by, strict=True):
        index[axis] = slice(int(start), int(end), int(step))
    return Stateless(partial(_sliced, (..., *index[1:])))


def _sliced(index: Any, x: torch.Tensor) -> torch.Tensor:
    return x[index]


def _pad(attributes: Attributes, pads: Array, value: Array) -> nn.Module:
    before, after = np.split(pads, 2)
    _require(
        attributes.get("mode", b"constant") == b"constant" and before[0] == after[0] == 0,
        "Pad that mirrors",
    )
    amounts = [int(n) for pair in zip(before[:0:-1], after[:0:-1], strict=True) for n in pair]
    return Stateless(partial(nn.functional.pad, pad=amounts, value=float(value)))


def _flatten(attributes: Attributes, shape: Array | None = None) -> nn.Module:
    _require(
        shape is None or (list(shape[1:]) == [-1] and shape[0] in (0, -1)),
        "Reshape other than to [N, -1]",
    )
    _require(attributes.get("axis", 1) == 1, "Flatten of other axes")
    return nn.Flatten()


MODULES: dict[str, Callable[..., nn.Module]] = {
    "Conv": _convolution,
    "Gemm": _linear,
    "Relu": lambda _: nn.ReLU(),
    "MaxPool": partial(_pool, nn.MaxPool2d),
    "AveragePool": partial(_pool, nn.AvgPool2d),
    "GlobalAveragePool": lambda _: nn.AdaptiveAvgPool2d(1),
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Slice": _slice,
    "Pad": _pad,
}
"""A module of an operator's attributes and the constants among its inputs.

An Add is the function.
"""


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise UnsupportedOperatorError(f"no translation for {what}")


def torch_graph(ann: Path) -> tuple[fx.GraphModule, dict[str, str]]:
    """The ANN of one input and one output in torch, and the ONNX node's name of each module."""
    graph = _folded(ann).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made, root, names = fx.Graph(), nn.Module(), {}
    (given,) = [value.name for value in graph.input if value.name not in constants]
    values = {given: made.placeholder("x")}
    for index, node in enumerate(graph.node):
        taken = [values[name] for name in node.input if name in values]
        if node.op_type == "Add" and len(taken) == 2:
            values[node.output[0]] = made.call_function(operator.add, tuple(taken))
            continue
        if node.op_type not in MODULES or len(taken) != 1:
            raise UnsupportedOperatorError(f"no translation for {node.op_type} '{node.name}'")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        module = MODULES[node.op_type](
            attributes, *(constants[name] for name in node.input[1:] if name)
        )
        root.add_module(f"node{index}", module)
        names[f"node{index}"] = node.name
        values[node.output[0]] = made.call_module(f"node{index}", (taken[0],))
    made.output(values[graph.output[0].name])
    return fx.GraphModule(root, made).eval(), names


def _folded(ann: Path) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        ort.InferenceSession(ann, options)
        return onnx.load(options.optimized_model_filepath)


class GivenThresholds(ann2snn.LocalThresholdBalancingRecipe):
    """SpikingJelly's recipe with thresholds by module in place of its own calibration."""

    def __init__(self, thresholds: Mapping[str, Array]) -> None:
        """Keep one threshold a channel for each ReLU module."""
        super().__init__(dataloader=[])
        self.thresholds = thresholds

    def calibrate(self, converter: ann2snn.Converter, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Set every observer's thresholds."""
        modules = dict(fx_model.named_modules())
        for node in fx_model.graph.nodes:
            if node.op == "call_module" and isinstance(
                modules[node.target], LocalThresholdBalancingHook
            ):
                before = node.args[0]
                relu = (
                    before if before.target in self.thresholds else before.args[0]
                )  # behind a max-pool
                modules[node.target].threshold = torch.from_numpy(
                    np.array(self.thresholds[relu.target])
                )
        return fx_model


class Twin:
    """The spiking network in SpikingJelly, in its two step modes.

    `threads` is torch's number, for the process; `device` is torch's name of one.
    """

    def __init__(
        self, ann: Path, thresholds: Mapping[str, Array], threads: int, device: str = "cpu"
    ) -> None:
        """Translate and convert; `thresholds` by name of the ONNX activation, one a channel.

        Raises UnsupportedOperatorError.
        """
        torch.set_num_threads(threads)
        self.ann, names = torch_graph(ann)
        self._device = device
        by_module = {
            module: thresholds[name] for module, name in names.items() if name in thresholds
        }
        self.snn = ann2snn.Converter(GivenThresholds(by_module)).convert(self.ann).eval()
        self.ann.to(device)
        self.snn.to(device)
        self._step_mode = "s"

    def ann_outputs(self, x: Array) -> Array:
        """What the torch graph computes before it is converted."""
        with torch.inference_mode():
            found: Array = self.ann(self._tensor(x)).cpu().numpy()
        return found

    def _tensor(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(x).to(self._device)

    @contextmanager
    def _mode(self, mode: str) -> Iterator[None]:
        if self._step_mode != mode:
            functional.set_step_mode(self.snn, mode)
            self._step_mode = mode
        functional.reset_net(self.snn)
        with torch.inference_mode():
            yield

    def single_step(self, x: Array, timesteps: int) -> Array:
        """The mean output over `timesteps`, step by step."""
        with self._mode("s"):
            given = self._tensor(x)
            total = self.snn(given)
            for _ in range(timesteps - 1):
                total = total + self.snn(given)
            found: Array = (total / timesteps).cpu().numpy()
        return found

    def means_until(self, x: Array, timesteps: int) -> Iterator[Array]:
        """Yield the mean output after each time-step, step by step."""
        with self._mode("s"):
            given = self._tensor(x)
            total = torch.zeros(())
            for t in range(1, timesteps + 1):
                total = total + self.snn(given)
                yield (total / t).cpu().numpy()

    def multi_step(self, x: Array, timesteps: int) -> Array:
        """The mean output over `timesteps`, layer by layer."""
        with self._mode("m"):
            sequence = self._tensor(x).expand(timesteps, *x.shape)
            found: Array = self.snn(sequence).mean(0).cpu().numpy()
        return found

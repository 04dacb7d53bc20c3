"""What a spiking model has to be for NIR: rate coding by neurons that send spikes of 0 and 1.

Each refusal names the layers or nodes and the option of the conversion that helps.
"""

from __future__ import annotations

from onnx2snn.errors import UnsupportedGraphError, UsageError, quoted
from onnx2snn.snn.neurons import GRADED_IF, IF, SIGNED_GRADED_IF, SIGNED_IF
from onnx2snn.snn.step_model import StepModel

OTHER_NEURONS = {
    SIGNED_IF: "spikes of both signs; convert with --neuron if",
    GRADED_IF: "spikes of several heights; convert with --levels 1",
    SIGNED_GRADED_IF: "spikes of both signs and several heights; "
    "convert with --neuron if --levels 1",
}
"""What neurons send that NIR's do not, and the option that helps."""


def check_sayable(step: StepModel) -> None:
    """Refuse a spiking model that NIR cannot say as a whole.

    Raises:
        UnsupportedGraphError: Its coding, its neurons or an analog operator has no equal there.
        UsageError: It is inlined: what NIR needs to know of the neurons is gone.
    """
    if step.coding == "differential":
        raise _refusal(
            "its spikes tell changes (differential coding), and those of NIR tell rates; "
            "convert with --coding rate"
        )
    if step.estimates:
        raise _refusal(
            "its neurons stand in front of weighted operators and send spikes of both signs; "
            "convert with --sites activations"
        )
    for op, reason in OTHER_NEURONS.items():
        layers = [entry["name"] for entry in step.metadata["neurons"] if entry["kind"] == op]
        if layers:
            raise _refusal(f"neurons {quoted(layers)} send {reason}")
    analog = step.metadata["analog"]
    if analog:
        raise _refusal(
            f"nodes {quoted(analog)} are analog: they compute real numbers at every step, "
            "between layers of neurons; put operators in their place that --strict allows"
        )
    _check_whole(step)


def _check_whole(step: StepModel) -> None:
    """Refuse a step graph whose neurons are written out."""
    present = {node.name for node in step.proto.graph.node if node.op_type == IF}
    missing = [entry["name"] for entry in step.metadata["neurons"] if entry["name"] not in present]
    if missing:
        raise UsageError(
            f"neurons {quoted(missing)} are written out, so that their initial potentials cannot "
            "be read; export the file as it was converted, without --inline"
        )


def _refusal(reason: str) -> UnsupportedGraphError:
    return UnsupportedGraphError("", "", f"the spiking model has no equal in NIR: {reason}")

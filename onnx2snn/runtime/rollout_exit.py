"""The form of a rollout that stops early: a Loop that ends when every sample's answer is stable.

The body is one time-step and the readout of it. A sample whose answer is stable (`early_exit` says
when) keeps it; the Loop ends with the last sample, or after T steps. One more output tells at
which step each sample stopped.

    best(t) = argmax of the class scores          stable(t) = [best(t) = best(t-1)] [margin(t) >= M]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from onnx2snn.aliases import Delay
from onnx2snn.errors import UsageError
from onnx2snn.protos.batch_types import BatchAxis
from onnx2snn.protos.building import ProtoBuilder
from onnx2snn.protos.specs import TensorSpec, output_specs
from onnx2snn.runtime import cut
from onnx2snn.runtime.division import model_axes
from onnx2snn.runtime.early_exit import SUM_TOLERANCE, no_classification
from onnx2snn.runtime.rollout_loop import int64, optional_input, step_nodes
from onnx2snn.runtime.unrolling import OWN, Kept, Unrolling
from onnx2snn.snn.step_model import time_varying_tensors

EXIT_STEPS = "exit_steps"
"""Name of the output that tells the step each sample stopped at, int64 [N].

The domain stands before it where the ANN has a tensor of that name.
"""

PREFIX = f"{OWN}loop/"


def unroll_exiting(unrolling: Unrolling, total: int, delay: Delay, margin: float) -> None:
    """Append steps with their readouts until all samples are stable.

    Args:
        unrolling: The graph at work; the encoder is there already.
        total: The most time-steps T, if the optional input is left out.
        delay: Steps left out of the means, a number.
        margin: M, a difference of two probabilities.

    Raises:
        UsageError: The answers are not those of one classification, or the delay is no number.
    """
    if not isinstance(delay, int):
        raise UsageError(
            f"early exit looks at the answer of every step, which a delay of {delay!r} does not "
            "have; give a number, such as --delay 0"
        )
    answers, scores = _answers(unrolling)
    build = unrolling.build
    timesteps = optional_input(unrolling, total)
    dropped = build.constant(f"{OWN}delay/number", int64(delay))
    one_step = cut.core(unrolling.step)
    unrolling.add_constants(one_step)

    body = Unrolling(unrolling.step)
    for node in step_nodes(unrolling, one_step, PREFIX, dropped):
        body.build.append(node)
    counted = _read(body, dropped)
    kept = _keep_answers(body, answers, scores, counted, margin)

    build.constants |= body.build.constants
    starts = _starts(unrolling, answers)
    carried = [_carried(name, kind, rank, starts, unrolling) for name, kind, rank in kept]
    # what the body computes under the name of an answer is not the answer yet
    fresh = {spec.name: _inner("output", spec.name) for spec in answers}
    nodes = [cut.renamed(node, fresh) for node in body.build.nodes]
    count = build.emit("Squeeze", [timesteps], f"{PREFIX}count")
    zeros = unrolling.all_zeros(unrolling.states)
    unrolling.loop(PREFIX, count, nodes, cut.carried_states(unrolling.step), zeros, carried)
    # a sample that was never stable stopped at T
    never = build.emit("Equal", [f"{PREFIX}steps/last", _zero(build)], f"{OWN}never")
    name = unrolling.own_name(EXIT_STEPS)
    build.emit("Where", [never, timesteps, f"{PREFIX}steps/last"], name)
    unrolling.more_outputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["N"]))


def _answers(unrolling: Unrolling) -> tuple[list[TensorSpec], str]:
    """Return the outputs that change with the steps, and which of them holds class scores."""
    step = unrolling.step
    changing = set(time_varying_tensors(step.proto, step.states))
    specs = [spec for spec in output_specs(step.proto) if spec.name in step.outputs]
    answers = [spec for spec in specs if spec.name in changing]
    scores = [spec.name for spec in answers if _are_scores(spec)]
    axes = model_axes(step)
    first = all(axes.of(spec.name) == BatchAxis(0) and spec.shape for spec in answers)
    if len(scores) != 1 or not first:
        raise no_classification([spec.name for spec in specs])
    return answers, scores[0]


def _are_scores(spec: TensorSpec) -> bool:
    """Return whether an output is [N, C] or [N, C, 1, ...], as declared."""
    if spec.shape is None or len(spec.shape) < 2 or spec.dtype.kind != "f":
        return False
    return spec.shape[1] != 1 and all(dim == 1 for dim in spec.shape[2:])


def _read(body: Unrolling, dropped: str) -> str:
    """Append the readout of a step, and return how many steps it counts, int64 [1]."""
    build = body.build
    one = build.constant(f"{OWN}one", int64(1))
    before = build.emit("Sub", [f"{PREFIX}iteration", dropped], f"{PREFIX}before")
    counted = build.emit("Add", [before, one], f"{PREFIX}counted")
    if not body.step.estimates:
        # mean = sum / (t - delay); what stands there during the delay is not looked at
        least = build.emit("Max", [counted, one], f"{PREFIX}counted/least")
        length = build.emit("Cast", [least], f"{PREFIX}length", to=TensorProto.FLOAT)
        body.means({state.input: state.output for state in body.states}, length)
    body.part(cut.readout(body.step))
    return counted


Entry = tuple[str, int, int]
"""What a Loop carries: its name, the type of its elements, and its rank."""


def _keep_answers(
    body: Unrolling, answers: Sequence[TensorSpec], scores: str, counted: str, margin: float
) -> list[Entry]:
    """Append what decides which samples are stable; return what the Loop carries for it."""
    build = body.build
    stopped = f"{PREFIX}stopped"
    found: list[Entry] = []
    for spec in answers:
        assert spec.shape is not None
        rank = len(spec.shape)
        column = build.constant(f"{OWN}column/{rank}", int64(-1, *[1] * (rank - 1)))
        closed = build.emit("Reshape", [stopped, column], f"{stopped}/{rank}")
        label = _inner("answer", spec.name)
        build.emit("Where", [closed, label, spec.name], f"{label}/next")
        found.append((label, helper.np_dtype_to_tensor_dtype(spec.dtype), rank))

    counts = build.emit("Greater", [counted, _zero(build)], f"{PREFIX}counts")
    best, lead = _best_and_lead(build, scores)
    unknown = build.constant(f"{OWN}unknown", int64(-1))
    known_best = build.emit("Where", [counts, best, unknown], f"{PREFIX}best/next")
    same = build.emit("Equal", [known_best, f"{PREFIX}best"], f"{PREFIX}same")
    enough = build.constant(f"{OWN}margin", np.array([margin], np.float32))
    far = build.emit("Less", [lead, enough], f"{PREFIX}near")
    clear = build.emit("Not", [far], f"{PREFIX}clear")
    steady = build.emit("And", [same, clear], f"{PREFIX}steady")
    stable = build.emit("And", [steady, counts], f"{PREFIX}stable")
    closing = build.emit("Or", [stopped, stable], f"{stopped}/next")

    # the step a sample stops at: the first one that it is stable after
    one = build.constant(f"{OWN}one", int64(1))
    now = build.emit("Add", [f"{PREFIX}iteration", one], f"{PREFIX}now")
    opened = build.emit("Equal", [f"{PREFIX}steps", _zero(build)], f"{PREFIX}opened")
    first = build.emit("And", [opened, closing], f"{PREFIX}first")
    build.emit("Where", [first, now, f"{PREFIX}steps"], f"{PREFIX}steps/next")

    open_still = build.emit("Not", [closing], f"{PREFIX}open")
    number = build.emit("Cast", [open_still], f"{PREFIX}open/number", to=TensorProto.INT32)
    most = build.emit("ReduceMax", [number], f"{PREFIX}open/any", keepdims=0)
    build.emit("Cast", [most], f"{PREFIX}goes_on", to=TensorProto.BOOL)
    found.append((stopped, TensorProto.BOOL, 1))
    found.append((f"{PREFIX}best", TensorProto.INT64, 1))
    found.append((f"{PREFIX}steps", TensorProto.INT64, 1))
    return found


def _best_and_lead(build: ProtoBuilder, scores: str) -> tuple[str, str]:
    """Append the best class, int64 [N], and the probability it leads by, float32 [N]."""
    table = build.constant(f"{OWN}table", int64(0, -1))
    flat = build.emit("Reshape", [scores, table], f"{PREFIX}scores/flat")
    real = build.emit("Cast", [flat], f"{PREFIX}scores", to=TensorProto.FLOAT)
    best = build.emit("ArgMax", [real], f"{PREFIX}scores/best", axis=1, keepdims=0)

    # scores are probabilities where none is negative and each row adds up to 1
    softmax = build.emit("Softmax", [real], f"{PREFIX}scores/softmax", axis=1)
    classes = build.constant(f"{OWN}classes", int64(1))
    sums = build.emit("ReduceSum", [real, classes], f"{PREFIX}scores/sums", keepdims=0)
    unit = build.constant(f"{OWN}unit", np.array([1], np.float32))
    apart = build.emit("Sub", [sums, unit], f"{PREFIX}scores/apart")
    distance = build.emit("Abs", [apart], f"{PREFIX}scores/distance")
    largest = build.emit("ReduceMax", [distance], f"{PREFIX}scores/largest", keepdims=0)
    tolerance = build.constant(f"{OWN}tolerance", np.array(SUM_TOLERANCE, np.float32))
    near = build.emit("Less", [largest, tolerance], f"{PREFIX}scores/near")
    least = build.emit("ReduceMin", [real], f"{PREFIX}scores/least", keepdims=0)
    nothing = build.constant(f"{OWN}nothing/float", np.array(0, np.float32))
    negative = build.emit("Less", [least, nothing], f"{PREFIX}scores/negative")
    positive = build.emit("Not", [negative], f"{PREFIX}scores/positive")
    already = build.emit("And", [near, positive], f"{PREFIX}scores/already")
    chances = build.emit("Where", [already, real, softmax], f"{PREFIX}chances")

    two = build.constant(f"{OWN}two", int64(2))
    leading = f"{PREFIX}chances/two"
    build.node("TopK", [chances, two], [leading, f"{leading}/classes"], leading, axis=1)
    signs = build.constant(f"{OWN}signs", np.array([[1], [-1]], np.float32))
    column = build.emit("MatMul", [leading, signs], f"{PREFIX}chances/lead")
    row = build.constant(f"{OWN}column/1", int64(-1))
    return best, build.emit("Reshape", [column, row], f"{PREFIX}lead")


def _starts(unrolling: Unrolling, answers: Sequence[TensorSpec]) -> dict[str, str]:
    """Return what the Loop begins with: no answer, no sample stopped."""
    build = unrolling.build
    found = {
        f"{PREFIX}stopped": build.constant(f"{OWN}none/stopped", np.array([False])),
        f"{PREFIX}best": build.constant(f"{OWN}unknown", int64(-1)),
        f"{PREFIX}steps": _zero(build),
    }
    for spec in answers:
        assert spec.shape is not None
        rank = len(spec.shape)
        nothing = np.zeros([1] * rank, spec.dtype)
        name = build.constant(f"{OWN}none/{spec.dtype}/{rank}", nothing)
        found[_inner("answer", spec.name)] = name
    return found


def _carried(name: str, kind: int, rank: int, starts: dict[str, str], unrolling: Unrolling) -> Kept:
    """Return an entry of the Loop; the last answers are the outputs of the rollout."""
    own = {_inner("answer", output): output for output in unrolling.step.outputs}
    return Kept(name, f"{name}/next", starts[name], kind, rank, own.get(name, f"{name}/last"))


def _inner(kind: str, name: str) -> str:
    return f"{PREFIX}{kind}/{name}"


def _zero(build: ProtoBuilder) -> str:
    return build.constant(f"{OWN}nothing", int64(0))

"""Chains in the order of convolutions, against stock onnxruntime and against NumPy."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

import onnx2snn
from onnx2snn import SpikingSession
from onnx2snn.runtime import blocks, chain_programs
from onnx2snn.runtime.blocked_chains import turned_map
from onnx2snn.runtime.blocks import block_size, optimised, with_blocks
from onnx2snn.runtime.chains import KERNELS_DOMAIN, with_chains
from onnx2snn.runtime.grouping import Item, grouped
from onnx2snn.runtime.rollout_plain import written_out
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.snn.step_model import read_step_model

Array = NDArray[Any]
CHANNELS = 16
CODINGS: dict[str, dict[str, Any]] = {
    "differential": {"preset": "differential"},
    "rate": {"preset": "paper", "method": "max"},
}

needs_blocks = pytest.mark.skipif(
    block_size() is None, reason="onnxruntime's convolutions have no blocks on this processor"
)


def _network() -> onnx.ModelProto:
    """Return a network of whole blocks, with a shortcut and a part in the plain order.

    Input [batch, 3, 8, 8].
    """
    b = Builder(0, np.float32)
    x = b.input("input", ["batch", 3, 8, 8])
    x = b.node("Relu", b.conv(x, 3, CHANNELS), name="stem")
    y = b.node("Relu", b.conv(x, CHANNELS, CHANNELS), name="a")
    x = b.node("Relu", b.node("Add", b.conv(y, CHANNELS, CHANNELS), x), name="b")
    x = b.node("Relu", b.conv(x, CHANNELS, CHANNELS), name="c")
    even = b.node("Slice", x, *(b.const([n], np.int64) for n in (0, 8, 2, 2)))
    x = b.node("Relu", b.conv(even, CHANNELS, 2 * CHANNELS), name="d")
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 2 * CHANNELS, 5), "logits")
    return b.model({"logits": ["batch", 5]})


def _samples(count: int) -> Array:
    return np.random.default_rng(count).normal(0, 1, [count, 3, 8, 8]).astype(np.float32)


@pytest.fixture(scope="module", params=list(CODINGS))
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return onnx2snn.convert(_network(), _samples(20), threads=1, **CODINGS[request.param]).model


@needs_blocks
@pytest.mark.parametrize("schedule", ["auto", "batched", "stepped"])
@pytest.mark.parametrize("timesteps", [1, 3, 9])
def test_answers_are_those_of_stock_operators(
    library: str, model: onnx.ModelProto, schedule: Any, timesteps: int
) -> None:
    x = _samples(3)
    found = []
    for kernels in (False, True):
        session = SpikingSession(model, threads=1, schedule=schedule, kernels=kernels)
        found.append(session.run(None, {"input": x}, timesteps, 0)[0])
        # states come in the plain order, and full
        found.append(session.run(None, {"input": x}, 2, 0, reset=False)[0])
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[3], found[1], rtol=1e-5, atol=1e-5)


@needs_blocks
@pytest.mark.parametrize("form", ["whole", "batched"])
def test_maps_are_turned_around_no_chain_between_convolutions(
    library: str, model: onnx.ModelProto, form: str
) -> None:
    step = read_step_model(model, "the model")
    if form == "whole":
        made = written_out(step, 2, 0)
    else:
        core = batched_core(step, joined=True)
        assert not isinstance(core, str)
        made = core
    chained = with_chains(made)
    before = Counter(node.op_type for node in optimised(chained, library).graph.node)
    blocked = with_blocks(chained, library)
    assert blocked is not None
    after = Counter(node.op_type for node in blocked.graph.node)
    # of many time-steps: what is not between two convolutions is better off in the plain order
    assert after["BlockedChain"] >= 2
    assert after["ReorderInput"] <= before["ReorderInput"] / 2


def test_a_layer_over_time_is_one_chain(library: str, model: onnx.ModelProto) -> None:
    step = read_step_model(model, "the model")
    counts = []
    for joined in (False, True):
        core = batched_core(step, joined=joined)
        assert not isinstance(core, str)
        chained = with_chains(core)
        counts.append(sum(node.domain == KERNELS_DOMAIN for node in chained.graph.node))
    assert counts[1] <= counts[0]
    # beside the neurons the time-step is counted, and the outputs summed up
    assert counts[1] <= len(step.metadata["neurons"]) + 4


def test_what_is_no_chain_as_a_whole_is_stepped_layer_by_layer(
    library: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = _samples(2)
    (expected,) = SpikingSession(model, threads=1).run(None, {"input": x}, 9, 0)
    monkeypatch.setattr(chain_programs, "MOST_REGISTERS", 8)
    session = SpikingSession(model, threads=1, schedule="batched", kernels=True)
    (got,) = session.run(None, {"input": x}, 9, 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_large_models_are_left_in_the_plain_order(
    library: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    chained = with_chains(written_out(read_step_model(model, "the model"), 1, 0))
    monkeypatch.setattr(blocks, "LARGEST", 100)
    assert with_blocks(chained, library) is None


def test_where_blocks_cannot_be_seen_maps_stay_in_the_plain_order(
    library: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    chained = with_chains(written_out(read_step_model(model, "the model"), 1, 0))
    # what onnxruntime cannot optimise and write out
    assert with_blocks(chained, "no library") is None
    # a processor without blocks
    monkeypatch.setattr(blocks, "block_size", lambda: None)
    assert with_blocks(chained, library) is None


@needs_blocks
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_sums_of_any_shapes_in_blocks_are_those_of_numpy(library: str, data: st.DataObject) -> None:
    block = block_size()
    assert block is not None
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    samples, groups = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    height, width = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    steps = data.draw(st.integers(1, 3))
    channels = groups * block
    full = [samples, channels, height, width]
    kinds = {
        "map": full,
        "of a sample": [1, channels, height, width],
        "a channel": [1, channels, 1, 1],
        "a channel of a sample": [samples, channels, 1, 1],
        "a pixel": [1, 1, height, width],
        "a column": [width],
        "one": [1],
    }
    chosen = data.draw(st.lists(st.sampled_from(list(kinds)), min_size=1, max_size=4))

    def drawn(shape: list[int]) -> Array:
        return random.normal(size=shape).astype(np.float32)

    state = drawn(data.draw(st.sampled_from([full, [1, 1, 1, 1]])))
    x = drawn([steps, *full])
    others = [drawn(kinds[kind]) for kind in chosen]
    turned = [data.draw(st.booleans()) for _ in others]

    # in each step the state is added to, and so are all others: y = state = state + x + others
    count = 2 + len(others)
    program: list[int] = [1, count, 0, 1, 0]
    for place in range(len(others)):
        program += [1, count + place + 1, count + place, 2 + place, 0]
    last = count + len(others)
    attributes: dict[str, Any] = {"program": program, "registers": last + 1, "timed": 1}
    attributes |= {"states": [0, last]}
    attributes |= {"input_kinds": [2, 1, *[0] * len(others)], "results": [last, 0, last, 1]}
    attributes |= {"block": block, "turned": [1, 0, *map(int, turned)]}
    names = [f"x{place}" for place in range(count)]
    node = helper.make_node(
        "BlockedChain", [*names, "ticks"], ["y", "after"], domain=KERNELS_DOMAIN, **attributes
    )
    given_others = []
    for value, plain in zip(others, turned, strict=True):
        is_map = value.ndim == 4 and value.shape[1] == channels
        given_others.append(turned_map(value, block) if is_map and not plain else value)
    feed = [state, turned_map(x, block), *given_others, np.zeros(steps, np.float32)]
    y, after = _computed(node, [*names, "ticks"], feed, library)

    expected = []
    for now in x:
        state = state + now
        for value in others:
            state = state + value
        expected.append(state)
    np.testing.assert_allclose(y, turned_map(np.stack(expected), block), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(after, turned_map(expected[-1], block), rtol=1e-6, atol=1e-6)


def _computed(
    node: onnx.NodeProto, names: list[str], values: list[Array], library: str
) -> list[Array]:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape))
        for name, value in zip(names, values, strict=True)
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
    graph = helper.make_graph([node], "chain", inputs, outputs)
    domains = [helper.make_opsetid("", 18), helper.make_opsetid(KERNELS_DOMAIN, 1)]
    made = helper.make_model(graph, opset_imports=domains, ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(made.SerializeToString(), options)
    return list(session.run(None, dict(zip(names, values, strict=True))))


@pytest.mark.parametrize(
    ("changed", "shape", "why"),
    [
        ({"block": 0}, [1, 8, 2, 2], "a block, and a number for each input"),
        ({"turned": [0]}, [1, 8, 2, 2], "a block, and a number for each input"),
        ({}, [1, 12, 2, 2], "no whole blocks"),
        ({}, [1] * 8, "more than 7 axes"),
    ],
)
def test_a_chain_in_blocks_that_is_none_is_refused(
    library: str, changed: dict[str, Any], shape: list[int], why: str
) -> None:
    attributes: dict[str, Any] = {"program": [1, 2, 0, 1, 0], "registers": 3, "input_kinds": [0, 0]}
    attributes |= {"results": [2, 0], "timed": 0, "block": 8, "turned": [0, 0]} | changed
    node = helper.make_node("BlockedChain", ["a", "b"], ["y"], domain=KERNELS_DOMAIN, **attributes)
    value = np.zeros(shape, np.float32)
    with pytest.raises(Exception, match=why):
        _computed(node, ["a", "b"], [value, value], library)


@needs_blocks
def test_blocks_are_those_of_convolutions() -> None:
    # a convolution of one pixel with the identity hands on what it is given
    block = block_size()
    assert block is not None
    x = np.random.default_rng(0).normal(0, 1, [1, 2 * block, 3, 5]).astype(np.float32)
    weights = np.eye(2 * block, dtype=np.float32).reshape(2 * block, 2 * block, 1, 1)
    b = Builder(0, np.float32)
    name = b.input("input", list(x.shape))
    b.name_output(b.node("Conv", b.node("Conv", name, b.const(weights)), b.const(weights)), "y")
    model = b.model({"y": list(x.shape)})
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    np.testing.assert_array_equal(y, x)
    assert turned_map(x, block).flat[1] == x[0, 1, 0, 0]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_groups_come_in_an_order_in_which_all_can_be_computed(data: st.DataObject) -> None:
    items: list[Item] = []
    for place in range(data.draw(st.integers(1, 12))):
        sources = st.sets(st.integers(-2, place - 1), max_size=3)
        taken = [f"t{source}" for source in sorted(data.draw(sources))]
        items.append(Item(taken, [f"t{place}"], data.draw(st.booleans())))
    known = {"t-1", "t-2"}
    seen: list[int] = []
    for places in grouped(items):
        own = {f"t{place}" for place in places}
        for place in places:
            assert known | own >= set(items[place].taken)
            assert items[place].joins or len(places) == 1
        known |= own
        seen += places
    assert sorted(seen) == list(range(len(items)))

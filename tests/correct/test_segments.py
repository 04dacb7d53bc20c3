"""Behaviour of onnx2snn.correct.segments: the segments between neuron sites make up the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS
from helpers.stages import (
    Staged,
    feed_for,
    network,
    random_networks,
    relative,
    samples,
    stable,
    staged,
)
from hypothesis import assume, given

from onnx2snn.correct.segments import segment_model, segments
from onnx2snn.graph.editing import to_proto


def tensors_of(
    model: onnx.ModelProto, names: list[str], feed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Inner tensors of a model, computed by onnxruntime with all of them as outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def check_segments(model: Staged, feed: dict[str, np.ndarray]) -> None:
    layers = segments(model.arranged, model.parts)
    names = [n for p in layers for n in (*p.takes, *p.tensors, *(r.x for r in p.responses))]
    whole = tensors_of(to_proto(model.arranged), names, feed)
    for segment in layers:
        wanted = [name for name in segment.tensors if name not in segment.takes]
        if not wanted:
            continue
        session = ort.InferenceSession(
            segment_model(model.arranged, segment, wanted).SerializeToString(),
            providers=["CPUExecutionProvider"],
        )
        taken = {i.name for i in session.get_inputs()}
        assert taken <= {*segment.takes, *feed}
        found = session.run(None, {k: v for k, v in (feed | whole).items() if k in taken})
        for name, value in zip(wanted, found, strict=True):
            assert relative(value, whole[name]) < 1e-5, name


@pytest.mark.parametrize("name", NETWORKS)
def test_segments_compute_what_the_network_computes(name: str) -> None:
    check_segments(network(name), samples(name, 3))


@given(random_networks())
@stable(40)
def test_segments_of_random_networks_compute_what_the_network_computes(
    model: onnx.ModelProto,
) -> None:
    made = staged(model)
    assume(made.parts.sites and not made.parts.names("refused"))
    check_segments(made, feed_for(model))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_segment_without_pools_and_telescoped_operators_is_affine(name: str) -> None:
    """So the current of a sum of spikes is the sum of their currents."""
    model = network(name)
    feed = samples(name, 2)
    layers = segments(model.arranged, model.parts)
    whole = tensors_of(
        to_proto(model.arranged), [n for segment in layers for n in segment.takes], feed
    )
    nodes = {node.outputs[0].name: node for node in model.arranged.nodes}
    rng = np.random.default_rng(0)
    for segment in layers:
        if segment.current is None or not segment.takes:
            continue
        if nodes[segment.current].op in ("MaxPool", "GlobalMaxPool"):
            assert segment.pools
        if segment.analog or segment.pools:
            continue
        proto = segment_model(model.arranged, segment, [segment.current])
        session = ort.InferenceSession(
            proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        taken = {i.name for i in session.get_inputs()}

        def current(
            sites: dict[str, np.ndarray],
            run: ort.InferenceSession = session,
            names: set[str] = taken,
        ) -> Any:
            return run.run(None, {k: v for k, v in (feed | sites).items() if k in names})[0]

        one, two = (
            {n: rng.random(whole[n].shape).astype(np.float32) for n in segment.takes}
            for _ in range(2)
        )
        both = {n: one[n] + two[n] for n in segment.takes}
        none = {n: np.zeros_like(one[n]) for n in segment.takes}
        assert relative(current(one) + current(two) - current(none), current(both)) < 1e-4, (
            segment.current
        )


def test_one_segment_a_site_and_the_readout_last() -> None:
    model = network("resnet")
    layers = segments(model.arranged, model.parts)
    assert [p.site for p in layers] == [*model.parts.sites, None]
    assert layers[-1].current is None


def test_the_last_weights_before_a_sum_answer_for_all_of_it() -> None:
    model = network("resnet")
    by_output = {t.name: node.op for node in model.arranged.nodes for t in node.outputs}
    sums = [
        r.y
        for p in segments(model.arranged, model.parts)
        for r in p.responses
        if by_output[r.y] == "Add"
    ]
    assert sums
    assert len(sums) == len(set(sums))

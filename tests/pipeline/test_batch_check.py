"""Networks without a batch axis take a sample at a time, and are never shuffled along axis 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnx2snn import SpikingSession, convert, evaluate
from onnx2snn.cli.commands import main
from onnx2snn.errors import DataError
from onnx2snn.pipeline.convert import Conversion, run_conversion
from onnx2snn.pipeline.inspection import inspect
from onnx2snn.protos.specs import value_spec
from onnx2snn.protos.unbatched import unbatched_names, with_batch
from onnx2snn.settings import Settings

Array = NDArray[Any]
QUICK = Settings(method="max", timesteps=4, threads=1)


def data_of(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def weights(b: Builder, *shape: int) -> str:
    return b.const(b.rng.standard_normal(shape) / 2)


def image(b: Builder) -> str:
    """[3,8,8], one image."""
    x = b.node("Unsqueeze", b.input("x", [3, 8, 8]), b.const([0], np.int64))
    return b.conv(b.node("Relu", b.conv(x, 3, 6)), 6, 3)


def vector(b: Builder) -> str:
    """[6], the features of one sample."""
    h = b.node("Relu", b.node("MatMul", b.input("x", [6]), weights(b, 6, 8)))
    return b.node("MatMul", h, weights(b, 8, 4))


def sequence(b: Builder) -> str:
    """[7,1,5], time-steps first."""
    x = b.input("x", [7, 1, 5])
    h = b.node("RNN", x, weights(b, 1, 6, 5), weights(b, 1, 6, 6), hidden_size=6)
    h = b.node("MatMul", b.node("Squeeze", h, b.const([1], np.int64)), weights(b, 6, 8))
    return b.node("MatMul", b.node("Relu", h), weights(b, 8, 3))


def points(b: Builder) -> str:
    """[20,3], the points of one cloud."""
    h = b.node("Relu", b.node("MatMul", b.input("x", [20, 3]), weights(b, 3, 8)))
    h = b.node("ReduceMax", h, b.const([0], np.int64))
    h = b.node("Relu", b.node("MatMul", h, weights(b, 8, 8)))
    return b.node("MatMul", h, weights(b, 8, 4))


Network = Callable[[Builder], str]
SHAPES: dict[Network, tuple[int, ...]] = {
    image: (3, 8, 8),
    vector: (6,),
    sequence: (7, 1, 5),
    points: (20, 3),
}
OUTPUTS: dict[Network, list[int]] = {
    image: [1, 3, 8, 8],
    vector: [4],
    sequence: [7, 1, 3],
    points: [1, 4],
}


def model_of(network: Network) -> onnx.ModelProto:
    b = Builder()
    return b.model({b.name_output(network(b), "y"): OUTPUTS[network]})


def batched(network: Network) -> onnx.ModelProto:
    """The same network for a batch of one sample."""
    return with_batch(model_of(network), unbatched_names(model_of(network)))


def thresholds(conversion: Conversion) -> list[Array]:
    return [np.array(site["threshold"]["median"]) for site in conversion.report.sites]


@pytest.mark.parametrize("coding", ["rate", "differential"])
@pytest.mark.parametrize("network", list(SHAPES))
def test_each_sample_of_a_network_without_a_batch_axis_is_a_run_of_its_own(
    network: Network, coding: str
) -> None:
    settings = replace(QUICK, coding=coding, method="max" if coding == "rate" else None)
    data = data_of(12, *SHAPES[network])
    expected = run_conversion(batched(network), data, settings)
    sources: list[object] = [list(data), data, {"x": data}]
    for source in sources:
        found = run_conversion(model_of(network), source, settings)
        np.testing.assert_array_equal(thresholds(found), thresholds(expected))
        assert found.report.agreement == expected.report.agreement
    inputs, outputs = found.model.graph.input, found.model.graph.output
    assert value_spec(inputs[0]).shape == SHAPES[network]
    assert value_spec(outputs[0]).shape == tuple(OUTPUTS[network])


@pytest.mark.parametrize("network", list(SHAPES))
def test_run_and_eval_take_a_sample_at_a_time(network: Network, tmp_path: Path) -> None:
    data = data_of(12, *SHAPES[network])
    ann = model_of(network)
    snn = run_conversion(ann, data, QUICK).model
    reference = ReferenceEvaluator(ann)
    answers = []
    for sample in data:
        (answer,) = reference.run(None, {"x": sample})
        answers.append(np.asarray(answer))
    expected = np.stack(answers)
    for path, model in (("ann.onnx", ann), ("snn.onnx", snn)):
        onnx.save(model, tmp_path / path)
    np.save(tmp_path / "x.npy", data)
    paths = [str(tmp_path / name) for name in ("snn.onnx", "x.npy", "y.npz")]
    command = ["run", paths[0], "--inputs", paths[1], "-o", paths[2], "--quiet"]
    assert main([*command, "--timesteps", "128"]) == 0
    found = np.load(paths[2])["y"]
    assert len(found) == len(data)
    error = np.linalg.norm(found.ravel() - expected.ravel()) / np.linalg.norm(expected)
    assert error < 0.1
    labels = expected.reshape(found.shape)
    scored = evaluate(ann, snn, {"x": data, "labels": labels}, timesteps=[128], metric="mse")
    assert scored["samples"] == len(data)
    assert scored["ann"]["mse"] < 1e-9


@pytest.mark.filterwarnings("ignore:agreement with the ANN")
def test_pages_show_a_network_without_a_batch_axis(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    data = data_of(12, 3, 8, 8)
    ann = model_of(image)
    convert(ann, data, method="max", coding="rate", timesteps=4, threads=1, html=page)
    assert page.stat().st_size > 0


def cloud(batch: list[str]) -> onnx.ModelProto:
    """Points as above, with a batch axis or without."""
    b = Builder()
    h = b.node("Relu", b.node("MatMul", b.input("x", [*batch, 20, 3]), weights(b, 3, 8)))
    h = b.node("Relu", b.node("MatMul", h, weights(b, 8, 8)))
    h = b.node("ReduceMean", h, b.const([len(batch)], np.int64), keepdims=0)
    return b.model({b.name_output(b.node("MatMul", h, weights(b, 8, 4)), "y"): [*batch, 4]})


@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_energy_is_that_of_the_same_network_with_a_batch_axis(
    coding: Literal["rate", "differential"],
) -> None:
    data = data_of(12, 20, 3)
    results = []
    for batch in ([], ["N"]):
        ann = cloud(batch)
        made = convert(ann, data, coding=coding, timesteps=4, threads=1)
        result = evaluate(ann, made.model, data, timesteps=[4], threads=1)
        row = result["snn"][0]
        results.append([made.report.snn["neurons"], row["sops"], result["energy"]["ann"]["flops"]])
    np.testing.assert_allclose(results[0], results[1], rtol=0.02)


@pytest.mark.parametrize("network", list(SHAPES))
def test_a_network_without_a_batch_axis_converts_without_data(network: Network) -> None:
    made = run_conversion(model_of(network), None, Settings(timesteps=4, threads=1)).model
    session = SpikingSession(made)
    (answer,) = session.run(None, {"x": data_of(*SHAPES[network])})
    assert list(answer.shape) == OUTPUTS[network]
    assert inspect(made)["kind"] == "snn"
    assert inspect(model_of(network))["convertible"]


def test_rows_of_a_network_that_may_be_samples_are_asked_about() -> None:
    b = Builder()
    y = b.gemm(b.node("Relu", b.gemm(b.input("x", [3, 8]), 8, 6)), 6, 4)
    proto = b.model({b.name_output(y, "y"): [3, 4]})
    with pytest.raises(DataError, match=r"an axis more than the \[3,8\].* give \[N,8\]"):
        run_conversion(proto, data_of(12, 3, 8), QUICK)
    run_conversion(proto, list(data_of(12, 3, 8)), QUICK)


def test_a_sequence_with_a_named_first_axis_is_one_sample_where_data_have_an_axis_more() -> None:
    def attention(batch: list[Any]) -> onnx.ModelProto:
        b = Builder()
        h = b.node("MatMul", b.input("x", [*batch, "L", 6]), weights(b, 6, 8))
        turned = b.node("Transpose", h, perm=[0, 2, 1] if batch else [1, 0])
        h = b.node("MatMul", b.node("Softmax", b.node("MatMul", h, turned)), h)
        h = b.node("Relu", b.node("MatMul", h, weights(b, 8, 8)))
        y = b.node("MatMul", h, weights(b, 8, 3))
        return b.model({b.name_output(y, "y"): [*batch, "L", 3]})

    data = data_of(12, 5, 6)
    settings = replace(QUICK, coding="rate")
    found = run_conversion(attention([]), data, settings)
    expected = run_conversion(attention(["N"]), data, settings)
    np.testing.assert_allclose(thresholds(found), thresholds(expected), rtol=1e-5)


def test_data_that_are_no_samples_of_it_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[36,8,8\].* one array \[N,3,8,8\]"):
        run_conversion(model_of(image), data_of(36, 8, 8), QUICK)
    with pytest.raises(DataError, match="give them in one array"):
        run_conversion(model_of(points), iter(data_of(12, 20, 3)), QUICK)


def test_a_sample_without_a_batch_axis_is_asked_for_one() -> None:
    b = Builder()
    h = b.node("Relu", b.conv(b.input("x", ["N", 3, 8, 8]), 3, 6))
    proto = b.model({b.name_output(b.conv(h, 6, 3), "y"): ["N", 3, 8, 8]})
    for source in (data_of(3, 8, 8), list(data_of(12, 3, 8, 8))):
        with pytest.raises(DataError, match=r"a sample without a batch axis.* `x\[None\]`"):
            run_conversion(proto, source, QUICK)


@pytest.mark.parametrize("batch", [4, "N"])
def test_operators_that_nobody_knows_are_no_sign_of_a_missing_batch_axis(batch: Any) -> None:
    b = Builder()
    h = b.gemm(b.input("x", [batch, 6]), 6, 8)
    h = b.node("Einsum", b.node("Relu", h), weights(b, 8, 8), equation="nc,ck->kn")
    h = b.node("Relu", b.node("MatMul", weights(b, 5, 8), h))
    y = b.node("MatMul", weights(b, 4, 5), h)
    proto = b.model({b.name_output(y, "y"): [4, batch]})
    run_conversion(proto, data_of(12, 6), QUICK)

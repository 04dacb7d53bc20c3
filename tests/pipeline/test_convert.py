"""Behaviour of convert.

What it takes, what it returns, what it repeats, and what memory it needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, mlp, resnet
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnx2snn
from onnx2snn import (
    DataError,
    GateError,
    OutputError,
    SpikingSession,
    UnsupportedGraphError,
    UsageError,
    convert,
    script,
)
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos import large
from onnx2snn.settings import Settings

Array = NDArray[Any]
FAST: dict[str, Any] = {"iterations": 150, "batch_size": 50}


def metadata(model: onnx.ModelProto) -> dict[str, Any]:
    (text,) = (p.value for p in model.metadata_props if p.key == "onnx2snn")
    found: dict[str, Any] = json.loads(text)
    return found


# --- what it takes ---


@pytest.mark.parametrize("given", ["path", "string", "bytes", "proto"])
def test_a_model_is_given_as_path_bytes_or_proto(given: str, tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path)
    source: Any = {"path": path, "string": str(path), "bytes": path.read_bytes(), "proto": mlp()}[
        given
    ]
    found = convert(source, inputs_for("mlp", 200), **FAST)
    assert found.to_bytes() == convert(mlp(), inputs_for("mlp", 200), **FAST).to_bytes()


@pytest.mark.parametrize("given", ["array", "dict", "batches", "npy", "npz", "folder", "script"])
def test_every_form_of_the_same_data_gives_the_same_model(given: str, tmp_path: Path) -> None:
    x = inputs_for("mlp", 200)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", input=x)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "0.npy", x[:120])
    np.save(tmp_path / "folder" / "1.npy", x[120:])
    path = str(tmp_path / "x.npy")
    code = f"import numpy as np\ndef data():\n    yield {{'input': np.load({path!r})}}\n"
    (tmp_path / "script.py").write_text(code)

    def batches() -> Iterator[dict[str, Array]]:
        for start in range(0, 200, 80):
            yield {"input": x[start : start + 80]}

    sources: dict[str, Any] = {
        "array": x,
        "dict": {"input": x},
        "batches": batches(),
        "npy": tmp_path / "x.npy",
        "npz": str(tmp_path / "x.npz"),
        "folder": tmp_path / "folder",
        "script": script(f"{tmp_path / 'script.py'}:data"),
    }
    assert convert(mlp(), sources[given], **FAST).to_bytes() == convert(mlp(), x, **FAST).to_bytes()


def test_without_data_it_warns_once_and_says_so_in_the_model() -> None:
    with pytest.warns(
        UserWarning, match="no calibration data.*64 random inputs.*--calibration"
    ) as caught:
        conversion = convert(mlp())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert conversion.report.calibrated is False
    assert conversion.report.warnings == [str(caught[0].message)]
    assert metadata(conversion.model)["calibrated"] is False
    assert metadata(conversion.model)["settings"]["method"] == "max"


def test_with_data_it_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conversion = convert(mlp(), inputs_for("mlp", 200), **FAST)
    assert conversion.report.warnings == []
    assert conversion.report.calibrated is True
    assert metadata(conversion.model)["settings"]["method"] == "local"


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"timestep": 8}, UsageError, "no option 'timestep'; the options are .*timesteps"),
        (
            {"method": "local", "calibration": None},
            UsageError,
            "method 'local' needs calibration data",
        ),
        (
            {"method": "percentile", "calibration": None},
            UsageError,
            "method 'percentile' needs calibration data",
        ),
        ({"timesteps": 0}, UsageError, "timesteps is 0"),
        ({"calibration": inputs_for("mlp", 20)[:, :9]}, DataError, r"\[20,9\]"),
        ({"calibration": {"image": inputs_for("mlp", 20)}}, DataError, "'image'"),
        ({"calibration": 5}, DataError, "int"),
        (
            {"timesteps": 1, "max_drop": 1, "method": "max"},
            GateError,
            "agreement with the ANN is .*--max-drop 1",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    given = {"calibration": inputs_for("mlp", 200)} | options
    with pytest.raises(error, match=named):
        convert(mlp(), given.pop("calibration"), **given)


def test_a_spiking_model_is_not_converted_again() -> None:
    snn = convert(mlp(), inputs_for("mlp", 200), **FAST)
    for source in (snn.model, snn.to_bytes()):
        with pytest.raises(UsageError, match="is a spiking model already"):
            convert(source, inputs_for("mlp", 20))


def between_neurons(op: str) -> onnx.ModelProto:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8), name="h1")
    x = b.node(op, b.gemm(x, 8, 8), name="culprit")
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8), name="h2"), 8, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def test_a_refusal_names_node_operator_and_reason() -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        convert(between_neurons("RandomNormalLike"), inputs_for("mlp", 20))
    assert (caught.value.node, caught.value.op) == ("culprit", "RandomNormalLike")
    assert caught.value.reason in str(caught.value)


def test_strict_conversions_hold_no_analog_operator() -> None:
    x = inputs_for("mlp", 20)
    with pytest.raises(
        GateError, match=r"node 'culprit' \(Softplus\) would be analog .* which --strict forbids"
    ):
        convert(between_neurons("Softplus"), x, preset="paper", strict=True)
    conversion = convert(between_neurons("Softplus"), x, preset="paper", method="max")
    assert metadata(conversion.model)["analog"] == conversion.report.analog == ["culprit"]
    spiking = convert(between_neurons("LeakyRelu"), x, method="max", strict=True)
    assert metadata(spiking.model)["analog"] == spiking.report.analog == []


def embedding() -> onnx.ModelProto:
    """An MLP on the embedding of a token, of which there are 20."""
    b = Builder()
    tokens = b.input("tokens", ["batch"], np.int64)
    x = b.node("Gather", b.const(b.rng.standard_normal((20, 10))), tokens)
    x = b.node("Relu", b.gemm(x, 10, 16), name="h1")
    x = b.node("Relu", b.gemm(x, 16, 12), name="h2")
    b.name_output(b.gemm(x, 12, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def test_data_the_network_cannot_compute_with_is_a_data_error() -> None:
    tokens = np.arange(400) % 20
    tokens[333] = 20
    with pytest.raises(
        DataError, match=r"cannot be computed on this data .*it takes tokens int64\[batch\]"
    ):
        convert(embedding(), tokens, method="max")


def test_integer_inputs_are_converted() -> None:
    tokens = np.arange(400) % 20
    conversion = convert(embedding(), tokens, **FAST)
    assert conversion.report.agreement["value"] >= 0.9
    (found,) = SpikingSession(conversion.model).run(None, {"tokens": tokens[:20]})
    (wanted,) = ort.InferenceSession(embedding().SerializeToString()).run(
        None, {"tokens": tokens[:20]}
    )
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) >= 0.9


def test_progress_is_told_to_the_end() -> None:
    said: list[tuple[str, int, int]] = []
    convert(mlp(), inputs_for("mlp", 200), progress=lambda *told: said.append(told), **FAST)
    assert said == [("local threshold balancing", done, 150) for done in range(1, 151)]


# --- what it returns ---


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("method", "granularity"),
    [("local", "channel"), ("local", "layer"), ("percentile", "channel"), ("max", "layer")],
)
def test_every_method_agrees_with_the_ann(name: str, method: str, granularity: str) -> None:
    options: dict[str, Any] = {"method": method, "granularity": granularity, "percentile": 99.9}
    conversion = run_conversion(
        NETWORKS[name](), inputs_for(name, 200), Settings(timesteps=96, delay=32, **FAST, **options)
    )
    onnx.checker.check_model(conversion.model)
    assert conversion.report.agreement["value"] >= 0.8
    assert metadata(conversion.model)["settings"]["method"] == method


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_and_outputs_are_the_anns(name: str) -> None:
    ann = NETWORKS[name]()
    snn = run_conversion(ann, inputs_for(name, 20), Settings(method="max", timesteps=2)).model
    states = metadata(snn)["states"]
    assert list(snn.graph.input)[: len(ann.graph.input)] == list(ann.graph.input)
    assert list(snn.graph.output)[: len(ann.graph.output)] == list(ann.graph.output)
    assert [v.name for v in snn.graph.input][1:] == [s["input"] for s in states]
    assert [v.name for v in snn.graph.output][1:] == [s["output"] for s in states]
    assert not {t.name for t in snn.graph.initializer} & {v.name for v in snn.graph.input}


def test_saving_writes_the_bytes_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = convert(mlp(), inputs_for("mlp", 200), **FAST)
    target = tmp_path / "out.snn.onnx"
    for path in (target, str(target)):
        conversion.save(path)
        assert target.read_bytes() == conversion.to_bytes()
        assert onnx.load(target) == conversion.model
    monkeypatch.setattr(onnx2snn.Conversion, "to_bytes", lambda _: b"other")
    monkeypatch.setattr(
        Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OutputError, match="No space left on device"):
        conversion.save(target)
    monkeypatch.undo()
    assert target.read_bytes() == conversion.to_bytes()
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["missing/out.onnx", "."])
def test_saving_where_nothing_can_be_written_is_an_output_error(name: str, tmp_path: Path) -> None:
    conversion = convert(mlp(), inputs_for("mlp", 200), **FAST)
    with pytest.raises(OutputError):
        conversion.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_everything_public_can_be_imported() -> None:
    for name in onnx2snn.__all__:
        assert getattr(onnx2snn, name) is not None
    assert set(onnx2snn.__all__) <= set(dir(onnx2snn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = onnx2snn.nothing


# --- what it repeats ---


def scales(model: onnx.ModelProto) -> Array:
    nodes = [n for n in model.graph.node if n.op_type == "IF"]
    return np.concatenate(
        [
            numpy_helper.to_array(a.t).ravel()
            for n in nodes
            for a in n.attribute
            if a.name == "scale"
        ]
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_two_conversions_are_byte_identical(name: str) -> None:
    one, other = (
        run_conversion(
            NETWORKS[name](), inputs_for(name, 120), Settings(iterations=40, batch_size=20, seed=3)
        )
        for _ in range(2)
    )
    assert one.to_bytes() == other.to_bytes()
    different = {"seconds", "cost"}
    reports = (
        {k: v for k, v in c.report.to_dict().items() if k not in different} for c in (one, other)
    )
    assert next(reports) == next(reports)


def test_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 120))
    arguments = [
        "mlp.onnx",
        "-o",
        "out.onnx",
        "--calibration",
        "x.npy",
        "--iterations",
        "40",
        "--quiet",
    ]
    subprocess.run([sys.executable, "-m", "onnx2snn", *arguments], cwd=tmp_path, check=True)
    here = run_conversion(tmp_path / "mlp.onnx", inputs_for("mlp", 120), Settings(iterations=40))
    assert (tmp_path / "out.onnx").read_bytes() == here.to_bytes()


@pytest.mark.parametrize("change", ["seed", "samples", "iterations", "batch size"])
def test_other_choices_change_the_thresholds(change: str) -> None:
    settings: dict[str, Any] = {"iterations": 20, "batch_size": 20, "seed": 0}
    first = run_conversion(resnet(), inputs_for("resnet", 120), Settings(**settings))
    changes: dict[str, dict[str, Any]] = {"seed": {"seed": 1}, "iterations": {"iterations": 21}}
    changes["batch size"] = {"batch_size": 19}
    data = inputs_for("resnet", 120, seed=8 if change == "samples" else 1)
    other = run_conversion(resnet(), data, Settings(**(settings | changes.get(change, {}))))
    assert not np.array_equal(scales(first.model), scales(other.model))
    np.testing.assert_allclose(
        scales(first.model), scales(other.model), rtol=0.5, atol=0.3
    )  # but not beyond measure


def test_samples_held_back_are_not_fitted_on() -> None:
    x = inputs_for("mlp", 50)
    held = np.random.default_rng(0).permutation(50)[:5]
    x[held] *= 100  # had they been seen, the maxima would show it
    conversion = run_conversion(mlp(), x, Settings(method="max"))
    seen = np.delete(x, held, axis=0)
    values = {t.name: numpy_helper.to_array(t) for t in mlp().graph.initializer}
    tops = np.maximum(seen @ values["c0"].T + values["c1"], 0).max(axis=0)
    np.testing.assert_allclose(
        scales(conversion.model)[:16],
        np.where(tops > 0, tops, np.median(tops[tops > 0])),
        rtol=1e-5,
    )


# --- a fixed batch ---


@pytest.mark.parametrize("batch", [1, 3])
def test_a_model_of_fixed_batch_is_calibrated_on_many_samples(batch: int) -> None:
    x = inputs_for("resnet", 100)  # 100 is no multiple of 3
    fixed, free = (
        run_conversion(resnet(batch=size), x, Settings(method="max")) for size in (batch, "batch")
    )
    np.testing.assert_allclose(scales(fixed.model), scales(free.model), rtol=1e-5)
    assert fixed.report.agreement["samples"] == free.report.agreement["samples"] == 10
    (found,) = SpikingSession(fixed.model).run(None, {"input": x[:batch]})
    (wanted,) = SpikingSession(free.model).run(None, {"input": x[:batch]})
    assert found.shape == wanted.shape == (batch, 5)


def test_a_model_of_fixed_batch_is_balanced_locally() -> None:
    conversion = run_conversion(
        resnet(batch=1), inputs_for("resnet", 100), Settings(iterations=80, batch_size=20)
    )
    assert conversion.report.agreement["value"] >= 0.7
    assert metadata(conversion.model)["calibrated"] is True


# --- several inputs ---


def test_several_inputs_are_calibrated_together() -> None:
    b = Builder()
    left, right = b.input("left", ["batch", 6]), b.input("right", ["batch", 4])
    x = b.node("Relu", b.gemm(b.node("Concat", left, right, axis=1), 10, 16), name="h1")
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 16, 12), name="h2"), 12, 3), "logits")
    model = b.model({"logits": ["batch", 3]})
    x_ = inputs_for("mlp", 200)
    feed = {"right": x_[:, 6:], "left": x_[:, :6]}
    conversion = convert(model, feed, **FAST)
    (found,) = SpikingSession(conversion.model).run(None, feed)
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, feed)
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) >= 0.9
    with pytest.raises(DataError, match="'right'"):
        convert(model, {"left": feed["left"]})


@pytest.mark.parametrize(
    "name", ["2η", "step", "θ/h1", "h1/over", "h1/potential", "h1/spikes", "count/h1"]
)
@pytest.mark.parametrize("kind", ["input", "inner", "output", "node"])
def test_a_model_may_use_any_name(name: str, kind: str) -> None:
    model, x = mlp(), inputs_for("mlp", 20)
    old = {"input": "input", "inner": "h1_out", "output": "logits", "node": "h2"}[kind]
    for node in model.graph.node:
        node.input[:] = [name if t == old else t for t in node.input]
        node.output[:] = [name if t == old else t for t in node.output]
        node.name = name if node.name == old else node.name
    for value in [*model.graph.input, *model.graph.output]:
        value.name = name if value.name == old else value.name
    given = name if kind == "input" else "input"
    conversion = convert(model, {given: x}, method="local", iterations=5)
    (answer,) = SpikingSession(conversion.model).run(None, {given: x}, timesteps=8)
    (plain,) = SpikingSession(convert(mlp(), {"input": x}, method="local", iterations=5).model).run(
        None, {"input": x}, timesteps=8
    )
    assert np.array_equal(answer, plain)


def test_an_input_that_nothing_reads_may_be_there() -> None:
    model = mlp()
    model.graph.input.append(
        helper.make_tensor_value_info("unused", TensorProto.FLOAT, ["batch", 2])
    )
    feed = {"input": inputs_for("mlp", 200), "unused": np.zeros((200, 2), np.float32)}
    conversion = convert(model, feed, **FAST)
    (found,) = SpikingSession(conversion.model).run(None, feed)
    (wanted,) = SpikingSession(convert(mlp(), feed["input"], **FAST).model).run(
        None, {"input": feed["input"]}
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


# --- memory ---

PEAK = """
import resource, sys
import numpy as np
from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.settings import Settings

# reads all samples three times
settings = Settings(method="percentile", batch_size=10, timesteps=1, threads=1)
run("model.onnx", "x.npy", settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    onnx.save(NETWORKS["segmenter"](), tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    peaks = []
    for count in (
        550,
        3500,
    ):  # 50 and 325 batches; from both some are held back, to be compared on in batches of 50
        np.save(tmp_path / "x.npy", rng.standard_normal((count, 1, 32, 32)).astype(np.float32))
        done = subprocess.run(
            [sys.executable, "-c", PEAK], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    growth = peaks[1] - peaks[0]
    activations = (
        2755 * 4 * (6 * 32 * 32 + 8 * 16 * 16 + 6 * 32 * 32 + 6 * 32 * 32) / 2**20
    )  # if they were kept: MB
    assert activations > 200
    assert growth < 50, f"{peaks[0]:.0f} MB for 550 samples, {peaks[1]:.0f} MB for 3,500"


def test_a_model_handed_over_as_a_file_converts_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        run_conversion(
            mlp(), inputs_for("mlp", 40), Settings(method="max")
        ).model.SerializeToString()
    ]
    monkeypatch.setattr(large, "MAPPED", 0)
    monkeypatch.setattr(large, "HEAVY", 128)
    found.append(
        run_conversion(
            mlp(), inputs_for("mlp", 40), Settings(method="max")
        ).model.SerializeToString()
    )
    assert found[0] == found[1]


def test_a_session_of_a_large_model_writes_a_whole_optimised_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "MAPPED", 0)
    monkeypatch.setattr(large, "HEAVY", 128)
    snn = run_conversion(mlp(), inputs_for("mlp", 40), Settings(method="max")).model
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    SpikingSession(snn, options)
    ort.InferenceSession(tmp_path / "optimised.onnx")


@pytest.mark.parametrize("error", [RuntimeError("lost"), ValueError("lost"), MemoryError("lost")])
def test_a_failing_progress_callback_is_not_blamed_on_the_data(error: Exception) -> None:
    def progress(*_: object) -> None:
        raise error

    with pytest.raises(type(error), match="lost") as caught:
        convert(mlp(), inputs_for("mlp", 40), progress=progress, **FAST)
    assert caught.value is error


def test_a_model_of_ours_that_fails_is_not_blamed_on_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> object:
        session = ort.InferenceSession(mlp().SerializeToString())
        return session.run(None, {"input": np.zeros((1, 3), np.float32)})

    monkeypatch.setattr("onnx2snn.pipeline.rate.informed", fail)
    with pytest.raises(Exception, match="Got invalid dimensions") as caught:
        convert(mlp(), inputs_for("mlp", 40), **FAST)
    assert not isinstance(caught.value, DataError)


def test_lack_of_memory_is_not_blamed_on_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    class OrtError(RuntimeError):
        pass

    OrtError.__module__ = "onnxruntime.capi.onnxruntime_pybind11_state"

    def fail(*_: object) -> object:
        raise OrtError("bad allocation")

    monkeypatch.setattr("onnx2snn.pipeline.prepared.run_model", fail)
    with pytest.raises(MemoryError, match="bad allocation"):
        convert(mlp(), inputs_for("mlp", 40), **FAST)


def test_lack_of_memory_is_not_blamed_on_the_code_that_makes_the_data() -> None:
    def data() -> object:
        raise MemoryError("in the loader")

    with pytest.raises(MemoryError, match="in the loader"):
        convert(mlp(), data, **FAST)

"""Behaviour of the report: its figures against NumPy and plain onnxruntime, and its tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for, mlp, resnet
from numpy.typing import NDArray
from onnx import numpy_helper
from rich.console import Console

from onnx2snn import Conversion, SpikingSession
from onnx2snn.display import terminal
from onnx2snn.display.report_tables import REPORT_LINES, report_tables
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.pipeline.report import Report
from onnx2snn.settings import Settings

Array = NDArray[Any]
FEW = 9  # too few to hold some back: the report is about all of them


def converted(model: onnx.ModelProto, data: Any, **options: Any) -> Conversion:
    return run_conversion(model, data, Settings(**({"preset": "paper", "method": "max"} | options)))


@pytest.fixture(scope="module")
def conversions() -> dict[str, Conversion]:
    return {name: converted(build(), inputs_for(name, FEW)) for name, build in NETWORKS.items()}


def rendered(report: Report, width: int = 160) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, markup=False)
    for table in report_tables(report):
        console.print(table)
    return text.getvalue()


def numbered(model: onnx.ModelProto) -> dict[str, Array]:
    return {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_report_is_plain_data(name: str, conversions: dict[str, Conversion]) -> None:
    data = conversions[name].report.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_and_operators_are_those_of_the_files(
    name: str, conversions: dict[str, Conversion]
) -> None:
    conversion = conversions[name]
    report, ann = conversion.report, NETWORKS[name]()
    assert report.model["bytes"] == len(ann.SerializeToString())
    assert report.snn["bytes"] == len(conversion.to_bytes())
    for row in report.operators:
        for count, model in ((row["ann"], ann), (row["snn"], conversion.model)):
            assert count == sum(node.op_type == row["op"] for node in model.graph.node)
    assert {row["op"] for row in report.operators} >= {
        "IF",
        *(node.op_type for node in ann.graph.node),
    }


def test_neurons_are_counted() -> None:
    report = converted(mlp(), inputs_for("mlp", FEW)).report
    assert {site["name"]: site["neurons"] for site in report.sites} == {"h1": 16, "h2": 12}
    assert report.snn["neurons"] == 28
    images = converted(resnet(), inputs_for("resnet", FEW)).report
    assert {site["name"]: (site["channels"], site["neurons"]) for site in images.sites} == {
        "stem": (6, 6 * 4 * 4),
        "a1": (6, 6 * 4 * 4),
        "a2": (6, 6 * 4 * 4),
        "b1": (8, 8 * 2 * 2),
        "b2": (8, 8 * 2 * 2),
    }


def test_neurons_of_images_of_any_size_are_not_made_up(conversions: dict[str, Conversion]) -> None:
    assert all(site["neurons"] is None for site in conversions["segmenter"].report.sites)
    assert "?" in rendered(conversions["segmenter"].report)


def test_thresholds_are_in_the_anns_units() -> None:
    x = inputs_for("mlp", FEW)
    values = numbered(mlp())
    h1 = np.maximum(x @ values["c0"].T + values["c1"], 0)
    h2 = np.maximum(h1 @ values["c2"].T + values["c3"], 0)
    for granularity in ("channel", "layer"):
        report = converted(mlp(), x, granularity=granularity).report
        for site, a in zip(report.sites, (h1, h2), strict=True):
            tops = a.max(axis=0) if granularity == "channel" else a.max(keepdims=True).ravel()
            tops = np.where(
                tops > 0, tops, np.median(tops[tops > 0])
            )  # silent ones take the median
            expected = {"min": tops.min(), "median": np.median(tops), "max": tops.max()}
            assert site["threshold"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("timesteps", [4, 32])
def test_errors_are_the_two_terms_of_the_papers_bound(timesteps: int) -> None:
    """total = ||r - a||, own = ||r - relu(x)||, inherited = ||relu(x) - a||, over ||a||.

    X: the mean input.
    """
    x = inputs_for("mlp", FEW)
    conversion = converted(mlp(), x, timesteps=timesteps)
    values = numbered(mlp())
    session = SpikingSession(conversion.model, count_spikes=True)
    session.run(None, {"input": x})
    scales = [
        numpy_helper.to_array(a.t).astype(np.float64)
        for n in conversion.model.graph.node
        for a in n.attribute
        if a.name == "scale"
    ]
    counts = session.spike_counts()
    a = r = x.astype(np.float64)
    for layer, (site, theta) in enumerate(zip(conversion.report.sites, scales, strict=True)):
        w, b = values[f"c{2 * layer}"], values[f"c{2 * layer + 1}"]
        current = np.maximum(r @ w.T + b, 0)
        a = np.maximum(a @ w.T + b, 0)
        r = theta * counts[site["name"]] / timesteps
        norm = np.linalg.norm(a)
        expected = {
            "total": np.linalg.norm(r - a) / norm,
            "own": np.linalg.norm(r - current) / norm,
            "inherited": np.linalg.norm(current - a) / norm,
        }
        assert site["error"] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("count", "scored", "held_back"), [(9, 9, False), (50, 5, True), (4000, 256, True)]
)
def test_agreement_is_that_on_the_samples_held_back(
    count: int, scored: int, held_back: bool
) -> None:
    x = inputs_for("mlp", count)
    conversion = converted(mlp(), x, timesteps=8, delay=0, seed=5)
    assert conversion.report.agreement["samples"] == scored
    assert conversion.report.agreement["held_back"] is held_back
    if held_back:
        x = x[np.sort(np.random.default_rng(5).permutation(count)[:scored])]
    (wanted,) = ort.InferenceSession(mlp().SerializeToString()).run(None, {"input": x})
    (found,) = SpikingSession(conversion.model).run(None, {"input": x})
    equal = float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)))
    assert conversion.report.agreement["value"] == pytest.approx(equal, abs=0.01)


def silenced(units: list[int]) -> onnx.ModelProto:
    """An MLP some of whose first hidden units never fire."""
    model = mlp()
    (bias,) = (t for t in model.graph.initializer if t.name == "c1")
    values = numpy_helper.to_array(bias).copy()
    values[units] = -100
    bias.CopyFrom(numpy_helper.from_array(values, "c1"))
    return model


def test_silent_channels_are_listed() -> None:
    report = converted(silenced([2, 7]), inputs_for("mlp", 100)).report
    assert {site["name"]: site["silent"] for site in report.sites} == {"h1": [2, 7], "h2": []}
    assert report.warnings == []
    assert "h1: 2 of 16" in rendered(report)


def test_a_silent_site_is_a_warning() -> None:
    report = converted(silenced(list(range(16))), inputs_for("mlp", 100)).report
    assert any("site 'h1' never fired on the calibration data" in text for text in report.warnings)
    assert report.sites[0]["threshold"] == {"min": 1.0, "median": 1.0, "max": 1.0}


def test_low_agreement_is_a_warning_only_on_real_data() -> None:
    (text,) = converted(mlp(), inputs_for("mlp", FEW * 10), timesteps=1).report.warnings
    assert text.startswith("agreement with the ANN is only ")
    assert "at T = 1" in text
    (text,) = converted(mlp(), None, timesteps=1).report.warnings
    assert text.startswith("no calibration data")


def test_what_was_folded_kept_and_moved_is_named(conversions: dict[str, Conversion]) -> None:
    report = conversions["resnet"].report
    assert len(report.moved_pools) == 1
    weighted = [
        n.name for n in conversions["resnet"].model.graph.node if n.op_type in ("Conv", "Gemm")
    ]
    assert sorted(report.folded) == sorted(weighted)
    assert [kept["channels"] for kept in report.kept] == [6]  # the identity shortcut
    scaling = [
        n for n in conversions["resnet"].model.graph.node if n.name == report.kept[0]["name"]
    ]
    assert [n.op_type for n in scaling] == ["Mul"]
    assert "left as Mul" in rendered(report)
    assert conversions["mlp"].report.kept == []


def test_settings_and_parts_are_those_in_the_model(conversions: dict[str, Conversion]) -> None:
    for conversion in conversions.values():
        (text,) = (p.value for p in conversion.model.metadata_props if p.key == "onnx2snn")
        metadata, report = json.loads(text), conversion.report.to_dict()
        for key in ("tool", "settings", "calibrated", "timesteps", "delay", "delay_auto"):
            assert report[key] == metadata[key]
        assert metadata["parts"] == {key: report["parts"][key] for key in ("encoder", "readout")}
        assert metadata["source_sha256"] == report["model"]["sha256"]
        assert [n["name"] for n in metadata["neurons"]] == [s["name"] for s in report["sites"]]


def test_every_stage_is_timed(conversions: dict[str, Conversion]) -> None:
    seconds = conversions["mlp"].report.seconds
    assert list(seconds) == [
        "load",
        "normalise",
        "arrange",
        "calibrate",
        "correct",
        "rewrite",
        "annotate",
        "verify",
    ]
    assert all(value >= 0 for value in seconds.values())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (inputs_for("mlp", 9), "on 9 fitted-on calibration samples"),
        (inputs_for("mlp", 50), "on 5 held-back calibration samples"),
        (None, "on 16 random inputs"),
    ],
)
def test_the_table_says_what_was_compared_on(data: Any, said: str) -> None:
    report = converted(mlp(), data, timesteps=8).report
    text = rendered(report)
    assert said in text
    assert f"{report.agreement['value']:.2%} at T = 8, delay 4" in text


def test_the_worst_site_comes_first() -> None:
    report = converted(resnet(), inputs_for("resnet", 50), timesteps=4).report
    text = rendered(report).split("neuron sites")[1]
    worst_first = sorted(report.sites, key=lambda site: -site["error"]["total"])
    positions = [text.index(site["name"]) for site in worst_first]
    assert positions == sorted(positions)


def test_tables_fit_a_narrow_terminal_with_long_names() -> None:
    model = mlp()
    for node in model.graph.node:
        node.name = "module/" * 12 + node.name
    report = converted(model, inputs_for("mlp", FEW)).report
    for site in report.sites:  # figures as wide as they come
        site["neurons"] = 1_234_567
        site["threshold"] = {"min": 1.234e-05, "median": 0.001234, "max": 123.4}
        site["error"] = {"total": 0.9876, "own": 0.8765, "inherited": 0.7654}
    text = rendered(report, width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    for whole in (
        "agreement with ANN",
        "inherited",
        "1,234,567",
        "1.23e-05/0.00123/123",
        "98.8%",
        "87.6%",
        "76.5%",
    ):
        assert whole in text


def test_what_calibrating_cost_is_told_in_passes_of_the_ann() -> None:
    local = converted(mlp(), inputs_for("mlp", FEW), method="local", iterations=20).report
    assert local.cost is not None
    assert local.cost["inference"] > 0
    assert set(local.cost["passes"]) == {"calibrate", "correct"}
    # both relate the same seconds to plain inference: over all samples, and over 20 mini-batches
    # of all samples
    assert local.cost["balancing"] == pytest.approx(
        local.cost["passes"]["calibrate"] / 20, rel=0.1, abs=0.01
    )
    said = f"balancing {local.cost['balancing']:.2f} times plain inference on the same images"
    assert said in " ".join(rendered(local, 400).split())
    most = converted(mlp(), inputs_for("mlp", FEW)).report.cost
    assert most is not None
    assert most["balancing"] is None
    assert converted(mlp(), None).report.cost is None


LARGE = {
    "many sites": {"sites": 300},
    "long names": {
        "sites": 300,
        "name": "encoder.stage.block.attention.projection.activation." * 3,
    },
    "many operators": {"sites": 40, "operators": 90},
    "silent and kept": {"sites": 200, "kept": 150, "silent": True},
    "many analog nodes": {"sites": 3, "listed": 2_000},
}


def grown(  # noqa: PLR0913 - each of them makes another part of a report long
    report: Report,
    sites: int,
    name: str = "site",
    operators: int = 3,
    kept: int = 0,
    listed: int = 0,
    *,
    silent: bool = False,
) -> Report:
    """A report of a network that is much larger in some respect."""
    one = report.sites[0]
    more: list[Any] = []
    for number in range(sites):
        channels = [1, 2, 3] if silent else []
        more.append({**one, "name": f"{name}{number}", "silent": channels})
    row = {"channels": 8, "before": name, "reason": "it feeds several nodes", "name": "x"}
    names = [f"{name}/node{number}" for number in range(listed)]
    return replace(
        report,
        sites=more,
        operators=[{"op": f"Operator{number}", "ann": 1, "snn": 1} for number in range(operators)],
        kept=[row] * kept,
        analog=names,
        folded=names,
        parts={**report.parts, "encoder": names, "readout": names},
    )


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("kind", LARGE)
def test_a_report_in_a_terminal_stays_under_80_lines(
    kind: str,
    width: int,
    conversions: dict[str, Conversion],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    report = grown(conversions["resnet"].report, **LARGE[kind])  # type: ignore[arg-type]
    terminal.show_within(partial(report_tables, report), REPORT_LINES)
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert 10 < len(lines) < 80
    assert max(map(len, lines)) <= width
    if width > 40:
        # whatever is left out, its number is told, and the agreement is there
        assert "more in" in text
        assert "agreement" in text


def test_a_small_network_has_everything_in_its_report(
    conversions: dict[str, Conversion], capsys: pytest.CaptureFixture[str]
) -> None:
    report = conversions["mlp"].report
    terminal.show_within(partial(report_tables, report), REPORT_LINES)
    text = capsys.readouterr().err
    assert "more in" not in text
    assert all(site["name"] in text for site in report.sites)

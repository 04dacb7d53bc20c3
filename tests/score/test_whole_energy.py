"""What the figures of energy say: everything counted first, and what feeds weighted operators."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for

from onnx2snn import evaluate, inspect
from onnx2snn.display.numbers import energy_cells, work_sentence
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings


def evaluated(name: str, timesteps: int = 8, **options: Any) -> Any:
    model: onnx.ModelProto = NETWORKS[name]()
    made = run_conversion(model, inputs_for(name, 100), Settings(method="max", timesteps=8)).model
    return evaluate(model, made, inputs_for(name, 5), timesteps=[timesteps], **options)


@pytest.mark.parametrize("name", ["mlp", "resnet", "vgg", "mobilenet", "segmenter"])
def test_the_work_of_weighted_operators_is_divided_without_rest(name: str) -> None:
    work = evaluated(name)["energy"]["weighted"]
    assert work["spikes"] + work["once"] + work["each_step"] == pytest.approx(1)
    assert 0 < work["fed"] < work["operators"]
    assert 0 < work["once"] < 1  # the first layer, once an input
    counted = [n for n in NETWORKS[name]().graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert work["operators"] >= len(counted)


def test_work_reads_in_one_line() -> None:
    work: Any = {"operators": 9, "fed": 4, "spikes": 0.5, "once": 0.1234, "each_step": 0.3766}
    assert work_sentence(work) == (
        "4 of 9 weighted operators are fed by spikes: 50 % of MACs; 12.3 % once an input; "
        "37.7 % in real numbers at each step"
    )


def test_everything_counted_comes_before_the_spikes_alone() -> None:
    row = evaluated("mlp")["snn"][0]
    cells = energy_cells(row)
    assert cells[4] == f"{row['ratio_with_analog']:.3g}"
    assert cells[-1] == f"{row['ratio']:.3g}"
    keys = list(row)
    assert keys.index("ratio_with_analog") < keys.index("ratio")


@pytest.mark.parametrize("flop_joules", [1e-12, 77e-18])
def test_more_energy_than_the_ann_is_a_warning(flop_joules: float) -> None:
    found = evaluated("mlp", flop_joules=flop_joules)
    costly = found["snn"][0]["ratio_with_analog"] < 1
    said = [text for text in found["warnings"] if "times the ANN's energy at T = 8" in text]
    assert len(said) == costly
    assert costly == (flop_joules < 1e-13)


def test_without_energy_nothing_is_warned_of() -> None:
    assert evaluated("mlp", flop_joules=77e-18, energy=False)["warnings"] == []


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_report_and_inspection_say_what_is_fed_by_spikes(name: str) -> None:
    made = run_conversion(
        NETWORKS[name](), inputs_for(name, 100), Settings(method="max", timesteps=8)
    )
    assert made.report.weighted == inspect(made.model)["weighted"]
    assert made.report.weighted is not None
    assert made.report.weighted["fed"] > 0

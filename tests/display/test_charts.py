"""Charts: markup that several of them share a page with, and figures at the ends of their range."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from onnx2snn.display.axes import Chart
from onnx2snn.display.charts import Plane, Series, line_chart
from onnx2snn.display.diagrams import flow_chart, raster_chart
from onnx2snn.display.row_charts import bar_chart, box_chart

PLANE = Plane("time-steps T", "top1", log_base=2)


def lines(name: str = "SNN") -> Chart:
    points = Series(
        name,
        [4, 8],
        [0.5, 0.75],
        colour=1,
        marks=True,
        spread=[(0.4, 0.6), None],
        labels=["T = 4", "T = 8"],
    )
    return line_chart("accuracy", "title", [points], PLANE, reference=("ANN", 0.8))


def charts() -> list[Chart]:
    spikes = np.array([[1, 0, -1], [0, 0, 1]])
    return [
        lines(),
        bar_chart("rates", "title", [("a", 0.0), ("b", 0.25)], "rate"),
        box_chart("thresholds", "title", [("a", [1, 2, 3, 4, 5.0])], "threshold"),
        raster_chart("raster", "title", spikes),
        flow_chart("parts", "title", [("Inputs", ["x"]), ("Outputs", ["y", "z"])]),
    ]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart.name)
def test_markup_refers_to_nothing_and_leaves_fonts_and_colours_to_the_page(chart: Chart) -> None:
    elements = list(ElementTree.fromstring(chart.svg).iter())
    assert {element.tag for element in elements} <= {"svg", "title", "g", "path", "text"}
    for element in elements:
        assert not {"id", "href", "clip-path"} & set(element.attrib)
        style = element.get("style", "")
        assert "font" not in style
        assert "#" not in style  # a colour that no scheme of the page changes
    for reference in ("url(", "http", "xmlns"):
        assert reference not in chart.svg


@pytest.mark.parametrize("number", range(5))
def test_the_same_figures_give_the_same_bytes(number: int) -> None:
    assert charts()[number] == charts()[number]


def test_a_chart_is_told_in_words() -> None:
    assert 'aria-label="title: SNN from 0.5 to 0.75"' in lines().svg
    assert "title: a 0.0%; b 25.0%" in charts()[1].svg
    assert "title: a median 3" in charts()[2].svg
    assert "title: 3 spikes of 3 neurons in 2 steps" in charts()[3].svg
    assert "title: Inputs: x; Outputs: y, z" in charts()[4].svg


def test_what_is_pointed_at_says_what_it_is() -> None:
    titles = [title.text for title in ElementTree.fromstring(lines().svg).iter("title")]
    assert titles == ["title", "T = 4", "T = 8"]
    long = "layers." * 9
    assert f"<title>{long}</title>" in bar_chart("rates", "title", [(long, 0.5)], "rate").svg


@pytest.mark.parametrize("name", ["$a$", "a$b", "a_b^c", "層/1", "<a & b>"])
def test_a_name_is_what_it_is(name: str) -> None:
    svg = bar_chart("rates", name, [(name, 0.5)], name).svg
    assert texts(svg).count(name) == 2
    assert name in texts(lines(name).svg)


def test_a_name_with_control_characters_is_still_a_page() -> None:
    svg = bar_chart("rates", "a\x00b", [("a\x01\nb", 0.5)], "rate").svg
    assert "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b" in texts(svg)


def test_one_threshold_for_a_whole_layer_is_a_box() -> None:
    svg = box_chart("thresholds", "title", [("a", [2.0] * 5)], "threshold").svg
    lengthless = re.findall(r'd="M([-\d.]+ [-\d.]+)L\1"', svg)
    assert lengthless == []
    assert "2" in texts(svg)
    assert svg.count("<path") >= 3


def test_an_interval_of_no_width_is_drawn() -> None:
    points = Series("", [4, 8], [0.5, 0.5], 0, spread=[(0.5, 0.5), (0.5, 0.5)])
    svg = line_chart("accuracy", "title", [points], PLANE).svg
    assert not re.search(r'd="M([-\d.]+ [-\d.]+)[LV]\1?"', svg)
    assert "nan" not in svg


def test_no_layer_fires() -> None:
    svg = bar_chart("rates", "title", [("a", 0.0)], "rate").svg
    assert "0.0%" in texts(svg)


def test_every_neuron_fires_at_every_step_in_little_markup() -> None:
    svg = raster_chart("raster", "title", np.ones((256, 96), np.int8)).svg
    (strokes,) = re.findall(r'<g class="spike"><path d="([^"]*)"', svg)
    assert strokes.count("M") == 256 * 96
    assert len(svg) < 500_000

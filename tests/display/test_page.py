"""Pages of `--html`: what they hold, and that a browser draws all of it and fetches nothing."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder, inputs_for, resnet, segmenter
from numpy.typing import NDArray
from PIL import Image

from onnx2snn.cli.commands import main
from onnx2snn.display.axes import round_ticks
from onnx2snn.display.charts import Plane, Series, line_chart
from onnx2snn.display.diagrams import raster_chart
from onnx2snn.display.numbers import shortened
from onnx2snn.display.pictures import colour, painted, picture, png
from onnx2snn.display.row_charts import bar_chart, box_chart
from onnx2snn.protos.specs import TensorSpec, image_axes

Array = NDArray[Any]
CHARTS = ["accuracy", "energy", "rates", "thresholds", "raster", "parts"]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def detector() -> onnx.ModelProto:
    """One anchor a cell of 8 x 8.

    Input [batch,3,32,32], boxes [batch,16,4] and scores [batch,16,3].
    """
    b = Builder(1)
    x = b.node(
        "Relu", b.conv(b.input("input", ["batch", 3, 32, 32]), 3, 6, strides=[4, 4]), name="s1"
    )
    x = b.node("Relu", b.conv(x, 6, 8, strides=[2, 2]), name="s2")
    sides = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(1, 16, 2) * 8.0
    heads = {"scores": (b.conv(x, 8, 3, 1), 3), "boxes": (b.conv(x, 8, 4, 1), 4)}
    flat = {
        name: b.node(
            "Reshape", b.node("Transpose", y, perm=[0, 2, 3, 1]), b.const([0, 16, size], np.int64)
        )
        for name, (y, size) in heads.items()
    }
    anchors = b.const(np.concatenate([sides, sides + 8], axis=2))
    b.name_output(b.node("Sigmoid", flat["scores"]), "scores")
    b.name_output(b.node("Add", b.node("Tanh", flat["boxes"]), anchors), "boxes")
    return b.model({"boxes": ["batch", 16, 4], "scores": ["batch", 16, 3]})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, made on the command line."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    models = {"classifier": resnet(), "segmenter": segmenter(), "detector": detector()}
    inputs = {
        "classifier": inputs_for("resnet", 60),
        "segmenter": inputs_for("segmenter", 60),
        "detector": rng.standard_normal((20, 3, 32, 32)).astype(np.float32),
    }
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
        outputs = ort.InferenceSession(model.SerializeToString()).run(None, {"input": inputs[name]})
        beside: dict[str, Array] = {
            "classifier": {"labels": outputs[0].argmax(axis=1)},
            "segmenter": {"masks": outputs[0].argmax(axis=1).astype(np.uint8)}
            if outputs[0].ndim == 4
            else {},
            "detector": {
                "boxes": outputs[0][:, :3],
                "classes": np.tile([0, 1, -1], (len(inputs[name]), 1)),
            },
        }[name]
        np.savez(folder / f"{name}.npz", input=inputs[name], **beside)  # type: ignore[arg-type]  # numpy's stub
        quiet = ["--method", "max", "--timesteps", "16", "--delay", "0", "--quiet"]
        convert = [str(folder / f"{name}.onnx"), "-o", str(folder / f"{name}.snn.onnx"), *quiet]
        more = (
            ["--html", str(folder / "conversion.html"), "--html-site", "b1"]
            if name == "classifier"
            else []
        )
        assert main([*convert, "--calibration", str(folder / f"{name}.npz"), *more]) == 0
        evaluate = [
            "eval",
            *(str(folder / f"{name}{end}") for end in (".onnx", ".snn.onnx")),
            "--timesteps",
            "4,16",
        ]
        out = ["--html", str(folder / f"{name}.html"), "--quiet"]
        assert main([*evaluate, "--data", str(folder / f"{name}.npz"), *out]) == 0
    return {path.stem: path for path in folder.glob("*.html")}


class Page(HTMLParser):
    """Figures by chart name with their elements, everything that could be fetched, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: dict[str, list[tuple[str, dict[str, str | None]]]] = {}
        self.links: list[str] = []
        self.images: list[str] = []
        self.words = ""
        self.drawn: dict[str, int] = {}
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "figure":
            self.open = given["data-chart"] or ""
            self.figures[self.open] = []
            if "data-drawn" in given:
                self.drawn[self.open] = int(given["data-drawn"] or 0)
        elif self.open:
            self.figures[self.open].append((tag, given))
        self.links += [
            given[key] or "" for key in ("href", "src", "xlink:href", "srcset") if key in given
        ]
        if tag == "image":
            self.images.append(given["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "figure":
            self.open = ""

    def handle_data(self, data: str) -> None:
        self.words += data


KINDS = ["classifier", "segmenter", "detector", "conversion"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_holds_every_chart_in_words_and_in_shapes(kind: str, pages: dict[str, Path]) -> None:
    page = Page(pages[kind].read_text("utf-8"))
    assert list(page.figures) == CHARTS
    for name, elements in page.figures.items():
        shapes = [tag for tag, _ in elements if tag in ("polyline", "circle", "rect", "path")]
        assert len(shapes) >= 2 or name == "raster"
        (svg,) = (given for tag, given in elements if tag == "svg")
        assert svg["role"] == "img"
        assert len(svg["aria-label"] or "") > 20
        numbers = [
            v
            for _, given in elements
            for v in given.values()
            if v and re.search(r"\b(nan|inf)\b", v)
        ]
        assert numbers == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_needs_nothing_but_itself(kind: str, pages: dict[str, Path]) -> None:
    text = pages[kind].read_text("utf-8")
    page = Page(text)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("kind", "pictures"), [("classifier", 0), ("segmenter", 4 * 5), ("detector", 4 * 5)]
)
def test_pictures_show_input_truth_ann_and_every_time(
    kind: str, pictures: int, pages: dict[str, Path]
) -> None:
    page = Page(pages[kind].read_text("utf-8"))
    assert len(page.images) == pictures
    assert page.words.count("SNN, T = 4") >= pictures / 5
    sizes = {Image.open(io.BytesIO(base64.b64decode(i.split(",")[1]))).size for i in page.images}
    assert sizes == (
        {(12, 8)} if kind == "segmenter" else {(32, 32)} if kind == "detector" else set()
    )


def test_the_spikes_are_those_of_the_layer_asked_for(pages: dict[str, Path]) -> None:
    assert "b1: the first sample" in Page(pages["conversion"].read_text("utf-8")).words
    assert "a2: the first sample" in Page(pages["classifier"].read_text("utf-8")).words


def test_a_conversions_page_is_about_what_was_held_back(pages: dict[str, Path]) -> None:
    words = Page(pages["conversion"].read_text("utf-8")).words
    assert "compared with it on 6 held-back calibration samples" in words
    assert "Errors by layer" in words


def test_a_layer_that_is_none_is_refused_by_name(
    pages: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pages["classifier"].parent
    models = [str(folder / f"classifier{end}") for end in (".onnx", ".snn.onnx")]
    arguments = [
        "--data",
        str(folder / "classifier.npz"),
        "--limit",
        "5",
        "--html",
        str(tmp_path / "x.html"),
    ]
    assert main(["eval", *models, *arguments, "--html-site", "nowhere", "--quiet"]) == 2
    assert "no neuron site 'nowhere'; the sites are 'stem', 'a1'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


MEASURE = """<script>
addEventListener("load", () => {
  for (const figure of document.querySelectorAll("figure")) {
    const shapes = [...figure.querySelectorAll("polyline, circle, rect, path, text")];
    const seen = shapes.filter(s => {
      const b = s.getBoundingClientRect();
      return b.width + b.height > 0;
    });
    figure.dataset.drawn = seen.length;
  }
  const entries = performance.getEntriesByType("resource");
  const fetched = entries.filter(entry => !entry.name.startsWith("data:"));
  document.body.dataset.fetched = fetched.length;
  document.body.dataset.wide = document.documentElement.scrollWidth;
});
</script></body>"""

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


def opened(text: str, folder: Path) -> str:
    """The document a browser makes of a page, 600 pixels wide.

    It goes without the policy that forbids it to fetch anything, and it comes from a server,
    because a browser does not tell what it fetches from files.
    """
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace(
        "</body>", MEASURE
    )
    (folder / "page.html").write_text(text, "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = [
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "no-first-run",
            "disable-sync",
            "dump-dom",
        ]
        options += [
            "disable-background-networking",
            "disable-component-update",
            "window-size=600,900",
        ]
        options += [
            "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"user-data-dir={folder / 'profile'}",
        ]
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        command = [str(BROWSER), *(f"--{option}" for option in options), address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        server.shutdown()
    assert "data-fetched" in done.stdout, done.stderr
    return done.stdout


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # the base class's name
        """Say nothing."""


def measured(document: str, what: str) -> int:
    (found,) = re.findall(rf'data-{what}="(\d+)"', document)
    return int(found)


@needs_browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_draws_every_chart_and_fetches_nothing(
    kind: str, pages: dict[str, Path], tmp_path: Path
) -> None:
    document = opened(pages[kind].read_text("utf-8"), tmp_path)
    page = Page(document)
    assert list(page.drawn) == CHARTS
    for name, elements in page.figures.items():
        shapes = sum(tag in ("polyline", "circle", "rect", "path", "text") for tag, _ in elements)
        assert page.drawn[name] == shapes > 4, name
    assert measured(document, "wide") <= 600  # nothing is wider than the window
    assert measured(document, "fetched") == 0


@needs_browser
def test_the_browser_would_notice_what_is_fetched(pages: dict[str, Path], tmp_path: Path) -> None:
    links = '<img src="missing.png"><link rel="stylesheet" href="http://example.org/style.css">'
    text = pages["classifier"].read_text("utf-8").replace("<main>", f"<main>{links}")
    assert measured(opened(text, tmp_path), "fetched") == 2


# --- the parts ---


def places(svg: str) -> list[tuple[float, float]]:
    """Where marks stand."""
    found = re.findall(r'transform="translate\(([\d.]+) ([\d.]+)\)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_an_axis_places_values_and_chooses_round_ticks() -> None:
    points = Series("", [1, 2, 32], [0.0, 1.0, 0.5], 0, marks=True)
    (low, _), (second, _), (high, _) = places(
        line_chart("x", "t", [points], Plane("T", "y", 2)).svg
    )
    assert second - low == pytest.approx((high - low) / 5, abs=0.02)
    (_, bottom), (_, top), (_, middle) = places(
        line_chart("x", "t", [points], Plane("T", "y", 2)).svg
    )
    assert middle == pytest.approx((bottom + top) / 2, abs=0.02)
    assert bottom > top
    assert round_ticks(1, 32, 2) == [1, 2, 4, 8, 16, 32]
    assert round_ticks(0, 10, most=5) == [0, 2, 4, 6, 8, 10]
    assert round_ticks(0.3, 6, 10, most=4) == [0.5, 1, 2, 5]
    assert len(round_ticks(0.25, 9, 10, most=4)) >= 3
    assert round_ticks(1, 1e9, 10, most=5) == [1, 100, 1e4, 1e6, 1e8]
    ((only, _),) = places(
        line_chart("x", "t", [Series("", [3], [1], 0, marks=True)], Plane("T", "y", 2)).svg
    )
    assert only == pytest.approx((low + high) / 2, abs=0.02)


def test_names_are_escaped_and_shortened() -> None:
    name = '<b>"layer"</b> ' * 4
    rows = [(name, [1, 2, 3, 4, 5.0])]
    for made in (bar_chart("x", name, [(name, 0.5)], name), box_chart("x", name, rows, name)):
        assert "<b>" not in made.svg
        assert "&lt;b&gt;" in made.svg
    assert shortened("abcdefghij", 5) == "a…hij"


def test_a_single_point_is_a_chart() -> None:
    made = line_chart("x", "t", [Series("s", [4], [0.5], 0, marks=True)], Plane("T", "y", 2))
    assert len(places(made.svg)) == 2  # and one in the legend
    assert "nan" not in made.svg


def test_every_spike_is_drawn() -> None:
    spikes = np.array([[1, 0, -1], [0, 0, 1]])
    made = raster_chart("x", "t", spikes).svg
    plus, minus = (
        re.search(rf'class="{kind}"><path d="([^"]*)"', made) for kind in ("spike", "spike below")
    )
    assert plus is not None
    assert minus is not None
    assert (plus[1].count("M"), minus[1].count("M")) == (2, 1)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 5, 4), np.float32),
        ((3, 5, 4), np.float32),
        ((5, 4, 3), np.uint8),
        ((5, 4, 1), np.uint8),
    ],
)
def test_a_picture_is_the_input(shape: tuple[int, ...], dtype: type) -> None:
    spec = TensorSpec("input", np.dtype(dtype), ("batch", *shape))
    sample: Array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    found = picture(sample, image_axes(spec))
    assert found is not None
    assert found.shape == (5, 4, 3)
    height, width, channels = image_axes(spec)
    wanted = np.moveaxis(sample, [height - 1, width - 1, channels - 1], [0, 1, 2]).astype(float)
    scaled = wanted if dtype is np.uint8 else wanted * 255 / (sample.size - 1)
    np.testing.assert_array_equal(found, np.broadcast_to(scaled, (5, 4, 3)).astype(np.uint8))
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(png(found).split(",")[1]))))
    np.testing.assert_array_equal(decoded, found)


def test_classes_have_colours_of_their_own_and_what_is_ignored_is_grey() -> None:
    assert len({colour(kind) for kind in range(21)}) == 21
    found = painted(np.array([[0, 1], [255, 1]]), ignored=255)
    assert found.tolist() == [[[0, 0, 0], [0, 0x72, 0xB2]], [[0x99] * 3, [0, 0x72, 0xB2]]]


def test_results_are_pages_only_where_asked_for(pages: dict[str, Path]) -> None:
    assert json.dumps(sorted(pages)) == json.dumps(sorted(KINDS))

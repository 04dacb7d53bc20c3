"""Matplotlib figures as SVG that stands inside a page.

Matplotlib writes a file of its own; `inline_svg` copies its shapes and texts and leaves the rest.
The markup keeps to these rules:

* No ids, no links, no clip paths, no namespaces: several charts share one page, which fetches
  nothing. A marker, which matplotlib defines once and refers to, is copied to each of its places.
* Colours of the table `COLOURS` become the page's variables, which follow its light or dark scheme.
* Text stays text. Its font is the page's.
* The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.figure import Figure

TEXT, SOFT, BACK, RULE = "#1b1b1b", "#5c5c5c", "#fffffe", "#d8d8d4"
SERIES = ("#0072b2", "#b35000", "#00795a")
"""Colours of series, from Okabe and Ito: colour-blind people tell them apart."""
COLOURS = {
    TEXT: "var(--text)",
    SOFT: "var(--soft)",
    BACK: "var(--back)",
    RULE: "var(--rule)",
    SERIES[0]: "var(--c0)",
    SERIES[1]: "var(--c1)",
    SERIES[2]: "var(--c2)",
}
KEPT_STYLES = ("fill", "stroke", "stroke-width", "stroke-dasharray", "text-anchor")

POINTS_PER_INCH = 72
"""Of the SVG backend; a point of a figure is a unit of the SVG's view box."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onnx2snn",
    "text.parse_math": False,  # names may hold dollar signs
    "path.simplify": False,
    "font.size": 12,
    "axes.unicode_minus": False,
}
page_style = style.context(["default", STYLE])
"""Decorator of functions that draw: the page's style, whichever the user has configured."""

_LENGTHLESS = re.compile(r"M ([-\d.]+ [-\d.]+) +L \1")
_VERTICAL = re.compile(r"M ([-\d.]+) ([-\d.]+) +L \1 ([-\d.]+)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_AROUND_COMMANDS = re.compile(r" ?([A-Za-z]) ?")


def blank_figure(width: float, height: float) -> Figure:
    """Return a figure without background, its size in units of the view box."""
    size = (width / POINTS_PER_INCH, height / POINTS_PER_INCH)
    return Figure(figsize=size, dpi=POINTS_PER_INCH, frameon=False)


def add_title(artist: Artist, words: str) -> None:
    """Let a page show these words where a reader points at the artist."""
    artist.set_gid(f"title:{words}")


def add_class(artist: Artist, name: str) -> None:
    """Let the styles of a page find the artist."""
    artist.set_gid(f"class:{name}")


def printable(words: str) -> str:
    """Return a text without the control characters that no XML may hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def inline_svg(figure: Figure, title: str, about: str) -> str:
    """Return a figure as SVG for a page.

    `title` is shown where a reader points at it; `about` says in words what the figure shows, for
    those who do not see it.
    """
    drawn = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # matplotlib measures text by a font that may lack letters which the browser's has
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(drawn, format="svg", metadata=metadata)
    source = ElementTree.fromstring(drawn.getvalue())

    label = f"{printable(title)}: {printable(about)}"
    view_box = source.get("viewBox", "")
    root = Element("svg", {"role": "img", "viewBox": view_box, "aria-label": label})
    _add_title(root, printable(title))
    root.extend(_Copy(source).children(source))
    return ElementTree.tostring(root, encoding="unicode")


def _add_title(element: Element, words: str) -> None:
    title = ElementTree.SubElement(element, "title")
    title.text = words


class _Copy:
    """A copy of the shapes and texts of one file of matplotlib's."""

    def __init__(self, source: Element) -> None:
        self.markers: dict[str, Element] = {}
        for element in source.iter():
            if _tag(element) == "path" and "id" in element.attrib:
                self.markers["#" + element.attrib["id"]] = element

    def children(self, source: Element) -> list[Element]:
        """Return the copies of all children, in their order."""
        found = []
        for element in source:
            found += self.element(element)
        return found

    def element(self, source: Element) -> list[Element]:
        """Return the copy of an element; nothing or several where it is no shape."""
        tag = _tag(source)
        if tag == "g":
            return self._group(source)
        if tag == "use":
            return self._marker(source)
        if tag == "path":
            return _path(source, _declarations(source))
        if tag == "text":
            return [_text(source)]
        return []  # definitions and metadata

    def _group(self, source: Element) -> list[Element]:
        children = self.children(source)
        kind, _, words = source.get("id", "").partition(":")
        if kind not in ("title", "class"):
            return children
        group = Element("g")
        if kind == "class":
            group.set("class", words)
        else:
            _add_title(group, words)
        group.extend(children)
        return [group]

    def _marker(self, source: Element) -> list[Element]:
        (link,) = (value for key, value in source.attrib.items() if key.endswith("href"))
        marker = self.markers[link]
        # a definition's own style goes before that of the place
        copies = _path(marker, _declarations(source) | _declarations(marker))
        x, y = source.get("x", "0"), source.get("y", "0")
        for copy in copies:
            copy.set("transform", _rounded(f"translate({x} {y})"))
        return copies


def _tag(element: Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _path(source: Element, declarations: Mapping[str, str]) -> list[Element]:
    """Return a path with short numbers; nothing where it has no length."""
    drawn = " ".join(source.get("d", "").split())
    if _LENGTHLESS.fullmatch(drawn):
        return []
    drawn = _VERTICAL.sub(r"M \1 \2 V \3", drawn)
    drawn = _AROUND_COMMANDS.sub(r"\1", _rounded(drawn))
    return [Element("path", {"d": drawn, "style": _joined_styles(declarations)})]


def _text(source: Element) -> Element:
    attributes = {}
    for key in ("x", "y", "transform"):
        value = source.get(key, "")
        if value and not value.startswith("rotate(-0 "):
            attributes[key] = _rounded(value)
    attributes["style"] = _joined_styles(_declarations(source))
    text = Element("text", attributes)
    text.text = source.text
    return text


def _rounded(text: str) -> str:
    """Return a text with all its numbers rounded to two decimals."""
    return _NUMBER.sub(lambda number: f"{round(float(number[0]), 2):g}", text)


def _declarations(element: Element) -> dict[str, str]:
    """Return the declarations of a style attribute that a page keeps."""
    found = {}
    for declaration in element.get("style", "").split(";"):
        key, _, value = declaration.partition(":")
        if key.strip() in KEPT_STYLES:
            found[key.strip()] = value.strip()
    return found


def _joined_styles(declarations: Mapping[str, str]) -> str:
    parts = []
    for key, value in declarations.items():
        parts.append(f"{key}:{COLOURS.get(value, value)}")
    return ";".join(parts)

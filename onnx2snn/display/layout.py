"""The contents of a page as data, which the templates lay out: sections and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx2snn.display.axes import Chart
from onnx2snn.display.pictures import PictureRows


@dataclass(frozen=True)
class PageTable:
    """A table of a page; `kind` is "words" where it holds text in place of figures."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading; its contents are shown in the order of the fields.

    Attributes:
        heading: The heading, unique on a page.
        warnings: Sentences that a reader must not miss.
        cards: Large figures, each with its meaning.
        pictures: Rows of pictures.
        charts: Charts, side by side where there is room.
        beside: A table beside the charts.
        table: A table below them.
        note: A paragraph.
        details: Tables that open on demand, each with a summary.
    """

    heading: str
    warnings: Sequence[str] = ()
    cards: Sequence[tuple[str, str]] = ()
    pictures: PictureRows | None = None
    charts: Sequence[Chart] = ()
    beside: PageTable | None = None
    table: PageTable | None = None
    note: str = ""
    details: Sequence[tuple[str, PageTable]] = ()

    @property
    def anchor(self) -> str:
        """The id that links of the page name."""
        return self.heading.lower().replace(" ", "-")

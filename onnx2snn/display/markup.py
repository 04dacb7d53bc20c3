"""One self-contained page: markup, style, and no way to fetch anything (its own policy forbids it)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --soft: #5c5c5c; --back: #fff; --panel: #f6f6f4; --rule: #d8d8d4;
  --c0: #0072b2; --c1: #b35000; --c2: #00795a; }
@media (prefers-color-scheme: dark) { :root { --text: #ececec; --soft: #a9a9a9; --back: #141516; --panel: #1e2022;
  --rule: #3a3d40; --c0: #56b4e9; --c1: #e69f00; --c2: #2fc79a; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--text); background: var(--back); font: 16px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--rule); }
p, figcaption, footer { color: var(--soft); margin: .3rem 0; }
a, summary { color: var(--c0); }
a:focus-visible, summary:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--c1); outline-offset: 2px; }
nav a { margin-right: 1rem; white-space: nowrap; }
.grid2 { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.cards { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); margin: 1rem 0; }
.card { background: var(--panel); border-radius: 6px; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
figure { margin: 0; background: var(--panel); border-radius: 6px; padding: .75rem; break-inside: avoid; }
figcaption { font-size: .9rem; margin-top: .4rem; }
figure > svg { display: block; width: 100%; max-width: 40rem; height: auto; margin: 0 auto; }
.scroll { overflow-x: auto; }
section:first-child h2 { margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .25rem .55rem .25rem 0; text-align: right; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
.words td, .words th { text-align: left; vertical-align: top; }
.words td { white-space: normal; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--c1); padding-left: .7rem; color: var(--text); }
svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .strong { font-weight: 600; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .reference { stroke: var(--text); stroke-width: 1.5; stroke-dasharray: 6 4; }
svg polyline { fill: none; stroke-width: 2; }
svg .spread { fill: none; stroke-width: 1.5; }
svg .median { stroke: var(--text); stroke-width: 2; }
svg .c0 { stroke: var(--c0); } svg .c1 { stroke: var(--c1); } svg .c2 { stroke: var(--c2); }
svg rect.c0, svg circle.c0 { fill: var(--c0); } svg .c1.full { fill: var(--c1); } svg .c2.full { fill: var(--c2); }
svg .part { fill: var(--back); stroke: var(--rule); } svg .arrow { fill: none; stroke: var(--soft); stroke-width: 1.5; }
svg .spike { stroke: var(--c0); fill: none; } svg .below { stroke: var(--c1); }
.strip { display: grid; gap: .5rem; margin-bottom: 1.2rem; }
.strip { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.strip div { font-size: .85rem; color: var(--soft); }
.strip svg { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: 3px; }
.legend span { display: inline-block; margin-right: .9rem; white-space: nowrap; }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .3em; border: 1px solid var(--soft); }
@media print { :root { color-scheme: light; --text: #000; --soft: #444; --back: #fff; --panel: #fff; --rule: #bbb;
  --c0: #0072b2; --c1: #b35000; --c2: #00795a; }
  nav { display: none; } figure { border: 1px solid #bbb; } }
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading; `body` is markup."""

    heading: str
    body: str

    @property
    def anchor(self) -> str:
        """What links to it."""
        return "".join(c if c.isalnum() else "-" for c in self.heading.lower())


def page(title: str, about: str, sections: Sequence[Section], foot: str) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{s.anchor}">{escape(s.heading)}</a> ' for s in sections)
    parts = "".join(
        f'<section id="{s.anchor}"><h2>{escape(s.heading)}</h2>{s.body}</section>' for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
        f"<header><h1>{escape(title)}</h1><p>{escape(about)}</p><nav>{links}</nav></header>"
        f"<main>{parts}</main><footer>{escape(foot)}</footer></body></html>\n"
    )


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(words)}</p>' if kind else f"<p>{escape(words)}</p>"


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    made = (
        f"<div class=card><b>{escape(figure)}</b><span>{escape(words)}</span></div>"
        for figure, words in items
    )
    return f'<div class="cards">{"".join(made)}</div>'


def grid(charts: Iterable[str]) -> str:
    """Charts side by side where there is room."""
    return f'<div class="grid2">{"".join(charts)}</div>'


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = ""
) -> str:
    """A table that scrolls by itself where it is too wide; `kind` "words" for text instead of figures."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headings)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def details(summary: str, body: str) -> str:
    """Markup that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"

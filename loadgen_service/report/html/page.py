"""One HTML file that opens offline: its words, tables and plots, with style and script inlined.

Knows nothing of runs; whoever calls it says what stands where. All text is escaped here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib import resources
from typing import Final, Literal

Unit = Literal["ns", "plain", "s", "tail"]
Style = Literal["line", "dash", "points", "dots", "steps", "bars"]

COLOURS: Final = ("#2457c5", "#d1495b", "#1f8a70", "#8e5bb5", "#c77700", "#3a7ca5", "#6b705c")
"""Of systems and parts, in order; told apart by people who do not see red and green, too."""

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Said to the browser, so that the page cannot ask any network for anything."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: ``unit`` says how its numbers are spelt; ``log``: a decade is a step."""

    label: str
    unit: Unit = "plain"
    log: bool = False
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a plot; ``values`` stand over the plot's x values, None where there is none."""

    label: str
    values: Sequence[float | None]
    color: str = COLOURS[0]
    style: Style = "line"
    width: float = 1.6
    fill: bool = False
    gaps: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over shared, ascending x values."""

    x: Axis
    y: Axis
    x_values: Sequence[float]
    lines: Sequence[Line]
    height: int = 300

    def to_json(self) -> dict[str, object]:
        """As the page's script reads it."""
        return {
            "height": self.height,
            "x": asdict(self.x) | {"values": list(self.x_values)},
            "y": asdict(self.y),
            "series": [asdict(line) for line in self.lines],
        }


@dataclass(slots=True)
class Page:
    """Gathers the parts of a page in their order; :meth:`html` gives the file."""

    title: str
    _parts: list[str] = field(default_factory=list)
    _plots: dict[str, Plot] = field(default_factory=dict)

    def section(self, title: str, *parts: str, words: str = "") -> None:
        """A box with a heading, plain words on how to read it, and ready HTML parts."""
        said = f'<p class="words">{escape(words)}</p>' if words else ""
        self._parts.append(f"<section><h2>{escape(title)}</h2>{said}{''.join(parts)}</section>")

    def raw(self, part: str) -> None:
        """Ready HTML, such as the head of the page."""
        self._parts.append(part)

    def plot(self, plot: Plot) -> str:
        """HTML of a plot's place; its data goes to the end of the file."""
        name = f"plot-{len(self._plots)}"
        self._plots[name] = plot
        return f'<div class="plot" id="{name}"></div>'

    def html(self) -> str:
        """The whole file."""
        plots = {name: plot.to_json() for name, plot in self._plots.items()}
        # "</" inside a script would end it, whatever the JSON says
        data = json.dumps(plots, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        return "\n".join(
            [
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{_asset('uPlot.min.css')}\n{_asset('page.css')}</style>",
                "</head><body><main>",
                *self._parts,
                f'</main><script type="application/json" id="plots">{data}</script>',
                f"<script>{_asset('uPlot.iife.min.js')}</script>",
                f"<script>{_asset('page.js')}</script></body></html>\n",
            ]
        )


def _asset(name: str) -> str:
    folder = resources.files("loadgen_service.report") / "assets"
    return (folder / name).read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is not plain text: ``kind`` is its class in the style sheet."""

    text: str
    kind: str = ""
    html: str = ""


def html_table(head: Sequence[str | Cell], rows: Sequence[Sequence[str | Cell]]) -> str:
    """A table that scrolls by itself where it is too wide; the first column is to the left."""
    top = f"<tr>{''.join(_cell(cell, 'th') for cell in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(_cell(cell, 'td') for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{top}{body}</table></div>'


def _cell(cell: str | Cell, tag: str) -> str:
    if isinstance(cell, str):
        return f"<{tag}>{escape(cell)}</{tag}>"
    kind = f' class="{escape(cell.kind)}"' if cell.kind else ""
    return f"<{tag}{kind}>{cell.html or escape(cell.text)}</{tag}>"


def paragraph(text: str) -> str:
    """A paragraph of plain words."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """A list; nothing where there is nothing to list."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """The few numbers to see first: ``(name, value)``."""
    boxes = (f"<div class=tile><b>{escape(v)}</b><span>{escape(n)}</span></div>" for n, v in pairs)
    return f'<div class="tiles">{"".join(boxes)}</div>'


def badge(verdict: str) -> str:
    """A verdict's word in its colour."""
    kind = {"VALID": "good", "INVALID": "bad"}.get(verdict, "wait")
    return f'<span class="verdict {kind}">{escape(verdict)}</span>'


def folded(title: str, *parts: str) -> str:
    """Parts that are shown when asked for."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"

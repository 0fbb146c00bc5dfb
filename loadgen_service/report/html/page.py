"""One HTML file that opens offline: its words, tables and plots, with style and script inlined.

Knows nothing of runs; whoever calls it says what stands where, as blocks. The template
``templates/page.html`` renders them, and escapes every text.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any, ClassVar, Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

Unit = Literal["ns", "plain", "s", "tail"]
Style = Literal["line", "dash", "points", "dots", "steps", "bars"]

COLOURS: Final = ("c0", "c1", "c2", "c3", "c4", "c5", "c6")
"""Of systems and parts, in order: variables of the style sheet, which has them for light and dark.
People who do not see red and green tell them apart, too."""
LIMIT_COLOUR: Final = "limit"
"""Only limits, and what broke one, are drawn in it."""
FAINT_COLOUR: Final = "faint"


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
    """One series of a plot; ``values`` stand over the plot's x values, None where there is none.

    ``color`` names a colour of the style sheet, such as one of ``COLOURS``.
    """

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


@dataclass(frozen=True, slots=True)
class Badge:
    """A verdict's word in its colour."""

    word: str
    block: ClassVar[str] = "badge"

    @property
    def kind(self) -> str:
        """The class of its colour."""
        return {"VALID": "good", "ok": "good", "INVALID": "bad", "FAIL": "bad"}.get(
            self.word, "wait"
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is not plain text: ``kind`` is its class in the style sheet; ``href``: a link;
    ``is_badge``: a verdict."""

    text: str
    kind: str = ""
    href: str = ""
    is_badge: bool = False

    @property
    def badge(self) -> Badge:
        """The text as a verdict."""
        return Badge(self.text)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that scrolls inside itself where it is too wide; the first column is to the left.

    ``kind``: "stacked", where a narrow screen shows the cells of a row below each other.
    """

    head: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]
    kind: str = ""
    block: ClassVar[str] = "table"

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.rows)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of plain words."""

    text: str
    block: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    lines: Sequence[str]
    block: ClassVar[str] = "bullets"

    def __bool__(self) -> bool:
        """Whether there is anything to list."""
        return bool(self.lines)


@dataclass(frozen=True, slots=True)
class Tiles:
    """The few numbers to see first: ``(name, value)``."""

    pairs: Sequence[tuple[str, str]]
    block: ClassVar[str] = "tiles"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar: its share of the whole, from 0 to 1."""

    name: str
    share: float
    color: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A whole, cut into its parts, with a key."""

    parts: Sequence[Part]
    block: ClassVar[str] = "bar"

    def __bool__(self) -> bool:
        """Whether there is anything to cut."""
        return bool(self.parts)


@dataclass(frozen=True, slots=True)
class Banner:
    """A warning above everything else."""

    title: str
    lines: Sequence[str]
    block: ClassVar[str] = "banner"


@dataclass(frozen=True, slots=True)
class PlotSlot:
    """Where a plot is drawn; its data stands at the end of the file."""

    name: str
    height: int
    block: ClassVar[str] = "plot"


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown when asked for."""

    title: str
    blocks: Sequence[Block]
    block: ClassVar[str] = "folded"


@dataclass(frozen=True, slots=True)
class Section:
    """A box with a heading, plain words on how to read it, and blocks."""

    title: str
    words: str
    blocks: Sequence[Block]
    block: ClassVar[str] = "section"


Block = Badge | Table | Paragraph | Bullets | Tiles | Bar | Banner | PlotSlot | Folded | Section


@dataclass(slots=True)
class Page:
    """Collects the blocks of a page in their order; :meth:`html` gives the file."""

    title: str
    _blocks: list[Block] = field(default_factory=list)
    _plots: dict[str, Plot] = field(default_factory=dict)

    def section(self, title: str, *blocks: Block | None, words: str = "") -> None:
        """Add a box; blocks without content are left out."""
        self._blocks.append(Section(title, words, shown(*blocks)))

    def add(self, block: Block) -> None:
        """Add a block outside any box."""
        self._blocks.append(block)

    def plot(self, plot: Plot) -> PlotSlot:
        """The slot of a plot, to be put into a section."""
        name = f"plot-{len(self._plots)}"
        self._plots[name] = plot
        return PlotSlot(name, plot.height)

    def html(self) -> str:
        """The whole file."""
        plots = {name: plot.to_json() for name, plot in self._plots.items()}
        # "</" inside a script would end it, whatever the JSON says
        data = json.dumps(plots, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        return (
            _templates()
            .get_template("page.html")
            .render(
                title=self.title,
                blocks=self._blocks,
                styles=[_asset(name) for name in ("uPlot.min.css", "colours.css", "page.css")],
                data=Markup(data),
                scripts=[_asset("uPlot.iife.min.js"), _asset("page.js")],
            )
        )


def shown(*blocks: Block | None) -> list[Block]:
    """The blocks that have content."""
    return [block for block in blocks if block]


def folded(title: str, *blocks: Block | None) -> Folded:
    """Blocks that are shown when asked for."""
    return Folded(title, shown(*blocks))


def _asset(name: str) -> Markup:
    """A file of ours that is inlined as it is."""
    folder = resources.files("loadgen_service.report") / "assets"
    return Markup((folder / name).read_text(encoding="utf-8").strip())


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("loadgen_service.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["cell"] = _is_cell
    return environment


def _is_cell(value: Any) -> bool:
    return isinstance(value, Cell)

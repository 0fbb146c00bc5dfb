"""Who sees progress: a live panel in a terminal, plain lines in a log, or nobody.

All write to stderr, so that stdout holds the verdict alone.
"""

from __future__ import annotations

import sys
from typing import Final, Protocol

from loadgen_proto import loadgen_pb2 as pb
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadgen_service.cli import progress_lines
from loadgen_service.core.printable import printable
from loadgen_service.report.tokens import TOKEN_RATE, TTFT

_BAR_WIDTH: Final = 60
_COUNTED: Final = frozenset({"elapsed", "issued", "completed", "outstanding", "failed"})
_SPOKEN: Final = frozenset({f"{TTFT} p50", f"{TTFT} p99", TOKEN_RATE})


class View(Protocol):
    """Shows a run while it lasts."""

    def show(self, status: pb.RunStatus) -> None:
        """Take in one status."""

    def say(self, line: str) -> None:
        """One line out of order, such as what Ctrl-C does."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class NoView:
    """Shows nothing; what was said out of order still goes to stderr."""

    def show(self, status: pb.RunStatus) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """One line."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing."""


class PlainView(NoView):
    """Lines for a log."""

    def __init__(self) -> None:
        self._lines = progress_lines.PlainLines()

    def show(self, status: pb.RunStatus) -> None:
        """A line now and then."""
        for line in self._lines.lines(status):
            self.say(line)


class LiveView:
    """One panel that changes in place, and disappears when the verdict comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._notes: set[str] = set()

    def show(self, status: pb.RunStatus) -> None:
        """Draw the panel anew."""
        notes = [f"note: {note}" for note in status.notes]
        notes += [f"{one.stream_name}: note: {n}" for one in status.streams for n in one.notes]
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self.say(note)
        self._live.update(panel(status), refresh=True)

    def say(self, line: str) -> None:
        """One line above the panel."""
        self._console.print(printable(line), markup=False, highlight=False)

    def close(self) -> None:
        """Remove the panel."""
        self._live.stop()


def panel(status: pb.RunStatus) -> RenderableType:
    """Title, state, a bar where the length is known, and the live figures; streams one below the
    other.
    """
    if status.streams:
        return Group(*(panel(one) for one in status.streams))
    head = Text.assemble(
        (printable(progress_lines.title(status)), "bold"), "  ", progress_lines.state_words(status)
    )
    parts: list[RenderableType] = [head]
    behind = progress_lines.share(status)
    if behind is not None and status.queries.issued:
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=1.0, completed=behind, width=_BAR_WIDTH))
        parts.append(bar)
    if status.queries.issued:
        parts.append(_figures(status))
    return Group(*parts)


def _figures(status: pb.RunStatus) -> RenderableType:
    """Lines of ``name value``: how many, of tokens, and how fast; they fit 80 columns."""
    failed = status.queries.failed + status.queries.timed_out
    counted, spoken, timed = Text(), Text(), Text()
    for name, value in progress_lines.figures(status).items():
        line = counted if name in _COUNTED else spoken if name in _SPOKEN else timed
        line.append(f"{name} ", style="dim")
        line.append(f"{value}   ", style="red" if name == "failed" and failed else "")
    return Group(*(line for line in (counted, spoken, timed) if line))


def choose_view(quiet: bool) -> View:
    """The view that fits: none when quiet, a panel in a terminal, else plain lines."""
    if quiet:
        return NoView()
    console = Console(stderr=True)
    return LiveView(console) if console.is_terminal else PlainView()

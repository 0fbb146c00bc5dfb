"""Several runs in one table: a row a run, its verdict, its number, its tail, and why it failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadgen_service.core.printable import printable
from loadgen_service.core.summary.run import Summary
from loadgen_service.report.formatting import say_count, say_metric, say_ns, say_peak, say_verdict
from loadgen_service.report.tokens import COLUMNS as TOKEN_COLUMNS
from loadgen_service.report.tokens import token_cells

COLUMNS: Final = (
    "scenario",
    "verdict",
    "measured",
    "samples",
    "p50",
    "p99",
    "delay p99",
    "failed",
)
_LEFT: Final = 3
_MEASURED_WIDTH_MIN: Final = 14
LOG_WIDTH: Final = 110
"""Columns of a table in a file or a pipe, where nothing says how wide it may be."""
_COLOURS: Final = {"VALID": "green", "INVALID": "red", "INTERRUPTED": "yellow"}


def row(summary: Summary) -> tuple[str, ...]:
    """The cells of one run, as text, under ``COLUMNS``."""
    counts, latency, delay = summary.counts.samples, summary.latency_ns, summary.issue_delay_ns
    accuracy = summary.mode == "accuracy"
    return (
        f"{summary.scenario} accuracy" if accuracy else summary.scenario,
        say_verdict(summary.valid, summary.state),
        _say_accuracy(summary) if accuracy else say_peak(summary) or say_metric(summary.metric),
        say_count(counts.completed),
        say_ns(latency.p50) if latency else "-",
        say_ns(latency.p99) if latency else "-",
        say_ns(delay.p99) if delay else "-",
        say_count(counts.failed + counts.timed_out + counts.lost),
    )


def print_table(console: Console, summaries: Sequence[Summary], title: str = "") -> None:
    """Draw the table, and below it every finding that was not met with what to do.

    Where the console is narrower than ``LOG_WIDTH``, the cells of a run stand below each other:
    no column is ever left out. Where answers came in pieces, their tokens come first.
    """
    print_tokens(console, summaries)
    print_rows(console, COLUMNS, [row(summary) for summary in summaries], title)
    for line in complaints(summaries):
        console.print(printable(line), markup=False, highlight=False)


def print_tokens(console: Console, summaries: Sequence[Summary]) -> None:
    """Draw a row a run with its figures of tokens; nothing where no answer came in pieces."""
    rows = [(summary.scenario, *cells) for summary in summaries if (cells := token_cells(summary))]
    if not rows:
        return
    if console.width < LOG_WIDTH:
        for name, *said_cells in rows:
            pairs = zip(TOKEN_COLUMNS, said_cells, strict=True)
            said = ", ".join(f"{column} {cell}" for column, cell in pairs)
            console.print(escape(f"{name}: {said}"), highlight=False)
        return
    drawn = Table(pad_edge=False, box=box.SIMPLE_HEAD)
    drawn.add_column("scenario")
    for column in TOKEN_COLUMNS:
        drawn.add_column(column, justify="right")
    for row_cells in rows:
        drawn.add_row(*map(escape, row_cells))
    console.print(drawn)


def print_rows(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = ""
) -> None:
    """Draw the cells as a table, or below each other where the console is narrow."""
    if console.width >= LOG_WIDTH:
        console.print(draw_rows(columns, rows, title))
        return
    for line in stacked(columns, rows, title):
        console.print(line, highlight=False)


def stacked(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = ""
) -> Iterator[str]:
    """Lines for a narrow console: a run's name and verdict, its number, then its other cells."""
    if title:
        yield escape(title)
    left = _LEFT + len(columns) - len(COLUMNS)
    for cells in rows:
        *names, verdict, measured = cells[:left]
        yield f"{escape(' '.join(names))}: {_coloured(verdict)}, {escape(measured)}"
        pairs = zip(columns[left:], cells[left:], strict=True)
        yield "  " + escape(", ".join(f"{name} {cell}" for name, cell in pairs))


def draw_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Cells under ``columns``, the last of which are ``COLUMNS``; verdicts in their colours."""
    drawn = Table(
        title=escape(printable(title)) or None,
        title_justify="left",
        pad_edge=False,
        box=box.SIMPLE_HEAD,
    )
    left = _LEFT + len(columns) - len(COLUMNS)
    for index, name in enumerate(columns):
        wraps = name == "measured"
        drawn.add_column(
            name,
            justify="left" if index < left else "right",
            no_wrap=not wraps,
            min_width=_MEASURED_WIDTH_MIN if wraps else None,
        )
    verdict = columns.index("verdict")
    for cells in rows:
        drawn.add_row(
            *(_coloured(cell) if column == verdict else escape(printable(cell))
              for column, cell in enumerate(cells))
        )  # fmt: skip
    return drawn


def stdout_console() -> Console:
    """A console on stdout, wide enough for the table where stdout is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def complaints(summaries: Iterable[Summary]) -> list[str]:
    """One line for each finding that was not met, and one for its advice."""
    lines = []
    for summary in summaries:
        for finding in summary.findings:
            if not finding.met:
                lines.append(
                    f"{summary.scenario}: {finding.name}: {finding.measured}, "
                    f"required {finding.required}"
                )
                lines.append(f"    {finding.advice}")
    return [line for line in lines if line.strip()]


def _say_accuracy(summary: Summary) -> str:
    scores = summary.accuracy or {}
    said = [f"{name} {scores[name]:.4g}" for name in ("top1", "top5") if name in scores]
    return ", ".join(said) or "no labels"


def _coloured(word: str) -> str:
    colour = _COLOURS.get(word)
    return f"[{colour}]{word}[/{colour}]" if colour else word

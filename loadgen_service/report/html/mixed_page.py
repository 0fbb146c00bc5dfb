"""A mixed run in words and on one page: a row a stream, each with its verdict, and its report."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.printable import printable
from loadgen_service.core.summary.mixed import CommonStart, MixedSummary, StreamSummary
from loadgen_service.report.formatting import say_ns, say_verdict, table
from loadgen_service.report.html.page import Badge, Bullets, Cell, Page, Paragraph, Table
from loadgen_service.report.verdict_table import COLUMNS, complaints, row

LACKING: Final = ("-",) * (len(COLUMNS) - 2)


def stream_row(stream: StreamSummary) -> tuple[str, ...]:
    """The cells of one stream: its name, its model, and those of a run by itself."""
    if stream.summary is None:
        return (stream.name, "-", "-", stream.state, *LACKING)
    model = str(stream.summary.settings.get("model") or "-")
    return (stream.name, model, *row(stream.summary))


def remarks(mixed: MixedSummary) -> list[str]:
    """How the common start was met, how long the streams ran together, and the notes."""
    said = [_say_start(mixed.start)] if mixed.start else []
    if mixed.together_ns is not None:
        said.append(f"All streams had load for {say_ns(mixed.together_ns)}.")
    return [*said, *mixed.notes]


def _say_start(start: CommonStart) -> str:
    return (
        f"Common start: {start.worker_count} workers began within {say_ns(start.skew_ns)} of each "
        f"other, by clocks that are known to {say_ns(start.clock_error_ns)}."
    )


def reasons(mixed: MixedSummary) -> list[str]:
    """Why streams are not VALID, each with the stream's name."""
    said = []
    for stream in mixed.streams:
        if stream.error:
            said.append(f"{stream.name}: {stream.error}")
        lines = complaints([stream.summary]) if stream.summary else []
        said += [line if line.startswith(" ") else f"{stream.name}: {line}" for line in lines]
    return said


def render_mixed_text(mixed: MixedSummary) -> str:
    """report.txt; ends in a newline."""
    rows = [("stream", "model", *COLUMNS), *(stream_row(stream) for stream in mixed.streams)]
    lines = [
        f"{say_verdict(mixed.valid, mixed.state)}  mixed run {mixed.run_id}",
        f"started {mixed.started_at or 'never'}",
        "",
        *table(rows),
        "",
        *(reasons(mixed) or ["Every stream met all its conditions."]),
        "",
        *remarks(mixed),
        "",
        "Each stream's own report:",
        *(f"  {stream.directory}/report.txt" for stream in mixed.streams if stream.summary),
    ]
    return printable("\n".join(lines) + "\n")


def render_mixed_html(mixed: MixedSummary) -> str:
    """report.html, with links to the streams' own pages beside it."""
    verdict = say_verdict(mixed.valid, mixed.state)
    page = Page(f"{verdict} mixed {mixed.run_id}")
    names = ", ".join(stream.name for stream in mixed.streams)
    page.section(
        f"Mixed traffic: {names}",
        Badge(verdict),
        Paragraph(f"Run {mixed.run_id}, started {mixed.started_at or 'never'}."),
        Bullets(_joined(reasons(mixed))),
    )
    page.section(
        "Streams",
        Table(["stream", "model", *COLUMNS, "report"], [_cells(s) for s in mixed.streams]),
        words="Every stream is a run of its own: its own rate, data, limits and verdict. They "
        "began at one instant and loaded their systems at the same time.",
    )
    page.section("Together", Bullets(remarks(mixed)))
    return page.html()


def _joined(lines: list[str]) -> list[str]:
    """Each reason with its advice, which follows it indented."""
    said: list[str] = []
    for line in lines:
        if line.startswith(" ") and said:
            said[-1] += f". {line.strip()[:1].upper()}{line.strip()[1:]}."
        else:
            said.append(line)
    return said


def _cells(stream: StreamSummary) -> list[str | Cell]:
    name, model, scenario, verdict, *others = stream_row(stream)
    kind = {"VALID": "ok", "INVALID": "fail"}.get(verdict, "text")
    report = Cell("report", href=f"{stream.directory}/report.html") if stream.summary else "-"
    return [name, model, scenario, Cell(verdict, kind), *others, report]

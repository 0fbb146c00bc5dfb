"""A sweep as one page and one Parquet file: the curve, its knee, the highest valid rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from loadgen_service.core.search.rate_sweep import SweepPoint, highest_valid, knee
from loadgen_service.core.summary.run import Summary
from loadgen_service.report.formatting import say_count, say_ns, say_rate
from loadgen_service.report.html.page import (
    COLOURS,
    FAINT_COLOUR,
    LIMIT_COLOUR,
    Axis,
    Bullets,
    Cell,
    Line,
    Page,
    Plot,
    Table,
    Tiles,
)

PAGE_FILE: Final = "sweep.html"
POINTS_FILE: Final = "sweep.parquet"
_LINES: Final = {"p50_ns": "p50", "p90_ns": "p90", "p99_ns": "p99"}


def point_of(summary: Summary, target_qps: float, directory: str) -> SweepPoint:
    """What one run says about its rate."""
    latency, samples = summary.latency_ns, summary.counts.samples
    return SweepPoint(
        target_qps=target_qps,
        completed_qps=summary.completed_qps,
        valid=bool(summary.valid),
        mean_ns=latency.mean if latency else None,
        p50_ns=latency.p50 if latency else None,
        p90_ns=latency.p90 if latency else None,
        p99_ns=latency.p99 if latency else None,
        p99_9_ns=latency.p99_9 if latency else None,
        max_ns=latency.max if latency else None,
        failed_count=samples.unanswered,
        reason=summary.invalid_reason,
        directory=directory,
    )


def sentences(points: Sequence[SweepPoint]) -> list[str]:
    """The two answers of a sweep, or why there is none."""
    best, bend = highest_valid(points), knee(points)
    said = [
        f"Highest valid rate: {say_rate(best.target_qps)} queries/s, p99 {say_ns(best.p99_ns)}."
        if best
        else "No rate was valid."
    ]
    if best and best.target_qps == max(point.target_qps for point in points):
        said[0] += " It is the last one: the limit lies beyond the range."
    said.append(
        f"Knee: {say_rate(bend.target_qps)} queries/s, mean latency {say_ns(bend.mean_ns)}; "
        "beyond it, latency grows faster than what is completed."
        if bend
        else "The range shows no knee: take lower or higher rates, or shorter steps."
    )
    return said


def render_sweep(points: Sequence[SweepPoint], title: str, limit_ns: int | None) -> str:
    """The whole page; ``points`` by rate."""
    page = Page(f"Sweep of {title}")
    best, bend = highest_valid(points), knee(points)
    boxes = [
        ("highest valid rate", f"{say_rate(best.target_qps)}/s" if best else "none"),
        ("knee", f"{say_rate(bend.target_qps)}/s" if bend else "none in this range"),
        ("points", say_count(len(points))),
    ]
    page.section(f"Sweep of {title}", Bullets(sentences(points)), Tiles(boxes))
    page.section(
        "Latency against load",
        page.plot(_curve(points, limit_ns)),
        words="Latency at each rate that was offered. Near the left the system has time to spare; "
        "where the curve bends, queries begin to wait for each other. "
        "Every point is a run of its own, with its own verdict.",
    )
    page.section(
        "Completed against offered",
        page.plot(_throughput(points)),
        words="Where the line leaves the dashed one, the system completes less than it is offered.",
    )
    page.section("Points", _table(points))
    return page.html()


def _curve(points: Sequence[SweepPoint], limit_ns: int | None) -> Plot:
    lines = [
        Line(name, [getattr(point, field) for point in points], COLOURS[place], "dots", gaps=True)
        for place, (field, name) in enumerate(_LINES.items())
    ]
    if limit_ns:
        lines.append(Line("limit", [float(limit_ns)] * len(points), LIMIT_COLOUR, "dash", 1.2))
    return Plot(
        Axis("offered queries a second"),
        Axis("latency", "ns", log=True),
        [point.target_qps for point in points],
        lines,
        height=380,
    )


def _throughput(points: Sequence[SweepPoint]) -> Plot:
    rates = [point.target_qps for point in points]
    done = [point.completed_qps for point in points]
    return Plot(
        Axis("offered queries a second"),
        Axis("completed a second"),
        rates,
        [
            Line("completed", done, COLOURS[2], "dots", gaps=True),
            Line("offered", rates, FAINT_COLOUR, "dash", 1.2),
        ],
    )


def _table(points: Sequence[SweepPoint]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            say_rate(point.target_qps),
            say_rate(point.completed_qps),
            *(say_ns(getattr(point, field)) for field in _LINES),
            say_ns(point.max_ns),
            say_count(point.failed_count),
            Cell("VALID" if point.valid else "INVALID", "ok" if point.valid else "fail"),
            Cell(point.reason, "text"),
            Cell(point.directory, href=f"{point.directory}/report.html"),
        ]
        for point in points
    ]
    head = ["offered/s", "completed/s", *_LINES.values(), "largest", "unanswered", ""]
    return Table([*head, Cell("why not", "text"), "run"], rows)


def write_points(path: Path, points: Sequence[SweepPoint]) -> None:
    """One row a point, columns as the fields of SweepPoint. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "str": pa.string()}
    schema = pa.schema(
        [(field.name, kinds[str(field.type).split(" ")[0]]) for field in fields(SweepPoint)]
    )
    rows = [asdict(point) for point in points]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, write_page_checksum=True)

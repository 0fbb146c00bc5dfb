"""The part of report.html about the SUTs' Prometheus metrics: figures, and shares over time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from loadgen_service.core.facts.scraped_metrics import KNOWN
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.units import NS_PER_S
from loadgen_service.report.html.page import COLOURS, Axis, Bullets, Line, Page, Plot, Table
from loadgen_service.report.records_reader import main_series
from loadgen_service.report.scraped_metrics import (
    HEAD,
    say_metric_name,
    scraped_remarks,
    scraped_rows,
)

SHARES: Final = tuple(name for name, known in KNOWN.items() if known.unit == "share")
LINES_MAX: Final = len(COLOURS)
POINTS_MAX: Final = 700
"""Of one line; the readings of a longer run are thinned evenly."""

Points = list[tuple[float, float]]
"""Seconds since the start of the series, and per cent."""


def scraped_section(page: Page, summary: Summary, directory: Path) -> None:
    """Nothing where no metrics were asked for."""
    if summary.sut_metrics is None:
        return
    rows = scraped_rows(summary)
    plot = _shares(summary, directory)
    page.section(
        "What the servers' metrics said",
        Table(["metric", *HEAD], rows),
        page.plot(plot) if plot else None,
        Bullets(scraped_remarks(summary)),
        words="The service read these from the servers' own Prometheus metrics while the load ran; "
        "the figures cover the measured time. A gauge has its smallest, mean and largest reading, "
        "a counter its growth a second, a histogram the mean and percentiles of what it counted. "
        "The plot shows how busy, or how full, the servers said "
        "they were: near 100 % for long means that this part is the limit. What happened between "
        "two readings is not seen.",
    )


def _shares(summary: Summary, directory: Path) -> Plot | None:
    series = main_series(summary)
    lines = _read_lines(directory, series.series_index) if series else {}
    if not lines:
        return None
    x_values = sorted({x for points in lines.values() for x, _ in points})
    drawn = [
        Line(name, [known.get(x) for x in x_values], COLOURS[place], gaps=True)
        for place, (name, known) in enumerate((name, dict(pts)) for name, pts in lines.items())
    ]
    return Plot(Axis("since the start", "s"), Axis("per cent", min=0.0, max=100.0), x_values, drawn)


def _read_lines(directory: Path, series_index: int) -> dict[str, Points]:
    """The first lines by their names; empty where the file is missing or is none."""
    import pyarrow.parquet as pq

    path = directory / "sut_metrics.parquet"
    lines: dict[str, Points] = {}
    try:
        wanted = [("name", "in", SHARES), ("series", "=", series_index), ("time_ns", ">=", 0)]
        table = pq.read_table(path, filters=wanted, page_checksum_verification=True)
    except (OSError, ValueError, KeyError):
        return {}
    places = {url: place for place, url in enumerate(table["target"].unique().to_pylist())}
    for row in table.to_pylist():
        if not math.isfinite(row["value"]):
            continue
        name = _line_name(row, places)
        if name in lines or len(lines) < LINES_MAX:
            lines.setdefault(name, []).append((row["time_ns"] / NS_PER_S, row["value"] * 100.0))
    return {name: _thinned(points) for name, points in lines.items()}


def _line_name(row: dict[str, Any], places: dict[str, int]) -> str:
    labels = ", ".join(json.loads(row["labels"]).values())
    target = [row["target"]] if len(places) > 1 else []
    return " ".join([say_metric_name(row["name"]), *target, *([labels] if labels else [])])


def _thinned(points: Points) -> Points:
    step = -(-len(points) // POINTS_MAX)
    return points[::step]

"""The plots of one series, each made from its traces; the words around them stand elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.records.columns import Status
from loadgen_service.core.stats.latency_heatmap import LatencyGrid
from loadgen_service.core.units import NS_PER_S
from loadgen_service.report.html.page import (
    COLOURS,
    FAINT_COLOUR,
    LIMIT_COLOUR,
    Axis,
    Line,
    Plot,
)
from loadgen_service.report.timeline import FAILURES, SLICES, SeriesTraces

TIME: Final = Axis("since the start", "s", min=0.0)
CURVE_POINTS: Final = 700
FEW: Final = 12
"""Queries in a slice below which its p99 is just its largest."""
LIMIT_DRAWN: Final = 4
"""Over time, a limit up to so many times the largest latency is drawn."""
HOP_NAMES: Final = {
    "late_ns": "generator late",
    "blocked_ns": "blocked",
    "service_ns": "network and SUT",
    "network_ns": "network and the rest",
    "server_queue_ns": "waiting in the SUT",
    "server_compute_ns": "computing in the SUT",
}
HOP_COLOURS: Final = dict(zip(HOP_NAMES, COLOURS, strict=False))
"""One colour for one hop, in the bar and in the plot."""
FAILURE_NAMES: Final = {
    Status.FAILED: "failed",
    Status.TIMED_OUT: "timed out",
    Status.LOST: "lost",
}


def curve_of(grid: LatencyGrid) -> tuple[list[float], list[float]]:
    """``(latency ns, share at least as long)``: every tail value, the body thinned evenly."""
    values, shares = grid.share_above()
    body = len(values) - len(grid.tail)
    most = CURVE_POINTS - len(grid.tail)
    if body > most:
        keep = np.unique(np.linspace(0, body - 1, most).astype(np.int64))
        values, shares = (np.r_[x[keep], x[body:]] for x in (values, shares))
    return values.tolist(), shares.tolist()


def tail_plot(
    curves: Sequence[tuple[str, LatencyGrid]], limit_ns: int | None, quantile: float
) -> Plot:
    """Share of answers that took at least so long, both axes logarithmic, down to the last one."""
    points = [(name, *curve_of(grid)) for name, grid in curves]
    marks = [float(limit_ns)] if limit_ns else []
    x_values = sorted({x for _, values, _ in points for x in values} | set(marks))
    lines = []
    for place, (name, values, shares) in enumerate(points):
        known = dict(zip(values, shares, strict=True))
        line = [known.get(x) for x in x_values]
        lines.append(Line(name, line, COLOURS[place % len(COLOURS)], width=2, gaps=True))
    if limit_ns:
        share = max(1.0 - quantile, 1e-9)
        spot = [share if x == limit_ns else None for x in x_values]
        lines.append(Line("limit", spot, LIMIT_COLOUR, "points"))
    return Plot(
        Axis("latency", "ns", log=True),
        Axis("share at least so long", "tail", log=True),
        x_values,
        lines,
        height=340,
    )


def _merged(grid: LatencyGrid) -> LatencyGrid:
    return grid.merged(_slice_count(grid.count))


def _slice_count(query_count: int) -> int:
    """Fewer, longer slices where there are few queries in each."""
    count = SLICES
    while count > 20 and query_count < FEW * count:
        count //= 2
    return count


def _line(values: Sequence[float | None], name: str, place: int) -> Line:
    return Line(name, values, COLOURS[place % len(COLOURS)], gaps=True)


def _centres(end_ns: int, slices: int) -> list[float]:
    """Middle of each slice, in seconds."""
    return [(place + 0.5) * end_ns / slices / NS_PER_S for place in range(slices)]


def latency_plot(grid: LatencyGrid, limit_ns: int | None) -> Plot:
    """Percentiles and the maximum over time."""
    merged = _merged(grid)
    lines = [
        _line(merged.slice_quantiles(quantile), f"p{quantile * 100:g}", place)
        for place, quantile in zip((0, 2, 3), (0.5, 0.9, 0.99), strict=True)
    ]
    top = [float(x) if x else None for x in merged.largest]
    lines.append(Line("largest", top, FAINT_COLOUR, gaps=True, width=1.0))
    # a limit far above every latency would press them all to the ground
    if limit_ns and limit_ns < LIMIT_DRAWN * int(grid.largest.max()):
        whole = [float(limit_ns)] * len(top)
        lines.append(Line("limit", whole, LIMIT_COLOUR, "dash", 1.2))
    return Plot(TIME, Axis("latency", "ns"), _centres(merged.end_ns, len(top)), lines)


def rate_plot(traces: SeriesTraces) -> Plot:
    """Requests a second that were due, left, and came back."""
    names = {"scheduled": "due", "issued": "issued", "answered": "answered"}
    slices = _slice_count(int(traces.steps["scheduled"].sum()))
    width_s = traces.end_ns / slices / NS_PER_S
    lines = [
        Line(
            names[step],
            (counts.reshape(slices, -1).sum(axis=1) / width_s).tolist(),
            COLOURS[place],
            "dash" if step == "scheduled" else "line",
        )
        for place, (step, counts) in enumerate(traces.steps.items())
    ]
    return Plot(TIME, Axis("requests a second"), _centres(traces.end_ns, slices), lines)


def outstanding_plot(traces: SeriesTraces) -> Plot:
    """Requests that had left and were neither answered nor given up at the end of each slice."""
    ended = traces.steps["answered"] + sum(traces.failures.values())
    waiting = np.maximum(0, np.cumsum(traces.steps["issued"] - ended))
    values = [float(x) for x in waiting]
    return Plot(
        TIME,
        Axis("requests outstanding"),
        _centres(traces.end_ns, SLICES),
        [Line("outstanding", values, COLOURS[3], fill=True)],
        height=220,
    )


def delay_plot(grid: LatencyGrid) -> Plot:
    """How late requests left, over time."""
    merged = _merged(grid)
    lines = [
        _line(merged.slice_quantiles(quantile), f"p{quantile * 100:g}", place)
        for place, quantile in zip((0, 3), (0.5, 0.99), strict=True)
    ]
    top = [float(x) if x else None for x in merged.largest]
    lines.append(Line("largest", top, FAINT_COLOUR, gaps=True, width=1.0))
    return Plot(TIME, Axis("issued after due", "ns"), _centres(merged.end_ns, len(top)), lines)


def hop_plot(traces: SeriesTraces) -> Plot:
    """Mean time at each hop, over time."""
    lines = [
        Line(HOP_NAMES[name], _numbers(means), HOP_COLOURS[name], gaps=True)
        for name, means in traces.hops.items()
    ]
    return Plot(TIME, Axis("mean time", "ns"), _centres(traces.end_ns, SLICES), lines)


def sut_plot(traces: SeriesTraces, names: dict[int, str]) -> Plot:
    """p99 of each SUT over time."""
    merged = {sut: _merged(traces.suts[sut]) for sut in sorted(traces.suts)}
    slices = min(len(grid.largest) for grid in merged.values())
    lines = [
        _line(grid.merged(slices).slice_quantiles(0.99), names.get(sut, str(sut)), place)
        for place, (sut, grid) in enumerate(merged.items())
    ]
    return Plot(TIME, Axis("p99 of latency", "ns"), _centres(traces.end_ns, slices), lines)


def failure_plot(traces: SeriesTraces) -> Plot:
    """Requests without a good answer, by how they ended, over time."""
    lines = [
        Line(FAILURE_NAMES[status], [float(x) for x in traces.failures[status]], colour, "bars")
        for status, colour in zip(FAILURES, (COLOURS[4], COLOURS[1], COLOURS[5]), strict=True)
        if traces.failures[status].any()
    ]
    return Plot(
        TIME, Axis("requests in a slice"), _centres(traces.end_ns, SLICES), lines, height=220
    )


def _numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]

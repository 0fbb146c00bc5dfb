"""Figures that only streamed answers have: gaps between pieces, tokens in and out, goodput.

Covers completed requests. Time to the first token and time per token stand with LoadGen's token
figures; judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen_service.core.figures.loadgen import per_second
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import BoolArray
from loadgen_service.core.records.request_table import Int64Array, RequestTable
from loadgen_service.core.records.token_rows import UNKNOWN_COUNT, CountedBy, TokenRows
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Streamed answers of completed requests.

    ``itl_ns``: gaps between one piece of an answer and the next, all requests together; a piece is
    what the server sent at once. ``counted_by``: requests by who counted their output tokens
    ("usage": the server; "tokenizer"; "chunks": a piece is taken for a token). Rates are over the
    series' ``elapsed_ns``. ``goodput_qps``: queries that met every limit of ``goodput_limits_ns``,
    a second; None where there is no limit.
    """

    stream_count: int
    piece_count: int
    itl_ns: Distribution | None
    output_token_count: int
    input_token_count: int | None
    output_tokens: Distribution | None
    input_tokens: Distribution | None
    counted_by: dict[str, int]
    output_tokens_per_second: float | None
    goodput_qps: float | None
    goodput_limits_ns: dict[str, int]


def stream_figures(
    settings: Settings,
    plan: SeriesPlan,
    table: RequestTable,
    tokens: TokenRows,
    elapsed_ns: int | None,
) -> StreamFigures | None:
    """Figures of a series' streams; None where nothing came in pieces."""
    if not len(tokens):
        return None
    done = table.status == Status.COMPLETED
    tokens = tokens.kept(np.isin(tokens.row, table.row[done]))
    counts = table.token_count[done].astype(np.int64)
    known = tokens.input_token_count[tokens.input_token_count != UNKNOWN_COUNT].astype(np.int64)
    limits = goodput_limits_ns(settings)
    good = _good_query_count(plan, table, limits) if limits else 0
    return StreamFigures(
        stream_count=len(tokens),
        piece_count=len(tokens.arrived_ns),
        itl_ns=Distribution.of(gaps_ns(tokens)),
        output_token_count=int(counts.sum()),
        input_token_count=int(known.sum()) if len(known) else None,
        output_tokens=Distribution.of(counts),
        input_tokens=Distribution.of(known),
        counted_by={
            one.name.lower(): count
            for one in CountedBy
            if (count := int(np.count_nonzero(tokens.counted_by == one)))
        },
        output_tokens_per_second=_rate(int(counts.sum()), elapsed_ns),
        goodput_qps=_rate(good, elapsed_ns) if limits else None,
        goodput_limits_ns=limits,
    )


def gaps_ns(tokens: TokenRows) -> Int64Array:
    """Gaps between the pieces of each request, joined."""
    if not len(tokens.arrived_ns):
        return np.empty(0, np.int64)
    gaps = np.diff(tokens.arrived_ns)
    # Between the last piece of one request and the first of the next there is no gap.
    lengths = tokens.length[tokens.length > 0]
    between = np.zeros(len(tokens.arrived_ns), np.bool_)
    between[np.cumsum(lengths) - 1] = True
    return gaps[~between[:-1]]


def goodput_limits_ns(settings: Settings) -> dict[str, int]:
    """The limits that a good query meets, by name: those that the run is judged by."""
    if settings.use_token_latencies:
        return {
            "ttft": settings.ttft_latency_ms * NS_PER_MS,
            "tpot": settings.tpot_latency_ms * NS_PER_MS,
        }
    return {"latency": settings.latency_limit_ns} if settings.latency_limit_ns else {}


def _good_query_count(plan: SeriesPlan, table: RequestTable, limits: dict[str, int]) -> int:
    """Queries whose requests all completed within every limit."""
    good = table.status == Status.COMPLETED
    latency = table.completed_ns - table.scheduled_ns
    if "latency" in limits:
        good &= latency <= limits["latency"]
    if "ttft" in limits:
        good &= _first_in_time(table, limits["ttft"])
        good &= _tokens_in_time(table, limits["tpot"])
    queries = table.row // plan.requests_per_query
    return len(np.unique(queries)) - len(np.unique(queries[~good]))


def _first_in_time(table: RequestTable, limit_ns: int) -> BoolArray:
    first = table.first_response_ns
    met: BoolArray = (first != NEVER) & (first - table.scheduled_ns <= limit_ns)
    return met


def _tokens_in_time(table: RequestTable, limit_ns: int) -> BoolArray:
    """Time per further token; a request of fewer than two tokens has none to be late."""
    steps = table.token_count.astype(np.int64) - 1
    span = table.completed_ns - table.first_response_ns
    met: BoolArray = span <= np.maximum(steps, 0) * limit_ns
    return met | (steps < 1)


def _rate(count: int, elapsed_ns: int | None) -> float | None:
    return None if elapsed_ns is None else per_second(count, elapsed_ns)

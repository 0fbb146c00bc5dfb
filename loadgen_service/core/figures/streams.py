"""Figures that only streamed answers have: TTFT, TPOT, ITL, tokens in and out, goodput.

Covers completed requests; judges nothing. LoadGen's own rule for the time per token, which goes to
the end of the answer, stands in ``core.figures.tokens``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.figures.loadgen import per_second
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import BoolArray
from loadgen_service.core.records.request_table import Int64Array, RequestTable
from loadgen_service.core.records.token_rows import UNKNOWN_COUNT, CountedBy, TokenRows
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.units import NS_PER_MS

FEW_PIECES: Final = 8
"""Below so many pieces the first one's share of the tokens is a large part of the span's. Where
pieces hold several tokens, too, (last - first) / (tokens - 1) is off by up to 1 in so many."""


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Streamed answers of completed requests.

    ``ttft_ns``: from the scheduled instant to the first piece; answers without any token have none.
    ``tpot_ns``: (last piece - first piece) / (tokens - 1); ``per_token_ns`` says which answers have
    none. ``itl_ns``: gaps between one piece of an answer and the next, all answers together; a
    piece is what the server sent at once.
    ``counted_by``: requests by who counted their output tokens ("usage": the server; "tokenizer";
    "chunks": a piece is taken for a token). ``output_token_count`` is of all completed answers.
    Rates are of what came within the series' ``elapsed_ns``: tokens by their own instants, queries
    by ``share_within``. ``goodput_qps``: queries that met every limit of ``goodput_limits_ns``, a
    second; None where there is no limit.
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
    ttft_ns: Distribution | None = None
    tpot_ns: Distribution | None = None


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
    places = _places(table, tokens)
    _, ones = np.unique(tokens.row, return_index=True)
    counts = table.token_count[done].astype(np.int64)
    inputs = tokens.input_token_count[ones]
    known = inputs[inputs != UNKNOWN_COUNT].astype(np.int64)
    first = table.first_response_ns[places[ones]]
    ttft = (first - table.scheduled_ns[places[ones]])[first != NEVER]
    tpot, _ = per_token_ns(table, tokens)
    limits = goodput_limits_ns(settings)
    good = _good_queries(plan, table, tokens, limits)
    return StreamFigures(
        stream_count=len(ones),
        piece_count=len(tokens.arrived_ns),
        ttft_ns=Distribution.of(ttft),
        tpot_ns=Distribution.of(tpot),
        itl_ns=Distribution.of(gaps_ns(tokens)),
        output_token_count=int(counts.sum()),
        input_token_count=int(known.sum()) if len(known) else None,
        output_tokens=Distribution.of(counts),
        input_tokens=Distribution.of(known),
        counted_by={
            one.name.lower(): count
            for one in CountedBy
            if (count := int(np.count_nonzero(tokens.counted_by[ones] == one)))
        },
        output_tokens_per_second=_rate(_arrived_by(table, tokens, elapsed_ns), elapsed_ns),
        goodput_qps=_rate(_weight(plan, table, good, elapsed_ns), elapsed_ns) if limits else None,
        goodput_limits_ns=limits,
    )


def _places(table: RequestTable, tokens: TokenRows) -> Int64Array:
    """Where the table has the request of each stream."""
    order = np.argsort(table.row, kind="stable")
    places: Int64Array = order[np.searchsorted(table.row, tokens.row, sorter=order)]
    return places


def _tokens_of(table: RequestTable, tokens: TokenRows) -> npt.NDArray[np.float64]:
    """Tokens of each stream [n]: its request's, by its share of the request's pieces."""
    places = _places(table, tokens)
    _, which = np.unique(tokens.row, return_inverse=True)
    pieces = np.bincount(which, weights=tokens.length)[which]
    streams = np.bincount(which)[which]
    share = np.where(pieces > 0, tokens.length / np.maximum(pieces, 1), 1 / streams)
    return np.asarray(table.token_count[places] * share, np.float64)


def per_token_ns(table: RequestTable, tokens: TokenRows) -> tuple[Int64Array, Int64Array]:
    """Time per further token of each stream that has one, and the plan row of each.

    (last piece - first piece) / (tokens - 1): what comes after the last token (usage, a finish
    reason) does not move it. A stream has none with fewer than two tokens, with all of its pieces
    at one instant, or with few pieces of several tokens each: the instants of its tokens are not
    known then, as of a tool's call that is sent whole when it is complete.
    """
    counts = np.rint(_tokens_of(table, tokens)).astype(np.int64)
    length, steps = tokens.length, counts - 1
    ends = np.cumsum(length)
    some = length > 0
    span = np.zeros(len(tokens), np.int64)
    span[some] = tokens.arrived_ns[ends[some] - 1] - tokens.arrived_ns[(ends - length)[some]]
    kept = (steps > 0) & (span > 0) & ((length >= FEW_PIECES) | (counts <= 2 * length))
    return span[kept] // steps[kept], tokens.row[kept]


def _arrived_by(table: RequestTable, tokens: TokenRows, elapsed_ns: int | None) -> float:
    """Tokens that came by ``elapsed_ns``; a stream's pieces have equal shares of its tokens.

    Tokens of a stream without a piece came with the end of its answer.
    """
    if elapsed_ns is None:
        return 0.0
    counts, length = _tokens_of(table, tokens), tokens.length
    inside = np.zeros(len(tokens.arrived_ns) + 1, np.int64)
    np.cumsum(tokens.arrived_ns <= elapsed_ns, out=inside[1:])
    ends = np.cumsum(length)
    came = inside[ends] - inside[ends - length]
    ended = table.completed_ns[_places(table, tokens)] <= elapsed_ns
    share = np.where(length > 0, came / np.maximum(length, 1), ended)
    return float((counts * share).sum())


def share_within(
    scheduled_ns: Int64Array, completed_ns: Int64Array, elapsed_ns: int
) -> npt.NDArray[np.float64]:
    """How much of each answer counts for a rate over [0, ``elapsed_ns``].

    An answer that spans the end of the window counts by the share of its time within it. Counting
    only those that ended in it, or all of them, makes the rate of a closed loop depend on where the
    window cuts the answers: by up to one answer for each caller.
    """
    span = np.maximum(completed_ns - scheduled_ns, 1)
    share: npt.NDArray[np.float64] = np.clip((elapsed_ns - scheduled_ns) / span, 0.0, 1.0)
    share[completed_ns <= elapsed_ns] = 1.0
    return share


def gaps_ns(tokens: TokenRows) -> Int64Array:
    """Gaps between the pieces of each stream, joined."""
    if not len(tokens.arrived_ns):
        return np.empty(0, np.int64)
    gaps = np.diff(tokens.arrived_ns)
    # Between the last piece of one stream and the first of the next there is no gap.
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


def _good_queries(
    plan: SeriesPlan, table: RequestTable, tokens: TokenRows, limits: dict[str, int]
) -> BoolArray:
    """Rows [n] of queries whose requests all completed within every limit."""
    good: BoolArray = table.status == Status.COMPLETED
    latency = table.completed_ns - table.scheduled_ns
    if "latency" in limits:
        good &= latency <= limits["latency"]
    if "ttft" in limits:
        good &= _first_in_time(table, limits["ttft"])
        good &= _tokens_in_time(table, tokens, limits["tpot"])
    if plan.requests_per_query == 1:
        return good
    queries = table.row // plan.requests_per_query
    return np.asarray(~np.isin(queries, queries[~good]), np.bool_)


def _weight(
    plan: SeriesPlan, table: RequestTable, good: BoolArray, elapsed_ns: int | None
) -> float:
    """How many good queries came within the window; a query spans all of its requests."""
    if elapsed_ns is None:
        return 0.0
    queries, which = np.unique(table.row[good] // plan.requests_per_query, return_inverse=True)
    begun = np.full(len(queries), np.iinfo(np.int64).max)
    ended = np.full(len(queries), NEVER, np.int64)
    np.minimum.at(begun, which, table.scheduled_ns[good])
    np.maximum.at(ended, which, table.completed_ns[good])
    return float(share_within(begun, ended, elapsed_ns).sum())


def _first_in_time(table: RequestTable, limit_ns: int) -> BoolArray:
    first = table.first_response_ns
    met: BoolArray = (first != NEVER) & (first - table.scheduled_ns <= limit_ns)
    return met


def _tokens_in_time(table: RequestTable, tokens: TokenRows, limit_ns: int) -> BoolArray:
    """Time per further token; a request without one has none to be late.

    To the last token where its instant is known, else to the end of the answer.
    """
    steps = table.token_count.astype(np.int64) - 1
    span = table.completed_ns - table.first_response_ns
    met: BoolArray = (span <= np.maximum(steps, 0) * limit_ns) | (steps < 1)
    met |= np.isin(table.row, tokens.row)
    times, rows = per_token_ns(table, tokens)
    met &= ~np.isin(table.row, rows[times > limit_ns])
    return met


def _rate(count: float, elapsed_ns: int | None) -> float | None:
    return None if elapsed_ns is None else per_second(count, elapsed_ns)

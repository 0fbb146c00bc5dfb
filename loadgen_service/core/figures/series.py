"""Exact figures of one series out of its request table: counts, rates, distributions, breakdowns.

Decides which requests and which unit (query or sample) a figure covers; judges nothing.

Bursts as the unit: how late the worst of each is, how long it takes to go out and to drain.

Queries of one burst are correlated, so early stopping counts bursts (design, "Verdict").

What became of the sequences of a series: how many were played to their end, cut, failed or lost.

Decides by the requests' statuses; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from loadgen_service.core.facts.run import SeriesFacts
from loadgen_service.core.figures.loadgen import (
    EarlyStopping,
    Latencies,
    LoadgenFigures,
    limit_stopping,
    loadgen_figures,
    per_second,
    stream_stopping,
)
from loadgen_service.core.figures.streams import StreamFigures, share_within, stream_figures
from loadgen_service.core.figures.times import Hops, Rows, Times, request_hops, row_times
from loadgen_service.core.figures.tokens import TokenFigures, token_figures
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.plausibility import implausible_rows
from loadgen_service.core.records.query_rows import BoolArray, Counts, QueryRows, query_rows
from loadgen_service.core.records.request_table import (
    Column,
    Int64Array,
    RequestTable,
    samples_in_rows,
)
from loadgen_service.core.records.token_rows import TokenRows
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.percentiles import Distribution, pieces_of


@dataclass(frozen=True, slots=True)
class BurstFigures:
    """``drain_ns``: from a burst's instant to its last good answer, of bursts wholly answered.

    ``smear_ns``: from the first to the last query of a burst being issued.
    """

    burst_count: int
    unanswered_count: int
    drain_ns: Distribution | None
    smear_ns: Distribution | None


def burst_latencies(settings: Settings, queries: QueryRows) -> Latencies:
    """Latency of each burst's slowest query; a burst with an unanswered query is unanswered.

    Queries that were not issued do not count, nor do bursts without an issued query.
    """
    starts = _burst_starts(settings, len(queries.status))
    if len(starts) == 0:
        return Latencies(np.empty(0, dtype=np.int64), 0)
    issued = queries.status != Status.NOT_ISSUED
    good = queries.status == Status.COMPLETED
    latency = np.where(good, queries.completed_ns - queries.scheduled_ns, NEVER)
    any_issued = np.logical_or.reduceat(issued, starts)
    any_bad = np.logical_or.reduceat(issued & ~good, starts)
    slowest = np.maximum.reduceat(latency, starts)
    return Latencies(slowest[any_issued & ~any_bad], int(np.count_nonzero(any_bad)))


def burst_figures(settings: Settings, table: RequestTable) -> BurstFigures:
    """Drain and smear of every burst; one request is one query in this scenario."""
    queries = QueryRows(table.status, table.scheduled_ns, table.issued_ns, table.completed_ns)
    latencies = burst_latencies(settings, queries)
    return BurstFigures(
        burst_count=latencies.count,
        unanswered_count=latencies.unanswered_count,
        drain_ns=Distribution.of(latencies.completed_ns),
        smear_ns=Distribution.of(_smears(settings, table.issued_ns)),
    )


def _smears(settings: Settings, issued_ns: Int64Array) -> Int64Array:
    starts = _burst_starts(settings, len(issued_ns))
    if len(starts) == 0:
        return np.empty(0, dtype=np.int64)
    last = np.maximum.reduceat(issued_ns, starts)
    first = np.minimum.reduceat(
        np.where(issued_ns == NEVER, np.iinfo(np.int64).max, issued_ns), starts
    )
    smear: Int64Array = (last - first)[last != NEVER]
    return smear


def _burst_starts(settings: Settings, query_count: int) -> Int64Array:
    return np.arange(0, query_count, settings.burst_query_count, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SequenceFigures:
    """Sequences that were begun: begun = completed + cut + failed + lost.

    ``completed``: every request of the plan was answered. ``cut``: ended early by the end of the
    series. ``failed``: a request failed or timed out, and the rest was not sent. ``lost``: a
    request is lost, or its worker died while it was live. ``duration_ns``: of completed ones, from
    the first request's scheduled instant to the last answer; ``request_count``: their requests.
    """

    begun: int
    completed: int
    cut: int
    failed: int
    lost: int
    duration_ns: Distribution | None
    request_count: Distribution | None


def sequence_figures(
    plan: SeriesPlan, table: RequestTable, facts: SeriesFacts
) -> SequenceFigures | None:
    """Figures of a series' sequences; None where none were played."""
    play = plan.sequences
    if play is None:
        return None
    numbers = play.numbers_of(table.row)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    if not len(starts):
        return SequenceFigures(0, 0, 0, 0, 0, None, None)
    lengths = play.lengths(numbers[starts])
    answered = np.add.reduceat((table.status == Status.COMPLETED).astype(np.int64), starts)
    completed = answered == lengths
    failed = _any(np.isin(table.status, (Status.FAILED, Status.TIMED_OUT)), starts)
    dead = [worker.worker_index for worker in facts.workers if worker.lost]
    lost = _any(table.status == Status.LOST, starts)
    lost |= ~completed & ~failed & np.isin(table.worker_index[starts], dead)
    failed &= ~lost
    ends = np.maximum.reduceat(table.completed_ns, starts)
    return SequenceFigures(
        begun=len(starts),
        completed=int(completed.sum()),
        cut=int((~completed & ~failed & ~lost).sum()),
        failed=int(failed.sum()),
        lost=int(lost.sum()),
        duration_ns=Distribution.of((ends - table.scheduled_ns[starts])[completed]),
        request_count=Distribution.of(lengths[completed]),
    )


def _any(which: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether any row of each sequence is one of ``which``."""
    found: np.ndarray = np.logical_or.reduceat(which, starts)
    return found


@dataclass(frozen=True, slots=True)
class PartFigures:
    """What one SUT or one worker did. ``latency_ns``: of its completed requests."""

    index: int
    requests: Counts
    samples: Counts
    completed_samples_per_second: float | None
    latency_ns: Distribution | None
    times: Times


@dataclass(frozen=True, slots=True)
class SeriesFigures:
    """Everything that the judge and the summary need of one series.

    ``latency_ns`` covers completed ``latency_unit``s ("query", offline "sample") and counts from
    the scheduled instant. ``elapsed_ns``: from the start to the last good answer, in a concurrency
    run the window (``_window_ns``). Rates divide by it, and count what came within it: an answer
    that spans its end by the share of its time inside (``share_within``). ``outside_window_count``:
    queries of a concurrency run that began after the stop instant and are in the counts only.
    ``tokens``: where the settings ask for LoadGen's token rules.
    """

    queries: Counts
    requests: Counts
    samples: Counts
    latency_unit: str
    latency_ns: Distribution | None
    times: Times
    elapsed_ns: int | None
    completed_qps: float | None
    completed_samples_per_second: float | None
    loadgen: LoadgenFigures
    bursts: BurstFigures | None
    suts: tuple[PartFigures, ...]
    workers: tuple[PartFigures, ...]
    unaccounted_count: int
    duplicate_count: int
    foreign_count: int
    unexpected_count: int
    implausible: Mapping[str, int] = field(default_factory=dict)
    """Recorded requests that cannot be so, by what is wrong with them."""
    outside_window_count: int = 0
    streams: StreamFigures | None = None
    tokens: TokenFigures | None = None
    sequences: SequenceFigures | None = None


def series_figures(
    settings: Settings,
    plan: SeriesPlan,
    table: RequestTable,
    facts: SeriesFacts,
    tokens: TokenRows | None = None,
) -> SeriesFigures:
    """Figures of one series. Empty tables give zero counts and None for every distribution.

    ``tokens``: arrivals of streamed answers, where there were any.
    """
    sample_counts = samples_in_rows(plan, table.row)
    all_queries = query_rows(plan, table)
    windowed = SCENARIOS[settings.scenario].duration_clock == "window"
    stop_ns = _stop_ns(table, facts) if windowed else None
    queries = _began_by(all_queries, stop_ns)
    latencies = _latencies(settings, table, queries, sample_counts)
    elapsed_ns = _window_ns(table, stop_ns) if windowed else _last_answer(table)
    streams = stream_figures(settings, plan, table, tokens, elapsed_ns) if tokens else None
    bursts = _burst_latencies(settings, plan, table, queries)
    counts = Counts.of(all_queries.status)
    hops = request_hops(table, facts)
    whole = _part(Rows(table), hops, sample_counts, elapsed_ns)
    own = loadgen_figures(
        settings, queries, latencies, _stopping(settings, latencies, bursts), stop_ns
    )
    return SeriesFigures(
        queries=counts,
        requests=whole.requests,
        samples=whole.samples,
        latency_unit="sample" if SCENARIOS[settings.scenario].pulled else "query",
        latency_ns=Distribution.of(latencies.completed_ns),
        times=whole.times,
        elapsed_ns=elapsed_ns,
        completed_qps=_query_rate(all_queries, elapsed_ns),
        completed_samples_per_second=whole.completed_samples_per_second,
        loadgen=own,
        bursts=burst_figures(settings, table) if bursts else None,
        suts=tuple(_parts(table, hops, table.sut_index, sample_counts, elapsed_ns, whole)),
        workers=tuple(_parts(table, hops, table.worker_index, sample_counts, elapsed_ns, whole)),
        unaccounted_count=_unaccounted(table, facts),
        duplicate_count=table.duplicate_count,
        foreign_count=table.foreign_count,
        unexpected_count=table.unexpected_count,
        implausible=implausible_rows(plan, table, len(settings.sut)),
        outside_window_count=len(all_queries.status) - len(queries.status),
        streams=streams,
        tokens=_token_figures(settings, table, own, queries, streams),
        sequences=sequence_figures(plan, table, facts),
    )


def _token_figures(
    settings: Settings,
    table: RequestTable,
    own: LoadgenFigures,
    queries: QueryRows,
    streams: StreamFigures | None,
) -> TokenFigures | None:
    """Where the settings ask for them; a closed loop's tokens a second are those of its window."""
    if not settings.use_token_latencies:
        return None
    made = token_figures(settings, table, own, _query_latencies(queries))
    if streams is None:
        return made
    windowed = SCENARIOS[settings.scenario].duration_clock == "window"
    rate = streams.output_tokens_per_second if windowed else made.tokens_per_second
    return replace(made, tpot_ns=streams.tpot_ns, tokens_per_second=rate)


def _query_latencies(queries: QueryRows) -> Latencies:
    return Latencies(queries.latency_ns, Counts.of(queries.status).unanswered)


def _completed(table: RequestTable) -> BoolArray:
    done: BoolArray = table.status == Status.COMPLETED
    return done


def _last_answer(table: RequestTable) -> int | None:
    done = _completed(table)
    return int(table.completed_ns.max(where=done, initial=NEVER)) if done.any() else None


def _stop_ns(table: RequestTable, facts: SeriesFacts) -> int | None:
    """Until when a closed loop issued: the broadcast stop, else the last answer."""
    if facts.stop_ns is not None:
        return facts.stop_ns
    return _last_answer(table)


def _window_ns(table: RequestTable, stop_ns: int | None) -> int | None:
    """End of a closed loop's measured window: the first answer at or after the stop.

    Up to it every caller has a request out. The stop itself falls anywhere in the answers that are
    out then; where those are long, what came by it is less than what the SUT had worked on.
    """
    if stop_ns is None:
        return None
    out = (table.completed_ns >= stop_ns) & (table.scheduled_ns <= stop_ns)
    out &= table.status != Status.NOT_ISSUED
    return int(table.completed_ns[out].min()) if out.any() else stop_ns


def _began_by(queries: QueryRows, window_ns: int | None) -> QueryRows:
    """The queries that began within the window; all of them without one."""
    if window_ns is None or not len(queries.status):
        return queries
    inside = queries.scheduled_ns <= window_ns
    count = np.count_nonzero(inside)
    # in plan order, so mostly the first ones: those need no copy
    rows = slice(count) if inside[:count].all() else inside
    return QueryRows(
        queries.status[rows],
        queries.scheduled_ns[rows],
        queries.issued_ns[rows],
        queries.completed_ns[rows],
    )


def _latencies(
    settings: Settings, table: RequestTable, queries: QueryRows, sample_counts: Int64Array
) -> Latencies:
    """Latencies of the judged unit: every sample's in Offline, every query's elsewhere."""
    if not SCENARIOS[settings.scenario].pulled:
        return _query_latencies(queries)
    done = _completed(table)
    latency = table.completed_ns[done] - table.scheduled_ns[done]
    unanswered = Counts.of(table.status, sample_counts).unanswered
    return Latencies(np.repeat(latency, sample_counts[done]), unanswered)


def _burst_latencies(
    settings: Settings, plan: SeriesPlan, table: RequestTable, queries: QueryRows
) -> Latencies | None:
    if SCENARIOS[settings.scenario].due != "bursts":
        return None
    return burst_latencies(settings, queries)


def _stopping(
    settings: Settings, latencies: Latencies, bursts: Latencies | None
) -> EarlyStopping | None:
    kind = SCENARIOS[settings.scenario].early_stopping
    if kind == "estimate":
        only_sample = not SCENARIOS[settings.scenario].splits_queries
        return stream_stopping(settings, latencies, also_99=only_sample)
    if kind == "limit":
        return limit_stopping(settings, latencies, "samples")
    if kind == "bursts" and bursts is not None:
        return limit_stopping(settings, bursts, "bursts")
    return None


def _query_rate(queries: QueryRows, elapsed_ns: int | None) -> float | None:
    """Completions up to ``elapsed_ns`` a second; 0 where nothing completed in a known time."""
    if elapsed_ns is None:
        return None
    done = queries.status == Status.COMPLETED
    if (queries.completed_ns <= elapsed_ns).all():
        return per_second(int(np.count_nonzero(done)), elapsed_ns)
    shares = share_within(queries.scheduled_ns[done], queries.completed_ns[done], elapsed_ns)
    return per_second(float(shares.sum()), elapsed_ns)


def _unaccounted(table: RequestTable, facts: SeriesFacts) -> int:
    """Lost requests of workers that are alive: they were issued, and their records are missing."""
    gone = [worker.worker_index for worker in facts.workers if worker.lost]
    known = [worker.worker_index for worker in facts.workers]
    lost = table.worker_index[table.status == Status.LOST]
    return int(np.count_nonzero(np.isin(lost, known) & ~np.isin(lost, gone)))


def _parts(
    table: RequestTable,
    hops: Hops | None,
    key: Column,
    sample_counts: Int64Array,
    elapsed_ns: int | None,
    whole: PartFigures,
) -> Iterator[PartFigures]:
    """One breakdown: the rows grouped by ``key``, those without one (below 0) left out."""
    if len(key) and key.min() == key.max():
        if key[0] >= 0:
            yield replace(whole, index=int(key[0]))
        return
    present = {int(index) for piece in pieces_of(len(key)) for index in np.unique(key[piece])}
    for index in sorted(index for index in present if index >= 0):
        rows = Rows(table, np.flatnonzero(key == index))
        yield replace(_part(rows, hops, sample_counts, elapsed_ns), index=index)


def _part(
    rows: Rows, hops: Hops | None, sample_counts: Int64Array, elapsed_ns: int | None
) -> PartFigures:
    """Figures of some rows; its index says that they are nobody's in particular."""
    return PartFigures(
        index=-1,
        requests=_counts(rows),
        samples=_counts(rows, sample_counts),
        completed_samples_per_second=_sample_rate(rows, sample_counts, elapsed_ns),
        latency_ns=rows.latency(),
        times=row_times(rows, hops),
    )


def _counts(rows: Rows, weights: Int64Array | None = None) -> Counts:
    if weights is None:
        return Counts.of(rows.of(rows.table.status))
    return Counts.of(rows.of(rows.table.status), rows.of(weights))


def _sample_rate(rows: Rows, weights: Int64Array, elapsed_ns: int | None) -> float | None:
    """As ``_query_rate``, of samples."""
    if elapsed_ns is None:
        return None
    table, count = rows.table, 0.0
    for piece in pieces_of(len(rows)):
        done = rows.of(table.status, piece) == Status.COMPLETED
        due, ended = rows.of(table.scheduled_ns, piece), rows.of(table.completed_ns, piece)
        of_each = rows.of(weights, piece)
        if (ended <= elapsed_ns).all():
            count += int(of_each[done].sum())
        else:
            shares = share_within(due[done], ended[done], elapsed_ns)
            count += float((shares * of_each[done]).sum())
    return per_second(count, elapsed_ns)

"""Due times of queries, as offsets from the common start (LoadGen, specification 1.3 and 1.6).

Decides instants and how many queries cover the minimum; knows nothing of samples. Poisson arrivals
are LoadGen's to the nanosecond; the others are ours, from the same words and libm's logarithm.

Rates that vary over a series: ramps and steps, and the instants that follow from them.

Decides when the expected number of queries reaches a value; draws nothing. Only IEEE arithmetic and
square roots, so every host computes the same instants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen_service.core.plan.effective_settings import LARGEST_PLAN, Effective
from loadgen_service.core.plan.mt19937 import Int64Array, RandomWords, gamma_gaps
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.errors import SettingsError

# Rates are integrated in thousand-millionths of a query, so that sums are exact.
PARTS_PER_QUERY: Final = 1e9
_LONGEST_STEP_MS: Final = 1e12
_NEVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RatePiece:
    """From ``start_ns`` on the rate is ``start_qps + slope * (t - start)``, slope in qps a second.

    ``start_parts``: queries expected before it, in thousand-millionths.
    """

    start_ns: int
    start_qps: float
    slope: float
    start_parts: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate made of pieces; the last one goes on for ever. ``end_ns``: where it begins."""

    pieces: tuple[RatePiece, ...]
    end_ns: int

    def instants(self, parts: Int64Array) -> Int64Array:
        """When that many thousand-millionths of a query are due: the inverse of the integral."""
        starts = np.array([piece.start_parts for piece in self.pieces])
        # side="right": past a pause the later piece answers, so nothing is due inside it.
        which = np.searchsorted(starts, parts, side="right") - 1
        offsets = np.array([piece.start_ns for piece in self.pieces])[which]
        rates = np.array([piece.start_qps for piece in self.pieces])[which]
        slopes = np.array([piece.slope for piece in self.pieces])[which]
        queries = (parts - starts[which]) / PARTS_PER_QUERY
        # The root of rate*t + slope*t*t/2 = queries that stays exact as the slope goes to 0.
        root = np.sqrt(np.maximum(rates * rates + 2.0 * slopes * queries, 0.0))
        seconds = 2.0 * queries / np.maximum(rates + root, np.finfo(np.float64).tiny)
        times: Int64Array = offsets + (seconds * NS_PER_S).astype(np.int64)
        # Rounding must not carry an instant past the next piece's first.
        ends = np.array([*(piece.start_ns for piece in self.pieces[1:]), _NEVER_NS])
        np.minimum(times, ends[which], out=times)
        return times

    def queries_until(self, until_ns: int) -> float:
        """Queries expected before ``until_ns``."""
        piece = max((p for p in self.pieces if p.start_ns <= until_ns), key=_start_ns)
        seconds = (until_ns - piece.start_ns) / NS_PER_S
        passed = seconds * (piece.start_qps + piece.slope * seconds / 2.0)
        return piece.start_parts / PARTS_PER_QUERY + passed


def _start_ns(piece: RatePiece) -> int:
    return piece.start_ns


def parse_steps(text: str) -> Rate:
    """``QPS:MS,QPS:MS,...``: each rate for so long, the last one for ever; 0 is a pause."""
    pieces: list[RatePiece] = []
    start_ns, parts = 0, 0.0
    qps = 0.0
    for word in text.split(","):
        qps, duration_ms = _step(word)
        pieces.append(RatePiece(start_ns, qps, 0.0, parts))
        start_ns += round(duration_ms * NS_PER_MS)
        parts += qps * duration_ms * (PARTS_PER_QUERY / 1000.0)
    if qps <= 0:
        raise SettingsError("steps: the last rate must be above 0")
    return Rate(tuple(pieces), start_ns)


def _step(word: str) -> tuple[float, float]:
    rate_text, colon, duration_text = word.strip().partition(":")
    try:
        qps, duration_ms = float(rate_text), float(duration_text)
    except ValueError:
        raise SettingsError(f"steps: {word.strip()!r} is not QPS:MS") from None
    if not colon or not 0 <= qps < math.inf or not 0 < duration_ms < _LONGEST_STEP_MS:
        raise SettingsError(f"steps: {word.strip()!r}: need QPS of 0 or more and MS above 0")
    return qps, duration_ms


def ramp(first: float, last: float, duration_ms: int) -> Rate:
    """Linear from ``first`` to ``last`` queries a second over ``duration_ms``, then steady."""
    seconds = duration_ms / 1000.0
    steady = (first + last) / 2.0 * seconds * PARTS_PER_QUERY
    end_ns = duration_ms * NS_PER_MS
    flat = RatePiece(end_ns, last, 0.0, steady)
    if not end_ns:
        return Rate((flat,), 0)
    rising = RatePiece(0, first, (last - first) / seconds, 0.0)
    return Rate((rising, flat), end_ns)


_SPARE_TIMES: Final = 1024

TRACE_TIMES_MAX: Final = 8_000_000
"""What fits into one message to a worker (64 MiB), with room for the rest of it."""

TimesOf = Callable[[int], Int64Array]
"""The next ``count`` due times of a process, ns, ascending."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Due times of all generated queries, and the instant one gap after the last."""

    scheduled_ns: Int64Array
    generated_duration_ns: int


@dataclass(frozen=True, slots=True)
class Demand:
    """How many due times are wanted: ``query_count`` of them, going on until one reaches
    ``until_ns``; grown by whole multiples of ``grow_by`` (1: one at a time)."""

    query_count: int
    until_ns: int
    grow_by: int = 1


def periodic(period_ns: int, demand: Demand) -> Schedule:
    """LoadGen's schedule of the closed loops: one every ``period_ns``; only its length matters."""
    if period_ns < 1:
        raise SettingsError("expected_latency_ms: below a nanosecond; give a larger one")
    reached = -(-demand.until_ns // period_ns) + 1
    count = _grown(reached, demand)
    _refuse_too_many(count, "expected_latency_ms, min_duration_ms")
    return Schedule(np.zeros(count, dtype=np.int64), count * period_ns)


def arrivals(
    settings: Settings, wanted: Effective, demand: Demand, trace_ns: Int64Array | None
) -> Schedule:
    """Schedule of the server scenario by ``settings.arrivals``."""
    if settings.arrivals == "trace":
        return _trace(wanted, demand, trace_ns)
    if settings.arrivals in ("ramp", "steps"):
        return _varying(settings, wanted, demand)
    expected = int(demand.until_ns / NS_PER_S * settings.target_qps)
    return _until(_steady(settings), demand, expected)


def bursts(settings: Settings, demand: Demand) -> Schedule:
    """``burst_query_count`` queries at one instant, every ``burst_period_ms``; bursts are whole
    wherever the due times, and not a fixed number of samples, end the series."""
    size, period_ns = settings.burst_query_count, settings.burst_period_ms * NS_PER_MS
    if period_ns < 1:
        raise SettingsError("burst_period_ms: below a nanosecond; give a larger one")
    fields = "burst_query_count, burst_period_ms, min_duration_ms"
    _refuse_too_many(max(size, int((demand.until_ns / period_ns + 1) * size)), fields)
    index = max(0, int(demand.until_ns / period_ns) - 1)
    while int(index * period_ns) < demand.until_ns:
        index += 1
    reached = index * size + 1
    count = _grown(reached, demand)
    if demand.until_ns and demand.grow_by == 1:
        count = -(-count // size) * size
    burst = np.arange(count, dtype=np.int64) // size
    times = (burst.astype(np.float64) * period_ns).astype(np.int64)
    return Schedule(times, int((int(burst[-1]) + 1) * period_ns))


def parse_trace(text: str, source: str = "trace_file") -> Int64Array:
    """Due times in ms from the start, one a line, as ns; blank and ``#`` lines are skipped."""
    times: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            value_ms = float(word)
        except ValueError:
            raise SettingsError(f"{source}: line {number}: {word!r} is no time in ms") from None
        if not math.isfinite(value_ms) or not 0 <= value_ms < 1e12:
            raise SettingsError(f"{source}: line {number}: {word!r} is no time from 0 to 1e12 ms")
        times.append(round(value_ms * NS_PER_MS))
    return check_trace(np.array(times, dtype=np.int64), source)


def check_trace(trace_ns: Int64Array, source: str = "trace_file") -> Int64Array:
    """Refuse a trace that is empty, starts before 0 or goes back in time."""
    if not len(trace_ns):
        raise SettingsError(f"{source}: holds no time; give one time in ms a line")
    if trace_ns[0] < 0 or np.any(np.diff(trace_ns) < 0):
        raise SettingsError(f"{source}: times must ascend from 0; sort them")
    return trace_ns


def trace_to_bytes(trace_ns: Int64Array | None) -> bytes:
    """A trace as it goes to workers: int64 little-endian; empty where there is none.

    Raises SettingsError for more times than one message holds.
    """
    if trace_ns is None:
        return b""
    if len(trace_ns) > TRACE_TIMES_MAX:
        raise SettingsError(
            f"trace_file: holds {len(trace_ns)} times, more than the {TRACE_TIMES_MAX} that "
            "workers are sent; cut the trace"
        )
    return trace_ns.astype("<i8").tobytes()


def trace_from_bytes(content: bytes) -> Int64Array | None:
    """The trace of ``trace_to_bytes``."""
    return np.frombuffer(content, dtype="<i8").astype(np.int64) if content else None


def _steady(settings: Settings) -> TimesOf:
    if settings.arrivals == "constant":
        return _constant(settings.target_qps)
    words = RandomWords(settings.seeds.schedule)
    if settings.arrivals == "gamma" and settings.burstiness != 1.0:
        return _summed(gamma_gaps(words, settings.burstiness, settings.target_qps))
    return _summed(lambda count: words.exponential_ns(settings.target_qps, count))


def _constant(qps: float) -> TimesOf:
    """Query i at trunc(i * 1e9 / qps): no error adds up."""
    period, position = NS_PER_S / qps, 0

    def times(count: int) -> Int64Array:
        nonlocal position
        indexes = np.arange(position, position + count, dtype=np.float64)
        position += count
        return (indexes * period).astype(np.int64)

    return times


def _summed(gaps: TimesOf) -> TimesOf:
    """Due times from gaps. The first is due at 0; the first gap comes before the second."""
    due = 0

    def times(count: int) -> Int64Array:
        nonlocal due
        drawn = gaps(count)
        ends = np.cumsum(drawn) + due
        due = int(ends[-1])
        return ends - drawn

    return times


def _varying(settings: Settings, wanted: Effective, demand: Demand) -> Schedule:
    """Poisson arrivals of a varying rate: unit-rate arrivals through the inverse integral.

    A measured series covers the whole ramp or all steps, whatever the minimum duration.
    """
    if settings.arrivals == "ramp":
        rate = ramp(settings.target_qps, settings.ramp_to_qps, settings.min_duration_ms)
    else:
        rate = parse_steps(settings.steps)
    until_ns = demand.until_ns
    if wanted.kind == "performance" and not wanted.listed:
        until_ns = max(until_ns, rate.end_ns)
    words = RandomWords(settings.seeds.schedule)
    parts = _summed(lambda count: words.exponential_ns(1.0, count))
    return _until(
        lambda count: rate.instants(parts(count)),
        Demand(demand.query_count, until_ns, demand.grow_by),
        int(rate.queries_until(until_ns)),
    )


def _trace(wanted: Effective, demand: Demand, trace_ns: Int64Array | None) -> Schedule:
    if trace_ns is None:
        raise SettingsError("trace_file: its times were not given to the planner")
    times = np.array(check_trace(trace_ns), dtype=np.int64)
    if wanted.kind == "warmup":
        times = times[: max(1, int(np.searchsorted(times, wanted.target_duration_ns)))]
    if wanted.listed:
        if len(times) < demand.query_count:
            raise SettingsError(
                f"trace_file: holds {len(times)} times, this run needs {demand.query_count}; "
                "give a longer trace or another --arrivals"
            )
        times = times[: demand.query_count]
    return Schedule(times, int(times[-1]))


def _until(times: TimesOf, demand: Demand, expected: int) -> Schedule:
    """LoadGen's rule: go on until a due time reaches ``until_ns`` and the count is met."""
    expected = max(demand.query_count, expected)
    _refuse_too_many(expected)
    blocks = [times(expected + _SPARE_TIMES)]
    held = len(blocks[0])
    while True:
        due = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        blocks = [due]
        reached = int(np.searchsorted(due, demand.until_ns)) + 1
        count = _grown(reached, demand)
        if reached <= held and count < held:
            # A copy, so that the spare times are freed.
            return Schedule(due[:count].copy(), int(due[count]))
        _refuse_too_many(held)
        more = max(held // 16, count - held) + _SPARE_TIMES
        blocks.append(times(more))
        held += more


def _grown(reached: int, demand: Demand) -> int:
    short = max(0, reached - demand.query_count)
    return demand.query_count + -(-short // demand.grow_by) * demand.grow_by


def _refuse_too_many(count: int, fields: str = "target_qps, min_duration_ms") -> None:
    if count > LARGEST_PLAN:
        raise SettingsError(
            f"{fields}: {count} queries to plan, more than {LARGEST_PLAN}; lower one of them"
        )

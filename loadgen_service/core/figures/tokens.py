"""Token figures of a series: time to the first token, time per further token, tokens a second.

Specification 3.6. Decides which samples have them and whether their limits and early stopping are
met; a sample of fewer than two tokens has no time per token, unless LoadGen's own numbers are asked
for, which divide by -1 there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from loadgen_service.core.figures.loadgen import (
    EarlyStopping,
    Latencies,
    LoadgenFigures,
    stream_stopping,
)
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import BoolArray
from loadgen_service.core.records.request_table import Int64Array, RequestTable
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.early_stopping import min_total_count
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """Token figures over requests (one sample each). Distributions are of completed ones.

    ``tpot_ns``: to the last token, as ``streams`` has it; None where no instants of tokens are
    known. ``loadgen_tpot_ns``: LoadGen's rule, to the end of the answer, which its limit, its
    early stopping and ``tpot_target_ns`` are about. ``*_target_ns``: at the target percentile,
    those without an answer at infinity (None).
    ``ttft_stopping`` is None where the first pass (over TPOT) failed, both in offline.
    ``short_count``: completed with exactly one token; ``uncounted_count``: with none reported;
    ``unstarted_count``: completed without a first response. ``tokens_per_second`` by scenario:
    up to the last query's end, offline up to the last answer. ``per_latency_second``: tokens over
    summed latency.
    """

    token_count: int
    short_count: int
    uncounted_count: int
    unstarted_count: int
    ttft_ns: Distribution | None
    tpot_ns: Distribution | None
    ttft_target_ns: int | None
    tpot_target_ns: int | None
    ttft_met: bool
    tpot_met: bool
    ttft_stopping: EarlyStopping | None
    tpot_stopping: EarlyStopping | None
    tokens_per_second: float | None
    with_overhead_per_second: float | None
    per_latency_second: float | None
    loadgen_tpot_ns: Distribution | None = None

    @property
    def early_stopping_met(self) -> bool:
        """Both passes passed; always in offline."""
        if self.tpot_stopping is None:
            return True
        return self.tpot_stopping.met and self.ttft_stopping is not None and self.ttft_stopping.met


def token_figures(
    settings: Settings,
    table: RequestTable,
    own: LoadgenFigures,
    queries: Latencies,
    *,
    official: bool = False,
) -> TokenFigures:
    """Token figures of a series whose LoadGen figures are ``own``.

    ``queries``: query latencies, which multi_stream's early stopping looks at in both passes.
    ``official``: LoadGen's numbers, its negative times per token included.
    """
    done = table.status == Status.COMPLETED
    unanswered = int(np.count_nonzero((table.status != Status.NOT_ISSUED) & ~done))
    counts = table.token_count[done].astype(np.int64)
    latency = table.completed_ns[done] - table.scheduled_ns[done]
    started = table.first_response_ns[done] != NEVER
    # LoadGen keeps 0 where no first token came; we have no such time then.
    first = np.where(started, table.first_response_ns[done] - table.scheduled_ns[done], 0)
    # LoadGen counts one token as none.
    kept = np.where(counts > 1, counts, 0) if official else np.maximum(counts, 0)
    ttft = Latencies(first if official else first[started], unanswered)
    tpot = Latencies(_per_token(first, latency, kept, started, official=official), unanswered)
    passes = _stopping(settings, tpot, ttft, queries)
    limits = (settings.ttft_latency_ms * NS_PER_MS, settings.tpot_latency_ms * NS_PER_MS)
    ttft_target, tpot_target = (one.at_quantile(settings.percentile) for one in (ttft, tpot))
    token_count = int(kept.sum())
    offline = SCENARIOS[settings.scenario].pulled
    return TokenFigures(
        token_count=token_count,
        short_count=int(np.count_nonzero(counts == 1)),
        uncounted_count=int(np.count_nonzero(counts < 1)),
        unstarted_count=0 if offline else int(np.count_nonzero(~started)),
        ttft_ns=Distribution.of(ttft.completed_ns),
        tpot_ns=None,
        loadgen_tpot_ns=_wrapped(tpot.completed_ns)
        if official
        else Distribution.of(tpot.completed_ns),
        ttft_target_ns=ttft_target,
        tpot_target_ns=tpot_target,
        ttft_met=ttft_target is not None and ttft_target <= limits[0],
        tpot_met=tpot_target is not None and tpot_target <= limits[1],
        tpot_stopping=passes[0],
        ttft_stopping=passes[1],
        tokens_per_second=_rate(
            token_count, own.max_latency_ns if offline else own.final_query_done_ns
        ),
        with_overhead_per_second=_rate(token_count, own.final_query_issued_ns),
        per_latency_second=_over_latency(token_count, queries, latency),
    )


def _per_token(
    first: Int64Array,
    latency: Int64Array,
    counts: Int64Array,
    started: BoolArray,
    *,
    official: bool,
) -> Int64Array:
    """(latency - time to first token) / (tokens - 1), towards zero, as C++ divides."""
    span, steps = latency - first, counts - 1
    if not official:
        some = (steps > 0) & started
        shared: Int64Array = span[some] // steps[some]
        return shared
    # LoadGen takes one token for none: the divisor is -1 there.
    negative: Int64Array = np.sign(steps) * np.sign(span) * (np.abs(span) // np.abs(steps))
    return negative


def _wrapped(values: Int64Array) -> Distribution | None:
    """LoadGen sums times per token without a sign: negative ones wrap round at 2**64."""
    made = Distribution.of(values)
    if made is None:
        return None
    return replace(made, mean=sum(values.tolist()) % 2**64 // made.count)


def _stopping(
    settings: Settings, tpot: Latencies, ttft: Latencies, queries: Latencies
) -> tuple[EarlyStopping | None, EarlyStopping | None]:
    """First over times per token; over times to the first token only if that passed."""
    row = SCENARIOS[settings.scenario]
    if row.early_stopping == "none":
        return None, None
    if row.early_stopping == "estimate":
        values = (queries, queries) if row.splits_queries else (tpot, ttft)
        made = [stream_stopping(settings, one, also_99=not row.splits_queries) for one in values]
    else:
        made = [
            _limit_stopping(settings, tpot, settings.tpot_latency_ms * NS_PER_MS),
            _limit_stopping(settings, ttft, settings.ttft_latency_ms * NS_PER_MS),
        ]
    return made[0], made[1] if made[0].met else None


def _limit_stopping(settings: Settings, values: Latencies, limit_ns: int) -> EarlyStopping:
    late = values.count_above(limit_ns)
    required = min_total_count(late, settings.percentile)
    return EarlyStopping(
        met=values.count >= required,
        unit="samples",
        quantile=settings.percentile,
        count=values.count,
        overlatency_count=late,
        required_count=required,
    )


def _rate(count: int, duration_ns: int | None) -> float | None:
    return count / (duration_ns / NS_PER_S) if duration_ns and duration_ns > 0 else None


def _over_latency(token_count: int, queries: Latencies, latency: Int64Array) -> float | None:
    """LoadGen multiplies the truncated mean by the count of samples."""
    made = Distribution.of(latency)
    if made is None or made.mean == 0:
        return None
    return token_count / (made.mean * made.count) * NS_PER_S

"""LoadGen's judgement of one series, and its words for it: conditions, reasons, early stopping.

By default a series with error lines is not VALID, and an INVALID one always has a reason;
``strict`` keeps LoadGen's own answer to both (specification 3.4, 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgen_service.core.figures.loadgen import MULTI_STREAM_QUANTILE, EarlyStopping
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.settings import Settings
from loadgen_service.core.stats.early_stopping import min_total_count
from loadgen_service.mlperf.logs.inputs import SeriesLog

_LONGER: Final = {
    "single_stream": "Decrease the expected latency so the loadgen pre-generates more queries.",
    "multi_stream": "Decrease the expected latency so the loadgen pre-generates more queries.",
    "server": "Increase the target QPS so the loadgen pre-generates more queries.",
    "offline": "Increase expected QPS so the loadgen pre-generates a larger (coalesced) query.",
}
_EXITED_EARLY: Final = "The test exited early, before enough queries were issued."
_SEE_DETAIL: Final = "   See the detailed log for why this may have occurred."


@dataclass(frozen=True, slots=True)
class Result:
    """``reasons``: advice lines of an INVALID run. ``stopping_text``: of the plain early stopping,
    lines joined by newlines; in token mode the two others instead."""

    valid: bool
    latency_met: bool
    min_duration_met: bool
    min_queries_met: bool
    early_stopping_met: bool
    error_count: int
    reasons: tuple[str, ...]
    stopping_text: str
    ttft_text: str = ""
    tpot_text: str = ""

    @property
    def invalid_reason(self) -> str:
        """The detail log's one line: newlines are blanks, all but the early exit end in one."""
        text = "".join(r if r == _EXITED_EARLY else f"{r} " for r in self.reasons)
        return text.replace(". TPOT constrain", ".  * TPOT constrain")

    @property
    def recommendations(self) -> list[str]:
        """The summary's lines."""
        lines = []
        for reason in self.reasons:
            lines.append(f" * {reason}")
            if reason == _EXITED_EARLY:
                lines.append(_SEE_DETAIL)
        return lines


def judged_result(settings: Settings, one: SeriesLog, error_count: int) -> Result:
    """What the logs say of a performance series. ``error_count``: error lines of the whole log."""
    met = {finding.name: finding.met for finding in one.verdict.findings}
    tokens, strict = one.tokens, settings.strict_loadgen
    server, second = settings.scenario == "server", settings.scenario == "single_stream"
    stopping = met.get("early_stopping", True)
    latency = met.get("latency", True) if server else True
    if tokens is not None:
        stopping = tokens.early_stopping_met
        latency = tokens.ttft_met and tokens.tpot_met if server else True
    duration = met.get("min_duration", False)
    queries = met.get("min_query_count", False)
    valid = latency and duration and queries and stopping and (strict or not error_count)
    reasons = _reasons(settings, one, latency, duration, queries)
    if not strict:
        reasons += _own_reasons(stopping, error_count)
    return Result(
        valid=valid,
        latency_met=latency,
        min_duration_met=duration,
        min_queries_met=queries,
        early_stopping_met=stopping,
        error_count=error_count,
        reasons=() if valid else tuple(reasons),
        stopping_text=stopping_text(one.figures.loadgen.early_stopping, also_99=second),
        ttft_text=stopping_text(tokens.ttft_stopping, also_99=second) if tokens else "",
        tpot_text=stopping_text(tokens.tpot_stopping, also_99=second) if tokens else "",
    )


def _reasons(
    settings: Settings, one: SeriesLog, latency: bool, duration: bool, queries: bool
) -> list[str]:
    reasons = []
    if not latency:
        reasons += _latency_reasons(one.tokens)
    if not duration:
        reasons.append(_LONGER[settings.scenario])
    if not queries:
        reasons.append(_EXITED_EARLY)
    return reasons


def _latency_reasons(tokens: TokenFigures | None) -> list[str]:
    advice = "Reduce target QPS to improve latency."
    if tokens is None:
        return [advice]
    limits = (("TTFT", tokens.ttft_met), ("TPOT", tokens.tpot_met))
    return [f"{name} constrain not met: {advice}" for name, met in limits if not met]


def _own_reasons(stopping: bool, error_count: int) -> list[str]:
    reasons = []
    if not stopping:
        reasons.append("Issue more queries: too few for early stopping.")
    if error_count:
        reasons.append(f"Mend what was logged as an error ({error_count} error lines).")
    return reasons


def stopping_text(stopping: EarlyStopping | None, *, also_99: bool) -> str:
    """LoadGen's early stopping lines; empty where there is none (offline).

    ``also_99``: single_stream's second estimate is told too.
    """
    if stopping is None:
        return ""
    if stopping.unit == "samples":
        return "\n".join(_limit_lines(stopping))
    return "\n".join(_stream_lines(stopping, also_99=also_99))


def _limit_lines(stopping: EarlyStopping) -> list[str]:
    if stopping.met:
        return [" * Run successful."]
    missing = stopping.required_count - stopping.count
    return [
        " * Run unsuccessful.",
        f" * Processed {stopping.count} queries.",
        f" * Would need to run at least {missing} more queries,",
        " with the run being successful if every additional",
        " query were under latency.",
    ]


def _stream_lines(stopping: EarlyStopping, *, also_99: bool) -> list[str]:
    if stopping.count < stopping.required_count:
        return [
            f" * Only processed {stopping.count} queries.",
            f" * Need to process at least {stopping.required_count} queries for early stopping.",
        ]
    lines = [
        f" * Processed at least {stopping.required_count} queries ({stopping.count}).",
        f" * Would discard {stopping.discarded_count} highest latency queries.",
        _estimate_line(stopping.quantile, stopping.estimate_ns),
    ]
    if not also_99:
        return lines
    enough = min_total_count(1, MULTI_STREAM_QUANTILE)
    if stopping.count >= enough:
        return [*lines, _estimate_line(MULTI_STREAM_QUANTILE, stopping.estimate_99_ns)]
    return [
        *lines,
        f" * Not enough queries processed for {percent(MULTI_STREAM_QUANTILE)}th percentile",
        " early stopping estimate (would need to process at",
        f" least {enough} total queries).",
    ]


def _estimate_line(quantile: float, estimate_ns: int | None) -> str:
    said = "infinite (too few answers)" if estimate_ns is None else estimate_ns
    return f" * Early stopping {percent(quantile)}th percentile estimate: {said}"


def percent(quantile: float) -> str:
    """0.9 as ``90.0``."""
    return f"{quantile * 100:.1f}"

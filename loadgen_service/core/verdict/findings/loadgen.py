"""LoadGen's four conditions: duration, counts, latency, early stopping (specification 3.4).

Failed, timed-out and lost samples have an infinite latency here. Whether a scenario is LoadGen's at
all is the verdict's business.
"""

from __future__ import annotations

from typing import Final

from loadgen_service.core.figures.loadgen import EarlyStopping
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.core.verdict.findings.finding import Finding, say_count, say_ns, say_percentile
from loadgen_service.core.verdict.findings.tokens import token_limits, token_stopping

_LONGER: Final = {
    "issued": "lower --expected-latency-ms, so that more queries are planned",
    "scheduled": "see what ended the run early, or give the trace or --max-query-count more room",
    "latency": "raise --target-qps, so that more samples are planned",
    "window": "see what ended the run early",
}


def loadgen_findings(settings: Settings, plan: SeriesPlan, figures: SeriesFigures) -> list[Finding]:
    """The conditions that the scenario is judged by, in LoadGen's order."""
    findings = [
        _min_duration(settings, figures),
        _min_query_count(settings, plan, figures),
    ]
    row = SCENARIOS[settings.scenario]
    tokens = figures.tokens
    if row.latency_judged and tokens is not None:
        findings = [*token_limits(settings, tokens), *findings]
    elif row.latency_judged:
        findings.insert(0, latency(settings, figures, source_is_loadgen=True))
    if tokens is not None:
        findings += token_stopping(settings, tokens)
    elif figures.loadgen.early_stopping is not None:
        findings.append(_early_stopping(settings, figures.loadgen.early_stopping))
    return findings


def latency(settings: Settings, figures: SeriesFigures, *, source_is_loadgen: bool) -> Finding:
    """The target percentile against the limit; judged for any scenario that was given a limit."""
    limit_ns = settings.latency_limit_ns
    measured_ns = figures.loadgen.target_percentile_latency_ns
    met = measured_ns is not None and measured_ns <= limit_ns
    place = say_percentile(settings.percentile)
    seen = say_ns(measured_ns) if measured_ns is not None else _infinite(figures)
    return Finding(
        name="latency",
        met=met,
        measured=f"{place} {seen}",
        required=f"{place} <= {say_ns(limit_ns)}",
        advice="" if met else _latency_advice(settings),
        source="loadgen" if source_is_loadgen else "service",
    )


def _infinite(figures: SeriesFigures) -> str:
    if figures.queries.issued == 0:
        return "none: nothing was issued"
    return f"infinite: {say_count(figures.samples.unanswered, 'sample')} without a good answer"


def _latency_advice(settings: Settings) -> str:
    relief = SCENARIOS[settings.scenario].relief
    return f"{relief}, or raise --target-latency-ms if the limit is yours to choose"


def _min_duration(settings: Settings, figures: SeriesFigures) -> Finding:
    row = SCENARIOS[settings.scenario]
    required_ns = settings.min_duration_ms * NS_PER_MS
    duration_ns = figures.loadgen.duration_ns
    met = duration_ns is not None and duration_ns >= required_ns
    return Finding(
        name="min_duration",
        met=met,
        measured=say_ns(duration_ns),
        required=f">= {say_ns(required_ns)}",
        advice="" if met else _LONGER[row.duration_clock],
        source="loadgen",
    )


def _min_query_count(settings: Settings, plan: SeriesPlan, figures: SeriesFigures) -> Finding:
    """Queries and samples issued. Offline's one query is begun as soon as one request is."""
    pulled = SCENARIOS[settings.scenario].pulled
    needed = plan.effective.min_query_count
    needed_samples = plan.samples_per_query if pulled else plan.effective.min_sample_count
    queries, samples = figures.queries.issued, figures.samples.issued
    met = samples >= needed_samples and (pulled or queries >= needed)
    required = say_count(needed_samples, "sample") if pulled else _queries(needed)
    return Finding(
        name="min_query_count",
        met=met,
        measured=f"{_queries(queries)}, {say_count(samples, 'sample')} issued",
        required=f">= {required}",
        advice="" if met else "the run ended before its minimum: see what ended it early",
        source="loadgen",
    )


def _queries(count: int) -> str:
    return say_count(count, "query", "queries")


def _early_stopping(settings: Settings, stopping: EarlyStopping) -> Finding:
    place = say_percentile(stopping.quantile)
    late = "over the limit" if stopping.unit != "queries" else "without a good answer"
    seen = f"{stopping.count} {stopping.unit}, {stopping.overlatency_count} {late}"
    if stopping.estimate_ns is not None:
        seen += f", estimate {say_ns(stopping.estimate_ns)}"
    return Finding(
        name="early_stopping",
        met=stopping.met,
        measured=seen,
        required=f">= {stopping.required_count} {stopping.unit} for {place} at 99 % confidence",
        advice="" if stopping.met else _stopping_advice(settings, stopping),
        source="loadgen",
    )


def _stopping_advice(settings: Settings, stopping: EarlyStopping) -> str:
    missing = stopping.required_count - stopping.count
    if stopping.unit == "queries" and missing <= 0:
        return "too many queries without a good answer for a finite estimate: see error_budget"
    knob = {
        "bursts": "shorten --burst-period-ms or raise --min-duration-ms",
        "samples": "raise --min-duration-ms or --min-query-count",
    }.get(stopping.unit, "raise --min-query-count")
    late = " within the limit" if stopping.unit != "queries" else ""
    return f"{missing} more {stopping.unit}{late} are needed: {knob}"

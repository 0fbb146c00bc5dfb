"""How the series ended, and whether its answers were right."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.facts.run import RunFacts, SeriesFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings.finding import Finding, say_count

_ADVICE: Final = {
    "other_samples": "the installed official LoadGen draws other samples than 6.0.17: install that",
    "failures": "the SUT failed too many queries in a row: see the errors",
    "ran_out": "the SUT is more than twice as fast as promised: lower --expected-latency-ms",
    "max_async_queries": "the SUT fell behind: lower --target-qps or raise --max-async-queries",
    "max_duration": "raise --max-duration-ms",
    "max_query_count": "raise --max-query-count",
}
_SPOILT: Final = frozenset({"failures", "other_samples"})
"""Ends that no count of good answers before them can excuse."""


def ended_early(facts: SeriesFacts, *, minima_met: bool) -> Finding:
    """A maximum that ends a run is no fault where the minima were met; a streak of failures is."""
    ends = sorted({worker.ended_by for worker in facts.workers if worker.ended_by in _ADVICE})
    met = not ends or (minima_met and not _SPOILT.intersection(ends))
    return Finding(
        name="ended_early",
        met=met,
        measured=", ".join(ends) or "by plan",
        required="the plan or the minima end the series",
        advice="" if met else "; ".join(_ADVICE[end] for end in ends),
    )


def interrupted(facts: RunFacts, series: SeriesFacts) -> Finding:
    """A run that was cut short is honest about its figures and is no result."""
    stopped = facts.interrupted or series.interrupted
    cause = facts.interruption or "stopped by a person"
    advice = "run it again" if facts.interruption else "let it run to its end"
    return Finding(
        name="interrupted",
        met=not stopped,
        measured=cause if stopped else "ran to its end",
        required="runs to its end",
        advice=advice if stopped else "",
    )


def all_issued(figures: SeriesFigures) -> Finding:
    """Accuracy is of the whole set: one sample left out and the figure is of something else."""
    counts = figures.samples
    return Finding(
        name="all_issued",
        met=counts.not_issued == 0,
        measured=f"{counts.issued} of {say_count(counts.planned, 'sample')} issued",
        required="every sample of the set",
        advice="see what ended the series early" if counts.not_issued else "",
    )


def accuracy(settings: Settings, facts: RunFacts) -> Finding | None:
    """Top-1 against the target; None where no target is set."""
    if not settings.accuracy_target:
        return None
    top1 = (facts.accuracy or {}).get("top1")
    met = top1 is not None and top1 >= settings.accuracy_target
    return Finding(
        name="accuracy",
        met=met,
        measured=f"top-1 {top1:.4f}" if top1 is not None else "no labels to score against",
        required=f"top-1 >= {settings.accuracy_target:.4g}",
        advice=""
        if met
        else "check the model, its preprocessing (--preprocess) and the order of the labels",
    )

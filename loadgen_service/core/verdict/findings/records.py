"""Whether every planned request is accounted for, and how many came to a bad end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.core.facts.run import ErrorFacts, RunFacts, SeriesFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings.compression import compression_advice
from loadgen_service.core.verdict.findings.finding import Finding, say_count

NAMED_AT_MOST: Final = 3
"""So many gaps or workers are named in a finding; the summary holds them all."""


def accounting(figures: SeriesFigures, facts: RunFacts) -> Finding:
    """Planned = not_issued + completed + failed + timed_out + lost, each request once."""
    faults = [
        text
        for count, text in (
            (figures.unaccounted_count, "issued by living workers without a record"),
            (figures.duplicate_count, "recorded more than once"),
            (figures.foreign_count, "recorded that were never planned"),
            (figures.unexpected_count, "recorded that no worker says it issued"),
            *((count, reason) for reason, count in figures.implausible.items()),
        )
        if count
        for text in [f"{say_count(count, 'request')} {text}"]
    ]
    faults.extend(facts.gaps[:NAMED_AT_MOST])
    if len(facts.gaps) > NAMED_AT_MOST:
        faults.append(f"{len(facts.gaps) - NAMED_AT_MOST} more gaps")
    return Finding(
        name="accounting",
        met=not faults,
        measured="; ".join(faults) or f"{figures.requests.planned} requests, each with one end",
        required="every planned request has exactly one record or a named reason for none",
        advice=""
        if not faults
        else "records were lost, doubled or damaged between worker and service: look for a full or "
        "failing disk, a service restart in the notes, or a foreign worker, and run again",
    )


def error_budget(settings: Settings, figures: SeriesFigures, facts: SeriesFacts) -> Finding:
    """Samples without a good answer, as a share of those issued."""
    counts = figures.samples
    share = counts.unanswered / counts.issued if counts.issued else 0.0
    met = share <= settings.error_budget
    return Finding(
        name="error_budget",
        met=met,
        measured=f"{counts.unanswered} of {say_count(counts.issued, 'sample')} "
        f"({100 * share:.4g} %) without a good answer: {counts.failed} failed, "
        f"{counts.timed_out} timed out, {counts.lost} lost{_most_frequent(facts.errors)}",
        required=f"<= {100 * settings.error_budget:.4g} %",
        advice=""
        if met
        else compression_advice(settings, figures, facts.errors) or _error_advice(figures),
    )


def _most_frequent(errors: Sequence[ErrorFacts]) -> str:
    if not errors:
        return ""
    worst = max(errors, key=lambda error: error.count)
    return f"; most often code {worst.code}: {worst.message} ({worst.count} times)"


def _error_advice(figures: SeriesFigures) -> str:
    counts = figures.samples
    if counts.timed_out >= max(counts.failed, counts.lost):
        return "lower the load, look at the SUT, or raise --timeout-ms; queries are never retried"
    if counts.lost > counts.failed:
        return "see the worker that was lost; its requests are never given to another"
    return "fix the reported error; queries are never retried. --error-budget allows a share"


def workers_lost(facts: SeriesFacts) -> Finding:
    """A worker that died, fell silent or left before its time takes the verdict with it."""
    lost = [worker for worker in facts.workers if worker.is_gone]
    named = "; ".join(
        f"worker {worker.worker_index}{f' on {worker.host}' if worker.host else ''}: "
        f"{worker.lost_reason or 'no reason known'}"
        for worker in lost[:NAMED_AT_MOST]
    )
    more = f" and {len(lost) - NAMED_AT_MOST} more" if len(lost) > NAMED_AT_MOST else ""
    return Finding(
        name="worker_lost",
        met=not lost,
        measured=f"{len(lost)} of {len(facts.workers)} lost"
        + (f" ({named}{more})" if lost else ""),
        required="none lost",
        advice=""
        if not lost
        else "look for a kill, too little memory, or a network cut on its host",
    )

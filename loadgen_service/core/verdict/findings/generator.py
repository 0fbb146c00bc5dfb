"""Whether we issued what we promised when we promised it: the generator's own faults and limits."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.facts.run import SeriesFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings.finding import Finding, say_count, say_ns
from loadgen_service.core.verdict.findings.notes import contention_words

LATE_START_BUDGET_NS: Final = 10_000_000
"""A worker this late to the common start has spoilt the joint arrival process of the first moments.

Ten ms: ten times the lateness allowed to a single query, far above any clock offset's error on a
local network.
"""


def generator_findings(
    settings: Settings, figures: SeriesFigures, facts: SeriesFacts
) -> list[Finding]:
    """Lateness, blocking and the common start where instants are followed; else the concurrency."""
    if not SCENARIOS[settings.scenario].lateness_judged:
        return _concurrency(settings, facts)
    return [
        _generator_late(settings, figures, facts),
        _blocked(settings, figures, facts),
        _late_start(facts),
    ]


def lateness_budget_ns(settings: Settings, figures: SeriesFigures) -> int:
    """Largest p99 of taken - scheduled; a burst may also take its own usual time to go out."""
    budget_ns = settings.issue_delay_budget_ns
    bursts = figures.bursts
    if bursts is None or bursts.smear_ns is None:
        return budget_ns
    # the median: a stall in a few bursts widens their smear and must not excuse itself
    return max(budget_ns, bursts.smear_ns.p50)


def _generator_late(settings: Settings, figures: SeriesFigures, facts: SeriesFacts) -> Finding:
    late, budget_ns = figures.times.late_ns, lateness_budget_ns(settings, figures)
    met = late is None or late.p99 <= budget_ns
    return Finding(
        name="generator_late",
        met=met,
        measured=f"p99 {say_ns(late.p99)}, max {say_ns(late.max)} from due to released"
        if late
        else "nothing was issued",
        required=f"p99 <= {say_ns(budget_ns)}",
        advice=""
        if met
        else "the load generator itself was late, so the figures are not the SUT's: "
        f"{_taken(facts)}give workers their own cores, use more --workers or --wait-policy poll, "
        "or lower the load",
    )


def _taken(facts: SeriesFacts) -> str:
    said = [(worker.worker_index, contention_words(worker)) for worker in facts.workers]
    return "".join(f"of worker {index}, {words}; " for index, words in said if words)


def _blocked(settings: Settings, figures: SeriesFigures, facts: SeriesFacts) -> Finding:
    blocked, budget_ns = figures.times.blocked_ns, lateness_budget_ns(settings, figures)
    met = blocked is None or blocked.p99 <= budget_ns
    waited = sum(worker.blocked_by_streams for worker in facts.workers)
    return Finding(
        name="blocked",
        met=met,
        measured=(
            f"p99 {say_ns(blocked.p99)}, max {say_ns(blocked.max)} from released to sent; "
            f"{say_count(waited, 'request')} waited for a free stream"
        )
        if blocked
        else "nothing was sent",
        required=f"p99 <= {say_ns(budget_ns)}",
        advice="" if met else _blocked_advice(waited),
    )


def _blocked_advice(waited: int) -> str:
    if waited:
        return (
            "the SUT allows fewer concurrent streams than were due: raise --connections or the "
            "server's limit, or lower the load"
        )
    return (
        "the transport or the SUT did not take bytes in time (a full window or a broken "
        "connection): raise --connections, look at the network and the SUT, or lower the load"
    )


def _late_start(facts: SeriesFacts) -> Finding:
    worst = max(facts.workers, key=lambda worker: worker.late_start_ns, default=None)
    late_ns = worst.late_start_ns if worst else 0
    met = late_ns <= LATE_START_BUDGET_NS
    return Finding(
        name="late_start",
        met=met,
        measured=f"worker {worst.worker_index} late by {say_ns(late_ns)}"
        if worst and late_ns > 0
        else "all in time",
        required=f"<= {say_ns(LATE_START_BUDGET_NS)} after the common start",
        advice="" if met else "its host was busy or its link slow when the run began: run again",
    )


def _concurrency(settings: Settings, facts: SeriesFacts) -> list[Finding]:
    """Whether a closed loop ever had as many requests out as it was asked for.

    Only where some had to wait: for a free stream, a connection, a socket.
    """
    waited = sum(worker.blocked_by_streams for worker in facts.workers)
    row = SCENARIOS[settings.scenario]
    if "concurrency" not in row.load_settings or not waited:
        return []
    peak = sum(worker.peak_outstanding for worker in facts.workers)
    met = peak >= settings.concurrency
    return [
        Finding(
            name="concurrency",
            met=met,
            measured=f"at most {peak} at the SUT at once; {say_count(waited, 'request')} waited",
            required=f"{settings.concurrency} outstanding",
            advice=""
            if met
            else "the SUT or a proxy before it allows fewer concurrent streams: raise "
            "--connections or its limit, or ask for a lower --concurrency",
        )
    ]

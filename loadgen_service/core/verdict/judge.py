"""The verdict on one series: LoadGen's four conditions, and ours beside them.

``loadgen_valid`` is LoadGen's judgement and nothing else; ``valid`` is ours, with every finding.
Where nothing is judged both are None, with the reason. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from loadgen_service.core.facts.run import RunFacts, SeriesFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings import (
    ending,
    generator,
    loadgen,
    official,
    records,
    tokens,
)
from loadgen_service.core.verdict.findings.finding import Finding

CAUSES: Final = (
    "interrupted",
    "worker_lost",
    "accounting",
    "official_errors",
    "token_answers",
    "error_budget",
    "generator_late",
    "late_start",
    "blocked",
    "latency",
    "ttft",
    "tpot",
)
"""Findings in the order of cause and effect: an earlier one may explain those behind it."""
_RANK: Final = {name: rank for rank, name in enumerate(CAUSES)}
_LIMITS: Final = ("latency", "ttft", "tpot")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``loadgen_valid`` None: ``loadgen_note`` says why LoadGen does not judge this series.

    ``invalid_reason``: one line naming the findings that were not met; where ``valid`` is None, why
    nothing is judged; else empty.
    """

    loadgen_valid: bool | None
    valid: bool | None
    findings: tuple[Finding, ...] = ()
    invalid_reason: str = ""
    loadgen_note: str = ""


def judge(settings: Settings, plan: SeriesPlan, figures: SeriesFigures, facts: RunFacts) -> Verdict:
    """Judge one series of a run; ``facts`` must hold the series' own facts."""
    if plan.spec.kind == "warmup":
        return Verdict(None, None, (), "warm-up: not judged", "warm-up: not judged")
    series = series_facts(facts, plan.spec.index)
    conditions, note = _loadgen_part(settings, plan, figures)
    found = (
        *conditions,
        *_service_part(settings, plan, figures, facts, series, conditions),
        *official.official_findings(settings, plan, figures, facts),
    )
    findings = by_cause(found)
    failed = [finding for finding in findings if not finding.met]
    own = [finding for finding in conditions if finding.source == "loadgen"]
    return Verdict(
        loadgen_valid=None if note else all(finding.met for finding in own),
        valid=not failed,
        findings=findings,
        invalid_reason="; ".join(
            f"{finding.name}: {finding.measured}, required {finding.required}"
            for finding in failed
            if not _follows(finding, failed)
        ),
        loadgen_note=note,
    )


def by_cause(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings that are not met first, each before those that it may have caused.

    ``early_stopping`` gives no advice of its own where a limit was missed: more queries do not
    help a system that is too slow.
    """
    failed = [finding for finding in findings if not finding.met]
    ordered = sorted(failed, key=lambda one: _RANK.get(one.name, len(_RANK)))
    explained = [
        replace(finding, advice="") if _follows(finding, failed) else finding for finding in ordered
    ]
    return (*explained, *(finding for finding in findings if finding.met))


def _follows(finding: Finding, failed: Sequence[Finding]) -> bool:
    return finding.name == "early_stopping" and any(one.name in _LIMITS for one in failed)


def series_facts(facts: RunFacts, series_index: int) -> SeriesFacts:
    """The facts of one series. Raises ValueError if the run has none of it."""
    for series in facts.series:
        if series.series_index == series_index:
            return series
    raise ValueError(f"no facts of series {series_index}")


def _loadgen_part(
    settings: Settings, plan: SeriesPlan, figures: SeriesFigures
) -> tuple[list[Finding], str]:
    """The measured conditions, and why LoadGen would not judge them (empty: it would)."""
    if plan.spec.kind == "accuracy":
        return [], "LoadGen judges no speed in accuracy mode"
    conditions = loadgen.loadgen_findings(settings, plan, figures)
    row = SCENARIOS[settings.scenario]
    if not row.latency_judged and settings.latency_limit_ns:
        conditions.append(loadgen.latency(settings, figures, source_is_loadgen=False))
    if not row.loadgen_name:
        return conditions, f"LoadGen has no {settings.scenario} scenario"
    if row.due == "arrivals" and settings.arrivals != "poisson":
        return conditions, f"LoadGen has no {settings.arrivals} arrivals, only poisson"
    return conditions, ""


def _service_part(
    settings: Settings,
    plan: SeriesPlan,
    figures: SeriesFigures,
    facts: RunFacts,
    series: SeriesFacts,
    conditions: list[Finding],
) -> list[Finding]:
    """Our own conditions, in the order in which a reader should look at them."""
    minima = [f.met for f in conditions if f.name in ("min_duration", "min_query_count")]
    findings = [
        records.error_budget(settings, figures, series),
        records.accounting(figures, facts),
        records.workers_lost(series),
        ending.ended_early(series, minima_met=all(minima)),
        ending.interrupted(facts, series),
    ]
    if figures.tokens is not None and SCENARIOS[settings.scenario].loadgen_name:
        findings.insert(0, tokens.token_answers(settings, figures.tokens))
    if plan.spec.kind == "accuracy":
        scored = ending.accuracy(settings, facts)
        first = [scored] if scored else []
        return [*first, ending.all_issued(figures), *findings]
    return [*generator.generator_findings(settings, figures, series), *findings]

"""What the official LoadGen itself said of a run that it issued, beside our own judgement of it.

Its verdict can only make ours stricter; where the two differ, the summary names both.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadgen_service.core.facts.run import OfficialFacts, RunFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.settings import Settings
from loadgen_service.core.verdict.findings.finding import Finding, say_count


def official_findings(
    settings: Settings, plan: SeriesPlan, figures: SeriesFigures, facts: RunFacts
) -> list[Finding]:
    """Findings of one measured series; none where our own engine issued it."""
    if settings.engine != "mlcommons":
        return []
    said = facts.official
    if plan.spec.kind == "accuracy":
        return [_without_errors(said)] if settings.mode == "accuracy" else []
    return [_verdict(said), _counts(said, figures)]


def disagreements(facts: RunFacts, performance: Sequence[tuple[bool | None, bool | None]]) -> str:
    """One line where the official verdict is not ours; empty where it is, or where there is none.

    ``performance``: (loadgen_valid, valid) of the judged performance series.
    """
    said = facts.official
    if said is None or said.valid is None or len(performance) != 1:
        return ""
    conditions, ours = performance[0]
    official = _word(said.valid)
    if conditions is not None and conditions != said.valid:
        return (
            f"the official log says {official}, LoadGen's conditions on our own records of the "
            f"same queries say {_word(conditions)}"
        )
    if said.valid and ours is False:
        return "the official log says VALID, this run is INVALID: see the findings that are not met"
    return ""


def _word(valid: bool) -> str:
    return "VALID" if valid else "INVALID"


def _named(said: OfficialFacts) -> str:
    return f"LoadGen {said.version}" if said.version else "LoadGen"


def _verdict(said: OfficialFacts | None) -> Finding:
    met = said is not None and said.valid is True
    if said is None:
        measured = "none: LoadGen was left before it wrote its result"
    elif said.valid is None:
        measured = f"none in the log of {_named(said)}"
    else:
        measured = f"Result is : {_word(said.valid)} ({_named(said)})"
        measured += f": {said.reason}" if said.reason else ""
    return Finding(
        name="official_verdict",
        met=met,
        measured=measured,
        required="Result is : VALID",
        advice="" if met else "see mlperf_log_summary.txt, which LoadGen wrote itself",
    )


def _counts(said: OfficialFacts | None, figures: SeriesFigures) -> Finding:
    """Both sides must have seen the same traffic, or neither's figures are of this run."""
    ours = figures.queries.issued
    theirs = said.query_count if said is not None else None
    met = theirs == ours
    told = "none told" if theirs is None else say_count(theirs, "query", "queries")
    return Finding(
        name="official_counts",
        met=met,
        measured=f"{told} by LoadGen, {ours} recorded here",
        required="the same count",
        advice="" if met else "queries that LoadGen issued after a stop were answered, unsent",
    )


def _without_errors(said: OfficialFacts | None) -> Finding:
    met = said is not None and not said.error_count
    if said is None:
        measured = "no log: LoadGen was left before it wrote it"
    else:
        measured = f"{say_count(said.error_count, 'error line')} in the log of {_named(said)}"
        measured += f": {said.errors[0]}" if said.errors else ""
    return Finding(
        name="official_errors",
        met=met,
        measured=measured,
        required="none, or the submission checker refuses the accuracy log",
        advice="" if met else "see mlperf_log_detail.txt, which LoadGen wrote itself",
    )

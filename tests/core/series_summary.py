"""The summary of made-up series."""

from __future__ import annotations

from dataclasses import replace

from series_builder import Series, fail_rows, server

from loadgen_service.core.facts.run import ErrorFacts, RunFacts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.summary.run import (
    Summary,
    build_summary,
)


def summary_of(*series: Series, **run: object) -> Summary:
    first = series[0]
    facts: RunFacts = replace(first.run, series=[one.series_facts for one in series], **run)
    for one in series:
        one.run = facts
    results = [(one.plan, one.figures(), one.verdict()) for one in series]
    return build_summary(first.settings, facts, results)


def failing(count: int = 200) -> Series:
    made = server()
    fail_rows(made.records, slice(0, count), Status.FAILED)
    made.facts = replace(made.facts, errors=[ErrorFacts(14, "connection refused", count)])
    return made

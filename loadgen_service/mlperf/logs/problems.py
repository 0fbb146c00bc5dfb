"""What went wrong in a series, in the words of LoadGen's error lines where it has them.

Decides texts and counts; where they stand in a file is the renderers' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadgen_service.core.facts.run import SeriesFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.plan.series import SeriesPlan
from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.records.request_table import RequestTable
from loadgen_service.core.scenarios import SCENARIOS

RAN_OUT = (
    "Ending early: Ran out of generated queries to issue before the minimum query count and test "
    "duration were reached. Please update the relevant expected latency or target qps in the "
    "TestSettings so they are more accurate."
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error line. ``count``: LoadGen repeats the line so often, we say the number once.

    ``location``: file and line of LoadGen's own source; ("", 0) where LoadGen has no such line.
    """

    text: str
    count: int = 1
    location: tuple[str, int] = ("", 0)


def series_problems(
    plan: SeriesPlan,
    table: RequestTable,
    figures: SeriesFigures,
    facts: SeriesFacts,
    tokens: TokenFigures | None,
) -> tuple[Problem, ...]:
    """All error lines of a series, early endings first."""
    found: list[Problem] = []
    if plan.spec.kind == "performance":
        found += _early_endings(plan, table, figures, facts)
    found += _bad_answers(figures, facts)
    if tokens is not None:
        found += _bad_tokens(plan, tokens)
    if figures.duplicate_count:
        text = "Attempted to complete a sample twice."
        found.append(Problem(text, figures.duplicate_count, ("logging.cc", 397)))
    return tuple(found)


def _early_endings(
    plan: SeriesPlan, table: RequestTable, figures: SeriesFigures, facts: SeriesFacts
) -> Iterator[Problem]:
    reasons = {worker.ended_by for worker in facts.workers}
    thread, location = "IssueQueryThread 0 Ending early: ", "issue_query_controller.cc"
    if SCENARIOS[plan.scenario].pulled:
        reasons &= {"failures", "stop"}  # LoadGen's offline has one query and no limits between
    if "max_async_queries" in reasons:
        text = f"issued {figures.queries.issued} outstanding {_outstanding(table)}"
        yield Problem(f"{thread}Too many outstanding queries. {text}", 1, (location, 465))
    if "max_query_count" in reasons:
        text = f"{thread}Max query count reached. query_count {figures.queries.issued}"
        yield Problem(text, 1, (location, 504))
    if "max_duration" in reasons:
        last_ns = figures.loadgen.final_query_issued_ns or 0
        text = f"{thread}Max test duration reached. duration_ns {last_ns}"
        yield Problem(text, 1, (location, 524))
    if "ran_out" in reasons:
        yield Problem(RAN_OUT, 1, ("loadgen.cc", 513))
    if "failures" in reasons:
        yield Problem("Ending early: too many queries failed one after the other.")
    if "stop" in reasons or facts.interrupted:
        yield Problem("Ending early: the run was interrupted.")


def _outstanding(table: RequestTable) -> int:
    """Requests without an answer when the last one was issued."""
    issued = table.issued_ns[table.issued_ns != NEVER]
    if not len(issued):
        return 0
    last_ns = issued.max()
    done = table.completed_ns[table.completed_ns != NEVER]
    return len(issued) - int(np.count_nonzero(done <= last_ns))


def _bad_answers(figures: SeriesFigures, facts: SeriesFacts) -> Iterator[Problem]:
    """LoadGen would wait for these for ever."""
    counts = figures.requests
    for error in facts.errors:
        yield Problem(
            f"{error.count} requests failed at SUT {error.sut_index}, "
            f"code {error.code}: {error.message}"
        )
    if counts.failed and not facts.errors:
        yield Problem(f"{counts.failed} requests failed.")
    if counts.timed_out:
        yield Problem(f"{counts.timed_out} requests had no answer within their deadline.")
    if counts.lost:
        yield Problem(f"{counts.lost} requests were lost with their worker.")


def _bad_tokens(plan: SeriesPlan, tokens: TokenFigures) -> Iterator[Problem]:
    offline = SCENARIOS[plan.scenario].pulled
    if tokens.unstarted_count and not offline:
        text = "Attempted to record a sample latency before it's first token latency"
        yield Problem(text, tokens.unstarted_count, ("logging.cc", 413))
    if tokens.uncounted_count:
        text = "n_tokens argument missing or attempted to record 0 as number of tokens"
        yield Problem(text, tokens.uncounted_count, ("logging.cc", 440))
    if tokens.short_count:
        text = "Number of tokens need to be greater than 1"
        yield Problem(text, tokens.short_count, ("logging.cc", 451))

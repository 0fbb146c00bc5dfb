"""What LoadGen's log files are made from: one run, reduced to what they say.

``series_log`` takes from a series' table what the figures lack, so that tables of ten million rows
need not be kept until the files are written. Renders nothing.

What went wrong in a series, in the words of LoadGen's error lines where it has them.

Decides texts and counts; where they stand in a file is the renderers' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from loadgen_service.core.facts.run import RunFacts, SeriesFacts
from loadgen_service.core.figures.loadgen import Latencies
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.figures.tokens import TokenFigures, token_figures
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.query_rows import query_rows
from loadgen_service.core.records.request_table import RequestTable, samples_in_rows
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import SCENARIO_NAMES
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.verdict.judge import Verdict, series_facts

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


@dataclass(frozen=True, slots=True)
class SeriesLog:
    """One series as the logs tell it. Times in ns since the series' start.

    ``sample_latency_ns``: completed samples, from the scheduled instant. ``messages``: lines said
    before it (the steps of a peak search); ``loads``: whether its set was loaded for it.
    """

    plan: SeriesPlan
    figures: SeriesFigures
    verdict: Verdict
    start_unix_ns: int
    last_completed_ns: int
    sample_latency_ns: Distribution | None
    ended_naturally: bool
    problems: tuple[Problem, ...] = ()
    tokens: TokenFigures | None = None
    messages: tuple[str, ...] = ()
    loads: bool = True


@dataclass(frozen=True, slots=True)
class Notice:
    """A line from before the run: an audit file that was found, a configuration file refused."""

    key: Literal[
        "warning_generic_message",
        "error_invalid_config",
        "error_invalid_test_settings",
        "error_runtime",
        "generic_message",
    ]
    text: str


@dataclass(frozen=True, slots=True)
class Build:
    """What issued the run. LoadGen names its own build here, and so do we ours."""

    version: str = "loadgen-service"
    build_date_local: str = ""
    build_date_utc: str = ""
    git_commit_date: str = ""
    git_log_message: str = ""
    git_status_message: str = ""
    file_sha1: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogInputs:
    """A whole run. ``start_unix_ns``: when the logs begin (0: with the first series).

    ``utc_offset_s``: of the local time, which LoadGen writes. ``result``: place in ``series`` of
    the one whose result is told; None: the last performance series. ``closing``: lines said after
    the last series (a peak search's last words).
    """

    settings: Settings
    facts: RunFacts
    series: Sequence[SeriesLog]
    sut_name: str
    qsl_name: str
    sut_name_duration_ns: int = 0
    start_unix_ns: int = 0
    utc_offset_s: int = 0
    pid: int = 0
    build: Build = field(default_factory=Build)
    notices: Sequence[Notice] = ()
    result: int | None = None
    closing: Sequence[str] = ()

    @property
    def strict(self) -> bool:
        """Whether the files are LoadGen's to the letter, its faults included."""
        return self.settings.strict_loadgen

    @property
    def counts(self) -> SampleCounts:
        """What the data set reported."""
        return SampleCounts(self.facts.total_sample_count, self.facts.performance_sample_count)

    @property
    def logged(self) -> list[SeriesLog]:
        """The series that LoadGen has: all but the warm-up."""
        return [one for one in self.series if one.plan.spec.kind != "warmup"]

    @property
    def began_unix_ns(self) -> int:
        """Zero of every ``time_ms``."""
        starts = [one.start_unix_ns for one in self.logged if one.start_unix_ns]
        return min([*starts, self.start_unix_ns or 2**63])

    @property
    def judged(self) -> SeriesLog | None:
        """The series whose result is told; None in accuracy mode."""
        if self.result is not None:
            return self.series[self.result]
        found = [one for one in self.series if one.plan.spec.kind == "performance"]
        return found[-1] if found else None


def reason_without_logs(settings: Settings) -> str:
    """Why a run has no LoadGen logs: LoadGen has no such traffic. Empty where it has."""
    if settings.scenario not in SCENARIO_NAMES:
        return f"LoadGen has no {settings.scenario} scenario"
    if SCENARIOS[settings.scenario].due == "arrivals" and settings.arrivals != "poisson":
        return f"LoadGen has no {settings.arrivals} arrivals, only poisson"
    return ""


def series_log(
    settings: Settings,
    facts: RunFacts,
    plan: SeriesPlan,
    table: RequestTable,
    figures: SeriesFigures,
    verdict: Verdict,
) -> SeriesLog:
    """Reduce one series to what the logs say of it."""
    own = series_facts(facts, plan.spec.index)
    tokens = figures.tokens
    if tokens is not None and settings.strict_loadgen:
        rows = query_rows(plan, table)
        answered = int(np.count_nonzero(rows.status == Status.COMPLETED))
        latencies = Latencies(rows.latency_ns, figures.queries.issued - answered)
        tokens = token_figures(settings, table, figures.loadgen, latencies, official=True)
    done = table.status == Status.COMPLETED
    return SeriesLog(
        plan=plan,
        figures=figures,
        verdict=verdict,
        start_unix_ns=own.start_unix_ns,
        last_completed_ns=int(table.completed_ns.max(where=done, initial=0)),
        sample_latency_ns=_sample_latency(settings, plan, table, figures),
        ended_naturally=_ended_naturally(plan, own),
        problems=series_problems(plan, table, figures, own, tokens),
        tokens=tokens,
    )


def _sample_latency(
    settings: Settings, plan: SeriesPlan, table: RequestTable, figures: SeriesFigures
) -> Distribution | None:
    if settings.scenario != "multi_stream":
        return figures.latency_ns  # one sample a query, or the sample's own
    done = table.status == Status.COMPLETED
    latency = table.completed_ns[done] - table.scheduled_ns[done]
    return Distribution.of(np.repeat(latency, samples_in_rows(plan, table.row)[done]))


def _ended_naturally(plan: SeriesPlan, facts: SeriesFacts) -> bool:
    """LoadGen says so of streams and offline in performance mode, when both minima are met."""
    if plan.spec.kind != "performance" or SCENARIOS[plan.scenario].due == "arrivals":
        return False
    wanted = {"plan", "minima"} if SCENARIOS[plan.scenario].pulled else {"minima"}
    return any(worker.ended_by in wanted for worker in facts.workers)

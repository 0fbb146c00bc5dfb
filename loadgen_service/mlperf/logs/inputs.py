"""What LoadGen's log files are made from: one run, reduced to what they say.

``series_log`` takes from a series' table what the figures lack, so that tables of ten million rows
need not be kept until the files are written. Renders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from loadgen_service.core.facts.run import RunFacts, SeriesFacts
from loadgen_service.core.figures.loadgen import Latencies
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.figures.tokens import TokenFigures, token_figures
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.query_rows import query_rows
from loadgen_service.core.records.request_table import RequestTable, samples_in_rows
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import SCENARIO_NAMES
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.verdict.judge import Verdict, series_facts
from loadgen_service.mlperf.logs.problems import Problem, series_problems


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

"""summary.json: the versioned interface to a run for programs (docs/reference/summary.md).

Joins settings, facts, figures and verdicts into one model; measures and judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import Field

from loadgen_service.core.facts.run import OfficialFacts, RunFacts
from loadgen_service.core.facts.scraped_metrics import ScrapedTarget
from loadgen_service.core.figures.series import SequenceFigures, SeriesFigures
from loadgen_service.core.figures.streams import StreamFigures
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.query_rows import Counts
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import BY_INDEX_PLATFORM, IN_PROCESS_PLATFORM
from loadgen_service.core.stats.outliers import Sibling, outliers
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import (
    CountsByLevel,
    ErrorSummary,
    MeasuredTimes,
    Metric,
    Part,
    SeriesSummary,
    SutSummary,
    WorkerSummary,
    counts_of,
    times_fields,
)
from loadgen_service.core.summary.versioned_json import read_document
from loadgen_service.core.units import NS_PER_S
from loadgen_service.core.verdict.findings.finding import Finding
from loadgen_service.core.verdict.findings.notes import contention_notes, resent_notes
from loadgen_service.core.verdict.findings.official import disagreements
from loadgen_service.core.verdict.judge import Verdict, by_cause, series_facts

SUMMARY_VERSION: Final[Literal[1]] = 1

SeriesResult = tuple[SeriesPlan, SeriesFigures, Verdict]

BY_INDEX_PLATFORMS: Final = frozenset({BY_INDEX_PLATFORM, IN_PROCESS_PLATFORM})
"""What a SUT says of itself that takes its samples by number from a disk of its own."""


class DatasetSummary(Part):
    """The data that was sent."""

    name: str
    content_hash: str
    total_sample_count: int
    performance_sample_count: int


class Summary(MeasuredTimes):
    """One run. Counts add up all judged series; figures are those of the one judged series.

    With several judged series (accuracy sets) the figures are null here and stand in ``series``. A
    submission run's figures are its performance series'; a peak search is judged by the run at the
    peak alone.
    ``valid`` is true only if every judged series is; null where none was judged.
    """

    format: Literal["loadgen-summary"] = "loadgen-summary"
    version: Literal[1] = 1
    run_id: str
    state: Literal["DONE", "INTERRUPTED"]
    started_at: str = Field(description="UTC, ISO 8601; empty if no series began")
    scenario: str
    mode: str
    valid: bool | None
    invalid_reason: str
    findings: list[Finding]
    loadgen_valid: bool | None
    loadgen_note: str
    plan_hash: str
    workload_hash: str
    metric: Metric | None
    peak_qps: float | None = Field(None, description="find_peak: highest rate that passed")
    counts: CountsByLevel
    elapsed_ns: int | None
    completed_qps: float | None
    completed_samples_per_second: float | None
    latency_unit: str = Field(description="what latency_ns counts: query, or sample (offline)")
    latency_ns: Distribution | None = Field(description="completed ones only, from scheduled")
    streams: StreamFigures | None = Field(None, description="answers that came in pieces")
    tokens: TokenFigures | None = Field(None, description="use_token_latencies: token figures")
    sequences: SequenceFigures | None = Field(None, description="what became of the sequences")
    preprocess_ns: int | None = Field(description="mean decode and preprocessing of a sample")
    accuracy: dict[str, float] | None
    dataset: DatasetSummary
    data_crossed_network: bool = Field(
        True, description="false: SUTs got sample numbers only; the network division refuses that"
    )
    official: OfficialFacts | None = Field(
        None, description="engine mlcommons: what the official LoadGen's own log says"
    )
    suts: list[SutSummary]
    workers: list[WorkerSummary]
    errors: list[ErrorSummary]
    sut_metrics: list[ScrapedTarget] | None = Field(
        None, description="what --sut-metrics read through the run; null: nobody asked"
    )
    notes: list[str]
    gaps: list[str]
    checksums: str = Field(
        "", description="the file with the SHA-256 of every result file; empty: an older version's"
    )
    settings: dict[str, object]
    environment: dict[str, str]
    series: list[SeriesSummary]


def build_summary(
    settings: Settings,
    facts: RunFacts,
    results: Sequence[SeriesResult],
    notes: Sequence[str] = (),
    sut_metrics: Sequence[ScrapedTarget] | None = None,
    checksums: str = "",
) -> Summary:
    """Join a run's results, one (plan, figures, verdict) a series in order, warm-up among them.

    ``notes``: beside those of the facts. ``sut_metrics``: None where nobody asked.
    ``checksums``: the file with the digests of the others.
    """
    series = [_series_summary(settings, facts, result) for result in results]
    judged = [one for one in series if one.kind != "warmup"]
    if facts.rated_series is not None:
        judged = [one for one in judged if one.series_index == facts.rated_series]
    # A submission run is rated by its performance series; its accuracy stands beside.
    rated = [one for one in judged if one.kind == "performance"] or judged
    only = rated[0] if len(rated) == 1 else None
    started_ns = min((one.start_unix_ns for one in facts.series if one.start_unix_ns), default=0)
    return Summary(
        format="loadgen-summary",
        version=SUMMARY_VERSION,
        run_id=facts.run_id,
        state="INTERRUPTED" if _is_interrupted(facts) else "DONE",
        started_at=_iso(started_ns),
        scenario=settings.scenario,
        mode=settings.mode,
        valid=_all_of([one.valid for one in judged]),
        invalid_reason=_reasons(judged),
        findings=_joined_findings(judged),
        loadgen_valid=_all_of([one.loadgen_valid for one in rated]),
        loadgen_note=rated[0].loadgen_note if rated else "no series was judged",
        plan_hash=facts.plan_hash,
        workload_hash=facts.workload_hash,
        metric=only.metric if only else None,
        peak_qps=facts.peak_qps,
        counts=_added([one.counts for one in judged]),
        elapsed_ns=only.elapsed_ns if only else None,
        completed_qps=only.completed_qps if only else None,
        completed_samples_per_second=only.completed_samples_per_second if only else None,
        latency_unit=rated[0].latency_unit if rated else "query",
        latency_ns=only.latency_ns if only else None,
        streams=only.streams if only else None,
        tokens=only.tokens if only else None,
        sequences=only.sequences if only else None,
        preprocess_ns=facts.preprocess_ns,
        accuracy=facts.accuracy,
        dataset=_dataset(facts),
        data_crossed_network=all(sut.platform not in BY_INDEX_PLATFORMS for sut in facts.suts),
        official=facts.official,
        suts=only.suts if only else [SutSummary.of(sut, None) for sut in facts.suts],
        workers=only.workers if only else [],
        errors=[error for one in judged for error in one.errors],
        notes=[*facts.notes, *notes, *deviations(settings), *_series_notes(facts, rated)],
        gaps=list(facts.gaps),
        checksums=checksums,
        sut_metrics=None if sut_metrics is None else list(sut_metrics),
        settings=public_settings(settings),
        environment=facts.environment,
        series=series,
        **{name: getattr(only, name, None) for name in MeasuredTimes.model_fields},
    )


def _series_notes(facts: RunFacts, rated: Sequence[SeriesSummary]) -> list[str]:
    """What the series that speak for the run show: doubts, odd SUTs, busy hosts."""
    verdicts = [(one.loadgen_valid, one.valid) for one in rated if one.kind == "performance"]
    said = disagreements(facts, verdicts)
    return [
        *([said] if said else []),
        *_outlier_notes(rated[0] if len(rated) == 1 else None),
        *contention_notes([worker for one in rated for worker in one.workers]),
        *resent_notes(worker for one in rated for worker in one.workers),
    ]


def _outlier_notes(series: SeriesSummary | None) -> list[str]:
    """Outliers among the SUTs of one run; no line where they are equal."""
    suts = [(sut, sut.requests) for sut in (series.suts if series else ())]
    return outliers(
        [
            Sibling(
                name=f"sut {sut.sut_index} {sut.address}",
                issued=counts.issued,
                completed=counts.completed,
                p99_ns=sut.latency_ns.p99 if sut.latency_ns else None,
            )
            for sut, counts in suts
            if counts is not None
        ]
    )


def summary_to_json(summary: Summary) -> str:
    """The text of summary.json, ending in a newline."""
    return summary.model_dump_json(indent=2) + "\n"


def summary_from_json(text: str | bytes) -> Summary:
    """Read summary.json. Raises UserError if it is not one, or of another version."""
    return read_document(Summary, "summary.json", SUMMARY_VERSION, text)


def public_settings(settings: Settings) -> dict[str, object]:
    """Settings as JSON values, without the secrets: literal values of headers become ***."""
    values: dict[str, object] = settings.model_dump(mode="json")
    values["header"] = [_redacted(header) for header in settings.header]
    return values


def deviations(settings: Settings) -> list[str]:
    """Where this run differs from what LoadGen would have done, in words."""
    said = []
    if settings.samples_per_request > 1:
        said.append(
            f"batching: up to {settings.samples_per_request} samples in one request "
            "(the network division forbids it)"
        )
    if settings.workers > 1 and SCENARIOS[settings.scenario].due == "arrivals":
        if settings.max_async_queries:
            said.append("max_async_queries is split over the workers (LoadGen has one limit)")
        if settings.coalesce_queries:
            said.append("queries are coalesced within each worker's share (LoadGen: over all)")
    return said


def _redacted(header: str) -> str:
    name, _, value = header.partition("=")
    return header if value.startswith(("env:", "file:")) else f"{name}=***"


def _series_summary(settings: Settings, facts: RunFacts, result: SeriesResult) -> SeriesSummary:
    plan, figures, verdict = result
    own = series_facts(facts, plan.spec.index)
    suts = {part.index: part for part in figures.suts}
    workers = {part.index: part for part in figures.workers}
    return SeriesSummary(
        series_index=plan.spec.index,
        kind=plan.spec.kind,
        name=plan.spec.name,
        valid=verdict.valid,
        invalid_reason=verdict.invalid_reason,
        loadgen_valid=verdict.loadgen_valid,
        loadgen_note=verdict.loadgen_note,
        findings=list(verdict.findings),
        counts=counts_of(figures),
        metric=_metric(settings, figures) if plan.spec.kind == "performance" else None,
        elapsed_ns=figures.elapsed_ns,
        completed_qps=figures.completed_qps,
        completed_samples_per_second=figures.completed_samples_per_second,
        latency_unit=figures.latency_unit,
        latency_ns=figures.latency_ns,
        loadgen=figures.loadgen,
        bursts=figures.bursts,
        streams=figures.streams,
        tokens=figures.tokens,
        sequences=figures.sequences,
        outside_window_count=figures.outside_window_count,
        errors=[ErrorSummary.of(error) for error in own.errors],
        suts=[SutSummary.of(sut, suts.get(sut.sut_index), own) for sut in facts.suts],
        workers=[
            WorkerSummary.of(one, workers.get(one.worker_index), own.clocks) for one in own.workers
        ],
        **times_fields(figures.times),
    )


def _metric(settings: Settings, figures: SeriesFigures) -> Metric:
    row = SCENARIOS[settings.scenario]
    name, unit = row.metric, row.metric_unit
    own = figures.loadgen
    if figures.tokens is not None and unit == "1/s":  # what LoadGen's submissions of LLMs take
        return Metric(name="tokens_per_second", value=figures.tokens.tokens_per_second, unit=unit)
    values: dict[str, float | None] = {
        "early_stopping_latency": own.early_stopping.estimate_ns if own.early_stopping else None,
        "completed_samples_per_second": own.completed_samples_per_second,
        "samples_per_second": own.samples_per_second,
        "target_percentile_latency": own.target_percentile_latency_ns,
        "completed_qps": figures.completed_qps,
    }
    return Metric(name=name, value=values[name], unit=unit)


def _is_interrupted(facts: RunFacts) -> bool:
    return facts.interrupted or any(series.interrupted for series in facts.series)


def _all_of(judgements: Sequence[bool | None]) -> bool | None:
    """False if one is, None if one was not judged or there is none, else True."""
    if False in judgements:
        return False
    return None if None in judgements or not judgements else True


def _reasons(judged: Sequence[SeriesSummary]) -> str:
    if not judged:
        return "no series was judged"
    if len(judged) == 1:
        return judged[0].invalid_reason
    return "; ".join(f"{one.name}: {one.invalid_reason}" for one in judged if one.invalid_reason)


def _joined_findings(judged: Sequence[SeriesSummary]) -> list[Finding]:
    """One finding a name over all series; the first that is not met speaks for the others."""
    joined: dict[str, Finding] = {}
    for one in judged:
        for finding in one.findings:
            known = joined.setdefault(finding.name, finding)
            if known.met and not finding.met:
                joined[finding.name] = finding
    return list(by_cause(list(joined.values())))


def _added(levels: Sequence[CountsByLevel]) -> CountsByLevel:
    return CountsByLevel(
        queries=_sum([level.queries for level in levels]),
        samples=_sum([level.samples for level in levels]),
        requests=_sum([level.requests for level in levels]),
    )


def _sum(counts: Sequence[Counts]) -> Counts:
    columns = zip(*(astuple(count) for count in counts), strict=True)
    return Counts(*(sum(column) for column in columns)) if counts else Counts(*[0] * 7)


def _dataset(facts: RunFacts) -> DatasetSummary:
    return DatasetSummary(
        name=facts.dataset_name,
        content_hash=facts.dataset_hash,
        total_sample_count=facts.total_sample_count,
        performance_sample_count=facts.performance_sample_count,
    )


def _iso(unix_ns: int) -> str:
    """UTC to the millisecond; empty for 0."""
    if not unix_ns:
        return ""
    moment = datetime.fromtimestamp(unix_ns / NS_PER_S, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

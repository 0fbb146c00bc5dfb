"""report.html: one run on one page that opens offline; the verdict and its reasons come first.

Says what the summary and the records hold, in the order in which a reader asks; judges nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from loadgen_service.core.records.columns import CODE_BROKEN_CONNECTION
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.summary.parts import SeriesSummary, SutSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.errors import UserError
from loadgen_service.report.formatting import (
    say_count,
    say_metric_parts,
    say_ns,
    say_peak,
    say_rate,
    say_verdict,
)
from loadgen_service.report.html import plots
from loadgen_service.report.html.page import (
    Badge,
    Block,
    Bullets,
    Page,
    Paragraph,
    Plot,
    Table,
    Tiles,
    folded,
)
from loadgen_service.report.html.scraped_section import scraped_section
from loadgen_service.report.html.sequence_section import sequence_section
from loadgen_service.report.html.tables import (
    counts_table,
    distributions_table,
    findings_table,
    hop_bar,
    identity_tables,
    series_table,
    suts_table,
)
from loadgen_service.report.html.token_sections import token_sections, token_tiles
from loadgen_service.report.records_reader import main_series
from loadgen_service.report.server_stats import (
    HEAD,
    STATISTICS_WORDS,
    statistics_lacking,
    statistics_remarks,
    statistics_rows,
)
from loadgen_service.report.timeline import SeriesTraces, read_traces

REPORT_FILE: Final = "report.html"


SUTS_NAMED: Final = 4


def render_html(summary: Summary, directory: Path) -> str:
    """The whole file; ``directory`` holds records.parquet. Bounded in size and memory."""
    series = main_series(summary)
    page = Page(f"{say_verdict(summary.valid, summary.state)} {summary.scenario} {summary.run_id}")
    traces, missing = _traces(directory, series)
    _head(page, summary, series, traces)
    _reasons(page, summary)
    if missing:
        page.section("Records", Paragraph(f"The plots are missing: {missing}"))
    if series and traces:
        _measured(page, summary, series, traces)
    scraped_section(page, summary, directory)
    _notes(page, summary)
    for title, words, blocks in identity_tables(summary):
        page.section(title, *blocks, words=words)
    return page.html()


def _traces(directory: Path, series: SeriesSummary | None) -> tuple[SeriesTraces | None, str]:
    """What the plots draw, or why there is nothing to draw."""
    if series is None:
        return None, ""
    try:
        return read_traces(directory, series), ""
    except UserError as error:
        return None, str(error)


def _head(
    page: Page, summary: Summary, series: SeriesSummary | None, traces: SeriesTraces | None
) -> None:
    model = str(summary.settings.get("model") or "-")
    failed = [finding for finding in summary.findings if not finding.met]
    said = [f"{one.name}: {one.measured}; required {one.required}" for one in failed]
    if not said and summary.invalid_reason:
        said = [summary.invalid_reason]
    page.section(
        f"{summary.scenario}, {summary.mode}: model {model}",
        Badge(say_verdict(summary.valid, summary.state)),
        Paragraph(_asked(summary, series)),
        Bullets(said),
        Tiles(_boxes(summary, series)),
        page.plot(_tail(summary, series, traces)) if series and traces else None,
        Paragraph(
            f"Run {summary.run_id}, started {summary.started_at or 'never'}. "
            f"LoadGen's own verdict: {say_verdict(summary.loadgen_valid)}"
            + (f" ({summary.loadgen_note})." if summary.loadgen_note else ".")
        ),
    )


def _boxes(summary: Summary, series: SeriesSummary | None) -> list[tuple[str, str]]:
    latency, samples = summary.latency_ns, summary.counts.samples
    boxes = token_tiles(series.streams) if series and series.streams else []
    if peak := say_peak(summary):
        boxes.append(("found", peak))
    boxes += [say_metric_parts(summary.metric)] if summary.metric else []
    boxes += [(name, f"{value:.4g}") for name, value in (summary.accuracy or {}).items()]
    if latency:
        boxes += [("median latency", say_ns(latency.p50)), ("p99 latency", say_ns(latency.p99))]
    if not summary.metric or summary.metric.unit == "ns":
        boxes.append(("completed queries a second", f"{say_rate(summary.completed_qps)}/s"))
    boxes += [
        ("samples completed", say_count(samples.completed)),
        (
            "samples failed, timed out or lost",
            say_count(samples.failed + samples.timed_out + samples.lost),
        ),
    ]
    return boxes


def _asked(summary: Summary, series: SeriesSummary | None) -> str:
    """What was measured, at which load, under which limit, for how long."""
    settings = summary.settings
    suts = ", ".join(sut.address for sut in summary.suts[:SUTS_NAMED])
    more = len(summary.suts) - SUTS_NAMED
    said = [f"SUT {suts}" + (f" and {more} more" if more > 0 else "")] if suts else []
    row = SCENARIOS.get(summary.scenario)
    load = row.load_settings if row else ()
    asked = (*(["target_qps"] if row and row.due == "arrivals" else []), *load)
    for name in asked:
        if settings.get(name):
            said.append(f"{name.replace('_', ' ')} {settings[name]}")
    limit_ns = _limit_ns(summary)
    if limit_ns:
        said.append(f"limit {say_ns(limit_ns)}")
    if series:
        said.append(f"measured for {say_ns(series.elapsed_ns)}")
    return "; ".join(said) + "." if said else ""


def _reasons(page: Page, summary: Summary) -> None:
    failed = [finding for finding in summary.findings if not finding.met]
    met = [finding for finding in summary.findings if finding.met]
    if summary.findings:
        page.section(
            "Why this verdict",
            findings_table(failed),
            folded(f"{len(met)} conditions that were met", findings_table(met)) if met else None,
            words="Every condition that was judged. The run is VALID only if all of them are met. "
            "A condition that was not met comes with what to do about it; the first may have "
            "caused those below it.",
        )


def _measured(page: Page, summary: Summary, series: SeriesSummary, traces: SeriesTraces) -> None:
    if len(summary.series) > 1:
        page.section(
            "Series",
            series_table(summary.series),
            words=f"The run had several. What follows is of series {series.series_index}, "
            f"{series.name or series.kind}.",
        )
    token_sections(page, series, traces)
    _latency(page, summary, series, traces)
    sequence_section(page, series)
    _schedule(page, series, traces)
    _hops(page, series, traces)
    _server_statistics(page, series)
    _systems(page, series, traces)
    _failures(page, series, traces)


def _tail(summary: Summary, series: SeriesSummary, traces: SeriesTraces) -> Plot:
    return plots.tail_plot(
        [(f"{series.latency_unit} latency", traces.latency)],
        _judged_limit_ns(summary, series),
        _percentile(series),
    )


def _judged_limit_ns(summary: Summary, series: SeriesSummary) -> int | None:
    judged = any(finding.name == "latency" for finding in series.findings)
    return _limit_ns(summary) if judged else None


def _latency(page: Page, summary: Summary, series: SeriesSummary, traces: SeriesTraces) -> None:
    limit_ns = _judged_limit_ns(summary, series)
    page.section(
        "Latency",
        *distributions_table(series),
        words="The plot at the top of the page shows which share of answers took at least so "
        "long. Read it from the left: at p99 one "
        "answer in a hundred took longer. Both axes are logarithmic, and every one of the "
        "longest 300 latencies is a point, the very last included. Time counts from the instant "
        "at which the query was due, so a stall shows in full. Only answered ones are drawn.",
    )
    by = "answered" if series.latency_unit == "sample" else "due"
    page.section(
        "Latency over time",
        page.plot(plots.latency_plot(traces.latency, limit_ns)),
        words=f"Each point covers a short span of the run, placed where its queries were {by}. "
        "A level line is a steady system; a rising one a queue that grows; a single peak a stall.",
    )


def _limit_ns(summary: Summary) -> int | None:
    from loadgen_service.core.settings import Settings

    known = {k: v for k, v in summary.settings.items() if k in ("scenario", "target_latency_ms")}
    return Settings.model_validate(known).latency_limit_ns or None


def _percentile(series: SeriesSummary) -> float:
    return series.loadgen.target_percentile


def _schedule(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    delay = series.issue_delay_ns
    said = f" Over the run: p99 {say_ns(delay.p99)}, at most {say_ns(delay.max)}." if delay else ""
    page.section(
        "Schedule against issue",
        page.plot(plots.delay_plot(traces.delay)),
        words="How long after its due instant a request really left. Near nothing means that the "
        "load was what the plan says; more means that this generator, or a connection that took "
        "no more, changed the load, and the figures are not the system's alone." + said,
    )
    page.section(
        "Throughput",
        page.plot(plots.rate_plot(traces)),
        page.plot(plots.outstanding_plot(traces)),
        counts_table(series.counts),
        words="Requests a second that were due, that left, and that came back. Where answers fall "
        "below what was issued, requests wait: the lower plot shows how many were out.",
    )


def _hops(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    told = series.server_compute_ns is not None
    said = (
        "On average, where the time of a request went: late and blocked are before it left, "
        "waiting and computing are as the server reports them, the network and the rest is what "
        "remains."
        if told
        else "On average, where the time of a request went: late and blocked are before it left. "
        "This server does not report its own times, so they cannot be told from the network's."
    )
    page.section("Where the time went", hop_bar(series), page.plot(plots.hop_plot(traces)),
                 words=said)  # fmt: skip


def _server_statistics(page: Page, series: SeriesSummary) -> None:
    rows = statistics_rows(series.suts)
    if rows:
        said = [*statistics_remarks(series.suts), *statistics_lacking(series.suts)]
        page.section(
            "Inside the server",
            Table(["SUT, model", *HEAD], rows),
            Bullets(said),
            words=STATISTICS_WORDS,
        )


def _systems(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    parts: list[Block] = [suts_table(series.suts)]
    words = "The system under test as it names itself, and what was measured of it."
    if len(traces.suts) > 1:
        names = {sut.sut_index: _short(sut) for sut in series.suts}
        parts.insert(0, page.plot(plots.sut_plot(traces, names)))
        words = "Each system under test by itself; they had the same kind of load at the same time."
        if len(series.suts) > len(traces.suts):
            words += f" The first {len(traces.suts)} are drawn."
    page.section("Systems under test", *parts, words=words)


def _short(sut: SutSummary) -> str:
    return f"{sut.sut_index} {sut.address}"


def _failures(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    if not any(counts.any() for counts in traces.failures.values()):
        page.section("Errors", Paragraph("None: every issued request was answered well."))
        return
    rows = [
        [
            "broken connection" if error.code == CODE_BROKEN_CONNECTION else f"gRPC {error.code}",
            say_count(error.count),
            str(error.sut_index),
            error.message or "no text",
        ]
        for error in series.errors
    ]
    page.section(
        "Errors",
        page.plot(plots.failure_plot(traces)),
        Table(["kind", "count", "SUT", "message"], rows),
        words="When requests ended without a good answer. They count as infinitely late in the "
        "verdict and are in no latency above.",
    )


def _notes(page: Page, summary: Summary) -> None:
    said = [*summary.notes, *(f"missing records: {gap}" for gap in summary.gaps)]
    if said:
        page.section("Notes", Bullets(said), words="What this run did differently, or lacks.")

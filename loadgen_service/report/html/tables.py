"""The tables of report.html: the same figures as report.txt, as cells of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import CountsByLevel, SeriesSummary, SutSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.verdict.findings.finding import Finding
from loadgen_service.report.formatting import (
    measured_times,
    report_said,
    say_count,
    say_ns,
    say_rate,
    say_verdict,
)
from loadgen_service.report.html.page import Bar, Block, Cell, Paragraph, Part, Table, folded
from loadgen_service.report.html.plots import HOP_COLOURS, HOP_NAMES

Rows = list[list[str | Cell]]

_COUNTS: Final = ("planned", "not_issued", "issued", "completed", "failed", "timed_out", "lost")
_QUANTILES: Final = ("min", "mean", "p50", "p90", "p95", "p97", "p99", "p99_9", "max")
_SEEDS: Final = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed", "data_seed")


def findings_table(findings: Sequence[Finding]) -> Table:
    """Conditions, those not met first."""
    rows: Rows = [
        [
            finding.name,
            Cell("met" if finding.met else "NOT MET", "ok" if finding.met else "fail"),
            Cell(finding.measured, "text"),
            Cell(finding.required, "text"),
            Cell(finding.advice, "text"),
        ]
        for finding in sorted(findings, key=lambda one: one.met)
    ]
    text = [Cell(name, "text") for name in ("measured", "required", "what to do")]
    return Table(["condition", "", *text], rows, "stacked")


def counts_table(counts: CountsByLevel) -> Table:
    """How the planned ended, at three levels."""
    levels = {"queries": counts.queries, "samples": counts.samples, "requests": counts.requests}
    rows = [
        [name, *(say_count(getattr(level, column)) for column in _COUNTS)]
        for name, level in levels.items()
    ]
    return Table(["", *(name.replace("_", " ") for name in _COUNTS)], rows)


def distributions_table(series: SeriesSummary) -> list[Block]:
    """Every measured time of a series, exact."""
    measured = [("latency", series.latency_ns)] if series.latency_ns else []
    measured += [(figure.label, found) for figure, found in measured_times(series)]
    rows = [[title, *_quantiles(found)] for title, found in measured]
    found_table = Table(["", *(name.replace("_", ".") for name in _QUANTILES)], rows)
    if series.hop_error_ns is None:
        return [found_table]
    error = say_ns(series.hop_error_ns)
    return [found_table, Paragraph(f"To the SUT and back from it: over two clocks, ± {error}.")]


def _quantiles(found: Distribution) -> list[str]:
    return [say_ns(getattr(found, name)) for name in _QUANTILES]


def series_table(series: Sequence[SeriesSummary]) -> Table:
    """A row a series."""
    rows: Rows = [
        [
            f"{one.series_index} {one.name or one.kind}",
            say_verdict(one.valid),
            say_count(one.counts.samples.completed),
            say_rate(one.completed_qps),
            say_ns(one.latency_ns.p50) if one.latency_ns else "-",
            say_ns(one.latency_ns.p99) if one.latency_ns else "-",
            Cell(one.invalid_reason, "text"),
        ]
        for one in series
    ]
    head = ["series", "verdict", "samples completed", "queries/s", "p50", "p99"]
    return Table([*head, Cell("why not", "text")], rows)


def suts_table(suts: Sequence[SutSummary]) -> Table:
    """A row a SUT: what it says it is, and what was measured of it."""
    rows = [
        [
            f"{sut.sut_index} {sut.address}",
            f"{sut.name} {sut.platform}".strip() or "-",
            say_count(sut.requests.completed) if sut.requests else "-",
            say_count(sut.requests.unanswered) if sut.requests else "-",
            say_rate(sut.completed_samples_per_second),
            say_ns(sut.latency_ns.p50) if sut.latency_ns else "-",
            say_ns(sut.latency_ns.p99) if sut.latency_ns else "-",
            say_ns(sut.latency_ns.max) if sut.latency_ns else "-",
        ]
        for sut in suts
    ]
    head = ["SUT", "says it is", "completed", "unanswered", "samples/s", "p50", "p99", "largest"]
    return Table(head, rows)


def hop_bar(series: SeriesSummary) -> Bar:
    """The mean time of each hop as a bar; empty where nothing was answered."""
    # the service time is the sum of what follows it, where the SUT told that
    names = [name for name in HOP_NAMES if name != "service_ns" or series.network_ns is None]
    means = {
        name: max(0, found.mean)
        for name in names
        if (found := getattr(series, name)) and found.mean
    }
    whole = sum(means.values())
    if whole <= 0:
        return Bar([])
    return Bar(
        [
            Part(
                f"{HOP_NAMES[name]} {say_ns(mean)} ({100 * mean / whole:.3g} %)",
                mean / whole,
                HOP_COLOURS[name],
            )
            for name, mean in means.items()
        ]
    )


def identity_tables(summary: Summary) -> list[tuple[str, str, list[Block]]]:
    """``(title, plain words, blocks)`` of what makes the run repeatable."""
    data = summary.dataset
    hashes = {
        "plan hash": summary.plan_hash,
        "workload hash": summary.workload_hash,
        "data": f"{data.name or '-'}, {say_count(data.total_sample_count)} samples, "
        f"{say_count(data.performance_sample_count)} loaded",
        "data hash": data.content_hash,
        **{name.replace("_", " "): str(summary.settings.get(name, "-")) for name in _SEEDS},
    }
    workers = [
        [
            f"worker {one.worker_index}",
            f"{one.host or '-'}, pid {one.pid}",
            f"ended by {one.ended_by or '-'}" + (f", LOST: {one.lost_reason}" if one.lost else ""),
            f"clock offset {say_ns(one.clock_offset_ns)} ± {say_ns(one.clock_error_ns)}",
            report_said(one),
        ]
        for one in summary.workers
    ]
    return [
        (
            "Plan and seeds",
            "Equal plan hashes are the same traffic, query by query; equal workload hashes make "
            "runs comparable. The seeds and settings make this run again.",
            [_pairs(hashes)],
        ),
        (
            "Environment",
            "Where the load came from. A frequency governor other than performance lets "
            "latencies wander.",
            [_pairs(summary.environment), Table([], workers)],
        ),
        ("Settings", "", [folded("Every setting", _pairs(summary.settings))]),
    ]


def _pairs(values: dict[str, str] | dict[str, object]) -> Table:
    rows: Rows = [[name, Cell(_said(value), "text")] for name, value in values.items()]
    return Table([], rows)


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "-"
    return str(value) if value not in ("", None) else "-"

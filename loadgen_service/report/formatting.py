"""How numbers are said to a person: verdict words, durations, counts, rates, aligned columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadgen_service.core.facts.worker_report import WORKER
from loadgen_service.core.figures.figure import Figure, shown
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import TIMES, Metric, SeriesSummary, WorkerSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.verdict.findings.finding import say_ns

__all__ = [
    "measured_times",
    "report_said",
    "say_count",
    "say_figure",
    "say_metric",
    "say_metric_parts",
    "say_ns",
    "say_peak",
    "say_rate",
    "say_share",
    "say_verdict",
    "table",
]


def say_verdict(valid: bool | None, state: str = "DONE") -> str:
    """VALID, INVALID, NOT JUDGED or, whatever the verdict, INTERRUPTED."""
    if state == "INTERRUPTED":
        return "INTERRUPTED"
    if valid is None:
        return "NOT JUDGED"
    return "VALID" if valid else "INVALID"


def say_count(count: int) -> str:
    """12,345."""
    return f"{count:,}"


def say_rate(rate: float | None) -> str:
    """Per second, with four significant digits; ``-`` where there is none."""
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def say_share(share: float | None) -> str:
    """7.2%; ``-`` where it is not known."""
    return "-" if share is None else f"{share:.1%}"


def say_figure(figure: Figure, value: float) -> str:
    """A value in its figure's unit."""
    if figure.unit == "ns":
        return say_ns(round(value))
    if figure.unit == "share":
        return say_share(value)
    if figure.unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    return say_count(round(value)) if figure.unit == "count" else f"{value:.3g}"


def report_said(worker: WorkerSummary) -> str:
    """A worker's own figures in one line: ``late start 12 us, CPU steal 0.0%``."""
    said = (f"{one.label} {say_figure(one, value)}" for _, one, value in shown(worker, WORKER))
    return ", ".join(said)


def measured_times(series: SeriesSummary) -> Iterator[tuple[Figure, Distribution]]:
    """Every measured time of a series; where an answer is one message, its latency only once.

    Of a stream the first response is the TTFT, which stands with the other figures of tokens.
    """
    for name, figure, found in shown(series, TIMES):
        is_shown = not series.streams and found != series.latency_ns
        if name != "first_response_ns" or is_shown:
            yield figure, found


def say_metric(metric: Metric | None) -> str:
    """The scenario's one number with its name: ``early stopping latency 12.5 ms``."""
    if metric is None:
        return "-"
    name = metric.name.replace("_", " ")
    if metric.value is None:
        return f"{name} unknown"
    if metric.unit == "ns":
        return f"{name} {say_ns(int(metric.value))}"
    return f"{name.removesuffix(' per second')} {say_rate(metric.value)}/s"


def say_metric_parts(metric: Metric) -> tuple[str, str]:
    """``(what it is, its value)``: the name says what is counted, the value has its unit."""
    name = metric.name.replace("_", " ").replace(" per second", " a second")
    if metric.name == "completed_qps":
        name = "completed queries a second"
    if metric.value is None:
        return name, "unknown"
    if metric.unit == "ns":
        return name, say_ns(int(metric.value))
    return name, f"{say_rate(metric.value)}/s"


def say_peak(summary: Summary) -> str:
    """What a peak search found: ``peak 849.2 queries/s in 15 runs``; empty for other runs."""
    if summary.mode != "find_peak":
        return ""
    if summary.peak_qps is None:
        return "no peak: the first rate failed"
    runs = sum(one.kind == "performance" for one in summary.series)
    return f"peak {summary.peak_qps:,.10g} queries/s in {runs} runs"


def table(rows: Sequence[Sequence[str]], indent: int = 2) -> list[str]:
    """Lines of aligned columns: the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines

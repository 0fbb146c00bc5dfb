"""How numbers are said to a person: verdict words, durations, counts, rates, aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

from loadgen_service.core.summary.parts import Metric
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.verdict.findings.finding import say_ns

__all__ = [
    "say_count",
    "say_metric",
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

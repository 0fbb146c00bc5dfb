"""What the SUTs' Prometheus metrics said, in words and rows: for report.txt and report.html."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.facts.scraped_metrics import (
    FIGURES_MAX,
    KNOWN,
    MetricFigures,
    ScrapedTarget,
    Unit,
)
from loadgen_service.core.summary.run import Summary
from loadgen_service.core.units import NS_PER_S
from loadgen_service.report.formatting import say_count, say_ns, say_rate, table

HEAD: Final = ("min", "mean", "max", "p50", "p99", "a second", "readings")
LABELS_SHOWN: Final = 48
"""Letters of a row's labels; the rest is in the summary."""

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024


def scraped_lines(summary: Summary) -> list[str]:
    """Lines of report.txt; none where nothing was asked for."""
    if summary.sut_metrics is None:
        return []
    rows = scraped_rows(summary)
    lines = table([["", *HEAD], *rows]) if rows else []
    return ["metrics of the SUTs", *lines, *(f"  {line}" for line in scraped_remarks(summary))]


def scraped_rows(summary: Summary) -> list[list[str]]:
    """A row a known metric and series that was judged: its name, then as in ``HEAD``.

    Counters that did not grow are left out.
    """
    targets = summary.sut_metrics or []
    judged = {one.series_index for one in summary.series if one.kind != "warmup"}
    return [
        [_name(index, figures, len(targets) > 1, len(judged) > 1), *_cells(figures)]
        for index, target in enumerate(targets)
        for figures in target.figures
        # a server with many models counts those that nobody asks, too
        if figures.series_index in judged and figures.per_second != 0 and figures.added != 0
    ]


def scraped_remarks(summary: Summary) -> list[str]:
    """One line an address: how often it was read, and what was amiss."""
    targets = summary.sut_metrics or []
    return [_of_target(index, target) for index, target in enumerate(targets)]


def _of_target(index: int, target: ScrapedTarget) -> str:
    said = f"{index} {target.url}: {say_count(target.scrape_count)} readings"
    if target.failed_count:
        said += f", {say_count(target.failed_count)} failed (the first: {target.failure})"
    if target.scrape_count and not target.figures:
        said += (
            "; none within the measured time holds a metric that is known here: see "
            "sut_metrics.parquet"
        )
    if target.unlisted_count:
        said += (
            f"; only the first {FIGURES_MAX} label sets are listed, the others are in "
            "sut_metrics.parquet"
        )
    if any(figures.went_back for figures in target.figures):
        said += "; a counter went backwards: its server was restarted, so it tells no rate"
    return said


def _name(index: int, figures: MetricFigures, with_target: bool, with_series: bool) -> str:
    parts = [str(index)] if with_target else []
    parts += [f"series {figures.series_index}"] if with_series else []
    return " ".join([*parts, say_metric_name(figures.name), *_labels(figures.labels)])


def say_metric_name(name: str) -> str:
    """``GPU utilisation (nv_gpu_utilization)``."""
    return f"{KNOWN[name].words} ({name})" if name in KNOWN else name


def _labels(labels: dict[str, str]) -> list[str]:
    text = ", ".join(f"{key}={value}" for key, value in labels.items())
    if len(text) > LABELS_SHOWN:
        text = text[: LABELS_SHOWN - 3] + "..."
    return [text] if text else []


def _cells(figures: MetricFigures) -> list[str]:
    unit = KNOWN[figures.name].unit if figures.name in KNOWN else "1"
    gauge = [_say(value, unit) for value in (figures.min, figures.mean, figures.max)]
    spread = [_say(value, unit) for value in (figures.p50, figures.p99)]
    return [*gauge, *spread, _say(figures.per_second, unit), say_count(figures.count)]


def _say(value: float | None, unit: Unit) -> str:
    if value is None:
        return "-"
    if unit == "share":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return _bytes(value)
    if unit in ("W", "cores"):
        return f"{value:.4g} {unit}"
    if unit == "s":
        return say_ns(round(value * NS_PER_S))
    return f"{say_rate(value)}/s" if unit == "1/s" else say_rate(value)


def _bytes(value: float) -> str:
    index = 0
    while abs(value) >= _STEP and index < len(_SIZES) - 1:
        value, index = value / _STEP, index + 1
    return f"{value:.4g} {_SIZES[index]}"

"""The part of report.html about answers that came in pieces: first token, each token, goodput."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.figures.streams import StreamFigures
from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.report.formatting import say_count, say_ns, say_rate
from loadgen_service.report.html import plots
from loadgen_service.report.html.page import Page, Table
from loadgen_service.report.timeline import SeriesTraces

QUANTILES: Final = ("min", "mean", "p50", "p90", "p99", "max")


def token_sections(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    """Nothing where no answer came in pieces."""
    if series.streams is None:
        return
    page.section(
        "Tokens",
        _times(series, series.streams),
        _counts(series.streams),
        words="An answer came token by token. The first token counts from the instant at which the "
        "query was due; a gap is the time between one piece of an answer and the next, and a piece "
        "may hold several tokens.",
    )
    page.section(
        "Time to the first token",
        page.plot(plots.tail_plot([("first token", traces.first)], None, 0.99)),
        page.plot(plots.latency_plot(traces.first, None)),
        words="How long a reader waits until something appears. Above, the share that waited at "
        "least so long; below, over the run, placed where queries were due.",
    )


def token_tiles(series: SeriesSummary, streams: StreamFigures) -> list[tuple[str, str]]:
    """What a language model is judged by, for the head of the page."""
    first = _first_token_ns(series)
    boxes = [("median time to first token", say_ns(first.p50))] if first else []
    if series.tokens and series.tokens.tpot_ns:
        boxes.append(("median time per token", say_ns(series.tokens.tpot_ns.p50)))
    if streams.itl_ns:
        boxes.append(("p99 gap", say_ns(streams.itl_ns.p99)))
    boxes.append(("output tokens/s", say_rate(streams.output_tokens_per_second)))
    if streams.goodput_limits_ns:
        limits = ", ".join(f"{k} <= {say_ns(v)}" for k, v in streams.goodput_limits_ns.items())
        boxes.append((f"queries/s within {limits}", say_rate(streams.goodput_qps)))
    return boxes


def _first_token_ns(series: SeriesSummary) -> Distribution | None:
    return series.tokens.ttft_ns if series.tokens else series.first_response_ns


def _times(series: SeriesSummary, streams: StreamFigures) -> Table:
    named = (
        ("time to first token", _first_token_ns(series)),
        ("time per token", series.tokens.tpot_ns if series.tokens else None),
        ("gap between pieces", streams.itl_ns),
    )
    rows = [
        [name, *(say_ns(getattr(found, quantile)) for quantile in QUANTILES)]
        for name, found in named
        if found
    ]
    return Table(["", *QUANTILES], rows)


def _counts(streams: StreamFigures) -> Table:
    counted = ", ".join(f"{say_count(n)} by {who}" for who, n in streams.counted_by.items())
    named = (
        (f"output tokens a request (counted {counted})", streams.output_tokens),
        ("input tokens a request", streams.input_tokens),
    )
    rows = [
        [name, *(say_count(int(getattr(found, quantile))) for quantile in QUANTILES)]
        for name, found in named
        if found
    ]
    return Table(["", *QUANTILES], rows)

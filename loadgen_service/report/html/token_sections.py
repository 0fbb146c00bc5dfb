"""The part of report.html about answers that came in pieces: first token, each token, goodput."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.figures.streams import StreamFigures
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.report.formatting import say_count, say_ns, say_rate
from loadgen_service.report.html import plots
from loadgen_service.report.html.page import Page, Table
from loadgen_service.report.timeline import SeriesTraces
from loadgen_service.report.tokens import GOODPUT, ITL, TOKEN_RATE, TPOT, TTFT, token_times

QUANTILES: Final = ("min", "mean", "p50", "p90", "p99", "max")


def token_sections(page: Page, series: SeriesSummary, traces: SeriesTraces) -> None:
    """Nothing where no answer came in pieces."""
    if series.streams is None:
        return
    page.section(
        "Tokens",
        _times(series),
        _counts(series.streams),
        words="An answer came token by token. TTFT, the time to the first token, counts from the "
        "instant at which the query was due. TPOT is the time per further token, to the last one. "
        "ITL is the gap between one piece of an answer and the next, and a piece may hold several "
        "tokens.",
    )
    page.section(
        TTFT,
        page.plot(plots.tail_plot([(TTFT, traces.first)], None, 0.99)),
        page.plot(plots.latency_plot(traces.first, None)),
        words="How long a reader waits until something appears. Above, the share that waited at "
        "least so long; below, over the run, placed where queries were due.",
    )


def token_tiles(streams: StreamFigures) -> list[tuple[str, str]]:
    """What a language model is judged by, for the head of the page."""
    named = (
        (f"median {TTFT}", streams.ttft_ns, "p50"),
        (f"p99 {TTFT}", streams.ttft_ns, "p99"),
        (f"median {TPOT}", streams.tpot_ns, "p50"),
        (f"p99 {ITL}", streams.itl_ns, "p99"),
    )
    boxes = [(name, say_ns(getattr(found, at))) for name, found, at in named if found]
    boxes.append((TOKEN_RATE, say_rate(streams.output_tokens_per_second)))
    if streams.goodput_limits_ns:
        limits = ", ".join(f"{k} <= {say_ns(v)}" for k, v in streams.goodput_limits_ns.items())
        boxes.append((f"{GOODPUT} within {limits}", say_rate(streams.goodput_qps)))
    return boxes


def _times(series: SeriesSummary) -> Table:
    rows = [
        [name, *(say_ns(getattr(found, quantile)) for quantile in QUANTILES)]
        for name, found in token_times(series)
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

"""The part of report.html about sequences: what became of them, and how long they took."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.report.formatting import say_count, say_ns
from loadgen_service.report.html.page import Page, Table, Tiles

QUANTILES: Final = ("min", "mean", "p50", "p90", "p99", "max")


def sequence_section(page: Page, series: SeriesSummary) -> None:
    """Nothing where no sequences were played."""
    found = series.sequences
    if found is None:
        return
    ends = ("begun", "completed", "cut", "failed", "lost")
    rows = [
        [name, *(say(int(getattr(figure, quantile))) for quantile in QUANTILES)]
        for name, figure, say in (
            ("duration of a sequence", found.duration_ns, say_ns),
            ("requests of a sequence", found.request_count, say_count),
        )
        if figure
    ]
    page.section(
        "Sequences",
        Tiles([(end, say_count(getattr(found, end))) for end in ends]),
        Table(["", *QUANTILES], rows),
        words="Each was played request by request, the next one after the answer to the last. Cut "
        "ones were ended early because the series ended; a failed request ends its sequence. The "
        "table covers completed ones, from the first request's due instant to the last answer.",
    )

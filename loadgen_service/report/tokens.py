"""Figures of language models for a person: one word for each, the same in every place.

TTFT is the time to the first token, TPOT the time per further token to the last one, ITL the gap
between one piece of an answer and the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.core.stats.percentiles import Distribution
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.report.formatting import say_ns, say_rate

TTFT: Final = "TTFT"
TPOT: Final = "TPOT"
ITL: Final = "ITL"
TOKEN_RATE: Final = "tokens/s"
GOODPUT: Final = "goodput/s"

COLUMNS: Final = (
    f"{TTFT} p50",
    f"{TTFT} p99",
    f"{TPOT} p50",
    f"{TPOT} p99",
    f"{ITL} p99",
    TOKEN_RATE,
    GOODPUT,
)
"""Of the table that stands first where answers came in pieces."""


def token_cells(summary: Summary | SeriesSummary) -> tuple[str, ...] | None:
    """The cells of one run under ``COLUMNS``; None where no answer came in pieces."""
    found = summary.streams
    if found is None:
        return None
    return (
        _at(found.ttft_ns, "p50"),
        _at(found.ttft_ns, "p99"),
        _at(found.tpot_ns, "p50"),
        _at(found.tpot_ns, "p99"),
        _at(found.itl_ns, "p99"),
        say_rate(found.output_tokens_per_second),
        say_rate(found.goodput_qps),
    )


def token_times(series: SeriesSummary) -> list[tuple[str, Distribution]]:
    """Every distribution of times of a series' tokens, by its name; LoadGen's own rule last."""
    if series.streams is None:
        return []
    tokens = series.tokens
    named: Sequence[tuple[str, Distribution | None]] = (
        (TTFT, series.streams.ttft_ns),
        (TPOT, series.streams.tpot_ns),
        (f"{ITL} (gap between pieces)", series.streams.itl_ns),
        (f"{TPOT} to the answer's end (LoadGen)", tokens.loadgen_tpot_ns if tokens else None),
    )
    return [(name, found) for name, found in named if found is not None]


def _at(found: Distribution | None, quantile: str) -> str:
    return say_ns(getattr(found, quantile)) if found else "-"

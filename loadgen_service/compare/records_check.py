"""Whether a summary says what its records say: latencies are counted again from records.parquet.

A summary that was edited, or that lies beside another run's records, must pass no gate.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np

from loadgen_service.core.stats.percentiles import REPORTED_QUANTILES, Distribution, quantile_index
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.errors import UserError
from loadgen_service.report.records_reader import (
    LATENCY_COLUMNS,
    SeriesRecords,
    latencies_of,
    whole_of,
)

TOP_FIGURES: Final = (
    "latency_ns",
    "elapsed_ns",
    "completed_qps",
    "completed_samples_per_second",
    "metric",
    "streams",
    "tokens",
)
"""What the summary says at its top of the one series that speaks for it."""


def require_agreement(directory: Path, summary: Summary, series: SeriesSummary) -> None:
    """Raises UserError naming the first figure of ``series`` that its records contradict."""
    for name in TOP_FIGURES:
        top = getattr(summary, name)
        if top is not None and top != getattr(series, name):
            raise _contradiction(directory, f"{name} is not that of series {series.name}")
    said = series.latency_ns
    found = _Recount(said)
    records = SeriesRecords(directory, series.series_index)
    for piece in records.pieces(LATENCY_COLUMNS, whole_of(series)):
        found.add(latencies_of(piece, series).latency_ns)
    if trouble := found.trouble():
        raise _contradiction(directory, trouble)


def _contradiction(directory: Path, what: str) -> UserError:
    return UserError(
        f"{directory}: summary.json and records.parquet contradict each other ({what}); "
        "one of them is damaged or was edited"
    )


class _Recount:
    """Checks a distribution against its values, which come in pieces and are not held.

    A value is the one at a rank of the sorted values if no more than the rank are below it, and
    more than the rank are not above it.
    """

    def __init__(self, said: Distribution | None) -> None:
        self._said = said
        quantiles = astuple(said)[3:-1] if said else ()
        self._claims = np.array(quantiles, dtype=np.int64)
        self._below = np.zeros(len(quantiles), dtype=np.int64)
        self._up_to = np.zeros(len(quantiles), dtype=np.int64)
        self._count = 0
        self._low, self._high = np.iinfo(np.int64).max, np.iinfo(np.int64).min

    def add(self, values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Take some of the values."""
        if not len(values):
            return
        ordered = np.sort(values)
        self._count += len(ordered)
        self._below += np.searchsorted(ordered, self._claims, side="left")
        self._up_to += np.searchsorted(ordered, self._claims, side="right")
        self._low, self._high = min(self._low, int(ordered[0])), max(self._high, int(ordered[-1]))

    def trouble(self) -> str:
        """The first figure that is not so; empty where all are."""
        if self._said is None:
            return f"latency_ns is null, {self._count} records have one" if self._count else ""
        facts = (("count", self._count), ("min", self._low), ("max", self._high))
        for name, value in facts:
            if getattr(self._said, name) != value:
                return f"latency_ns.{name} is {getattr(self._said, name)}, the records say {value}"
        for index, quantile in enumerate(REPORTED_QUANTILES):
            rank = quantile_index(self._count, quantile)
            if not self._below[index] <= rank < self._up_to[index]:
                return f"latency_ns at {quantile:g} is not the records'"
        return ""

"""records.parquet in pieces: whole queries of one series, a bounded number of rows at a time.

Reads; judges nothing. A query's rows stand one after another, so a piece never ends within one.
Latencies follow docs/reference/summary.md: from the due instant to the last answer of a query or,
where the series counts samples, of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.records.columns import Status
from loadgen_service.core.stats.latency_heatmap import LatencyGrid
from loadgen_service.core.stats.percentiles import Int64Array
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.core.summary.run import Summary
from loadgen_service.errors import UserError

BoolArray = npt.NDArray[np.bool_]
Columns = dict[str, Int64Array]

ROWS_AT_ONCE: Final = 1 << 18
"""Bounds the memory of reading: about 30 MiB of columns."""
RECORDS_FILE: Final = "records.parquet"
_INSTANTS: Final = ("scheduled_ns", "issued_ns", "completed_ns")


class SeriesRecords:
    """The records of one series of a run directory. Raises UserError naming a file it cannot use.

    ``end_ns``: the last instant that any record knows, at least 1.
    """

    def __init__(self, directory: Path, series_index: int) -> None:
        import pyarrow.parquet as pq

        self._path = directory / RECORDS_FILE
        self._series = series_index
        try:
            # else pieces would hold what was read before them, and what comes after
            self._file = pq.ParquetFile(
                self._path, pre_buffer=False, page_checksum_verification=True
            )
            self._groups = [
                group
                for group in range(self._file.num_row_groups)
                if self._range(group, "series")[0]
                <= series_index
                <= self._range(group, "series")[1]
            ]
        except (OSError, ValueError, KeyError) as error:
            raise self._unusable(error) from None
        ends = [self._range(group, name)[1] for group in self._groups for name in _INSTANTS]
        self.end_ns = max([1, *ends])

    def _range(self, group: int, name: str) -> tuple[int, int]:
        field_index = self._file.schema_arrow.get_field_index(name)
        if field_index < 0:
            raise KeyError(f"no column {name}")
        found = self._file.metadata.row_group(group).column(field_index).statistics
        return (int(found.min), int(found.max)) if found and found.has_min_max else (0, 0)

    def _unusable(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or str(error)
        return UserError(f"{self._path}: {reason}; name the directory of a finished run")

    def pieces(self, columns: Sequence[str], whole: str = "query_index") -> Iterator[Columns]:
        """The named columns as int64 in plan order; no piece ends within equal values of ``whole``.

        Offline has one query: let ``whole`` be ``request_index`` there.
        """
        names = list(dict.fromkeys(["series", whole, *columns]))
        left: Columns | None = None
        try:
            read = self._file.iter_batches(ROWS_AT_ONCE, row_groups=self._groups, columns=names)
            for batch in read:
                piece = self._of_series(batch, names)
                if left is not None:
                    piece = {name: np.concatenate([left[name], piece[name]]) for name in names}
                if len(piece[whole]) == 0:
                    continue
                cut = int(np.argmax(piece[whole] == piece[whole][-1]))
                left = {name: column[cut:] for name, column in piece.items()}
                if cut:
                    yield {name: column[:cut] for name, column in piece.items()}
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        if left is not None:
            yield left

    def _of_series(self, batch: Any, names: Sequence[str]) -> Columns:
        found = {
            name: batch.column(batch.schema.get_field_index(name))
            .to_numpy(zero_copy_only=False)
            .astype(np.int64, copy=False)
            for name in names
        }
        mine = found["series"] == self._series
        return found if mine.all() else {name: column[mine] for name, column in found.items()}


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of one piece: answered ones by due instant, due instants of issued ones without an answer.

    Where every query is due at the start, by the instant of the answer instead.
    """

    at_ns: Int64Array
    latency_ns: Int64Array
    unanswered_at_ns: Int64Array

    def add_to(self, grid: LatencyGrid) -> None:
        """Count them."""
        grid.add(self.at_ns, self.latency_ns)
        grid.add_unanswered(self.unanswered_at_ns)


LATENCY_COLUMNS: Final = ("query_index", "scheduled_ns", "issued_ns", "completed_ns", "status")


def latencies_of(piece: Columns, series: SeriesSummary) -> Latencies:
    """Latencies in the series' unit of a piece with ``LATENCY_COLUMNS``."""
    by_sample = series.latency_unit == "sample"
    due, done, status = (piece[n] for n in ("scheduled_ns", "completed_ns", "status"))
    good, missing = status == Status.COMPLETED, status != Status.COMPLETED
    away = status == Status.NOT_ISSUED
    if not by_sample and len(due):
        query = piece["query_index"]
        starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
        if len(starts) < len(query):
            # a query is done with its last request, and unanswered with its first failed one
            due, done = np.minimum.reduceat(due, starts), np.maximum.reduceat(done, starts)
            good = np.logical_and.reduceat(good, starts)
            away = np.logical_or.reduceat(away, starts)
            missing = ~good
    inside = _inside_window(due, series)
    lost = missing & ~away & inside
    good = good & inside
    at = done if by_sample else due
    lost_at = np.maximum(due[lost], piece["issued_ns"][lost]) if by_sample else due[lost]
    return Latencies(at[good], (done - due)[good], lost_at)


def _inside_window(due_ns: Int64Array, series: SeriesSummary) -> BoolArray:
    """Closed loops that a stop instant ends measure what began before it."""
    if not series.outside_window_count or series.elapsed_ns is None:
        return np.ones(len(due_ns), dtype=np.bool_)
    inside: BoolArray = due_ns <= series.elapsed_ns
    return inside


def one_a_request(piece: Columns) -> Columns:
    """A request that carries several samples has as many equal rows, one after another."""
    request = piece["request_index"]
    first = np.r_[True, request[1:] != request[:-1]] if len(request) else np.zeros(0, np.bool_)
    return piece if first.all() else {name: column[first] for name, column in piece.items()}


def read_grid(directory: Path, series: SeriesSummary, slice_count: int) -> LatencyGrid:
    """Every latency of one series, in one pass. Raises UserError naming the file."""
    records = SeriesRecords(directory, series.series_index)
    grid = LatencyGrid(records.end_ns, slice_count)
    for piece in records.pieces(LATENCY_COLUMNS, whole_of(series)):
        latencies_of(piece, series).add_to(grid)
    return grid


def whole_of(series: SeriesSummary) -> str:
    """What no piece may cut: a query, or a request where the unit is a sample."""
    return "request_index" if series.latency_unit == "sample" else "query_index"


def main_series(summary: Summary) -> SeriesSummary | None:
    """The series whose figures stand at the top of the summary, else the last measured one."""
    measured = [one for one in summary.series if one.kind != "warmup"]
    rated = [one for one in measured if one.kind == "performance"]
    if summary.latency_ns is not None:
        rated = [one for one in rated if one.latency_ns == summary.latency_ns] or rated
    found = rated or measured or summary.series
    return found[-1] if found else None

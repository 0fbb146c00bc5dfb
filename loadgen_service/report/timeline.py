"""What a report draws of one series, gathered in one pass over its records: small for any run.

Counts and sums over slices of time; decides nothing about words or looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.records.columns import SERVER_COLUMNS, Status
from loadgen_service.core.stats.latency_heatmap import COARSE, LatencyGrid
from loadgen_service.core.stats.percentiles import Int64Array
from loadgen_service.core.summary.parts import SeriesSummary
from loadgen_service.report.records_reader import (
    LATENCY_COLUMNS,
    Columns,
    SeriesRecords,
    latencies_of,
    one_a_request,
    whole_of,
)

Float64Array = npt.NDArray[np.float64]

SLICES: Final = 160
SUTS_DRAWN: Final = 7
"""Systems with a line of their own; more could not be told apart."""
FAILURES: Final = (Status.FAILED, Status.TIMED_OUT, Status.LOST)
STEPS: Final = ("scheduled", "issued", "answered")
HOPS: Final = (
    "late_ns",
    "blocked_ns",
    "service_ns",
    "network_ns",
    "server_queue_ns",
    "server_compute_ns",
)

_COLUMNS: Final = (
    *LATENCY_COLUMNS,
    "request_index",
    "sut_index",
    "released_ns",
    "first_response_ns",
    *SERVER_COLUMNS,
)


class SeriesTraces:
    """Traces of one series over ``SLICES`` equal spans of time from its start to its last record.

    ``latency``: of the series' unit. ``first``: until the first response, of completed requests.
    ``delay``: issued - scheduled of requests. ``suts``: latency by sut_index of requests.
    ``steps``: requests by slice. ``failures``: requests by status and slice. ``hops``: mean ns by
    slice of completed requests, NaN where there is none.
    """

    def __init__(self, end_ns: int) -> None:
        self.latency = LatencyGrid(end_ns, SLICES, COARSE)
        self.delay = LatencyGrid(end_ns, SLICES, COARSE)
        self.first = LatencyGrid(end_ns, SLICES, COARSE)
        self.suts: dict[int, LatencyGrid] = {}
        self.steps = {name: np.zeros(SLICES, dtype=np.int64) for name in STEPS}
        self.failures = {status: np.zeros(SLICES, dtype=np.int64) for status in FAILURES}
        self._hop_sums = {name: np.zeros(SLICES) for name in HOPS}
        self._hop_counts = {name: np.zeros(SLICES, dtype=np.int64) for name in HOPS}

    @property
    def end_ns(self) -> int:
        """Length of what is drawn."""
        return self.latency.end_ns

    @property
    def hops(self) -> dict[str, Float64Array]:
        """Means; a hop that no request has is left out."""
        with np.errstate(invalid="ignore"):
            return {
                name: self._hop_sums[name] / counts
                for name, counts in self._hop_counts.items()
                if counts.any()
            }

    def add(self, piece: Columns, series: SeriesSummary) -> None:
        """Count whole queries."""
        latencies_of(piece, series).add_to(self.latency)
        requests = one_a_request(piece)
        self._count(requests)
        self._add_hops(requests)

    def _count(self, piece: Columns) -> None:
        due, issued, done = (piece[n] for n in ("scheduled_ns", "issued_ns", "completed_ns"))
        status, good = piece["status"], piece["status"] == Status.COMPLETED
        left = issued >= 0
        self._tally(self.steps["scheduled"], due[status != Status.NOT_ISSUED])
        self._tally(self.steps["issued"], issued[left])
        self._tally(self.steps["answered"], done[good])
        self.delay.add(due[left], np.maximum(0, issued - due)[left])
        first = piece["first_response_ns"]
        began = good & (first >= 0)
        self.first.add(due[began], np.maximum(0, first - due)[began])
        for failure, counts in self.failures.items():
            self._tally(counts, np.maximum(np.maximum(due, issued), done)[status == failure])
        for sut in np.unique(piece["sut_index"][good]).tolist():
            self._add_sut(sut, piece, good & (piece["sut_index"] == sut))

    def _add_sut(self, sut: int, piece: Columns, mine: npt.NDArray[np.bool_]) -> None:
        if sut not in self.suts and len(self.suts) == SUTS_DRAWN:
            return
        grid = self.suts.setdefault(sut, LatencyGrid(self.end_ns, SLICES, COARSE))
        done = piece["completed_ns"][mine]
        grid.add(done, done - piece["scheduled_ns"][mine])

    def _tally(self, counts: Int64Array, instants: Int64Array) -> None:
        counts += np.bincount(self.latency.slice_of(instants), minlength=SLICES)

    def _add_hops(self, piece: Columns) -> None:
        good = (piece["status"] == Status.COMPLETED) & (piece["released_ns"] >= 0)
        one = {name: column[good] for name, column in piece.items()}
        self._add_hop("late_ns", one, one["released_ns"] - one["scheduled_ns"])
        self._add_hop("blocked_ns", one, one["issued_ns"] - one["released_ns"])
        self._add_parts_of_service(one)

    def _add_parts_of_service(self, one: Columns) -> None:
        """What the SUT told of its own time, or the whole of it where it told nothing."""
        service = one["completed_ns"] - one["issued_ns"]
        told = (one["server_received_ns"] >= 0) & (one["server_sent_ns"] >= 0)
        silent = {name: column[~told] for name, column in one.items()}
        self._add_hop("service_ns", silent, service[~told])
        one = {name: column[told] for name, column in one.items()}
        inside = one["server_sent_ns"] - one["server_received_ns"]
        self._add_hop("network_ns", one, service[told] - inside)
        for name in ("server_queue_ns", "server_compute_ns"):
            self._add_hop(name, one, np.maximum(0, one[name]))

    def _add_hop(self, name: str, piece: Columns, values: Int64Array) -> None:
        slices = self.latency.slice_of(piece["completed_ns"])
        self._hop_sums[name] += np.bincount(slices, weights=values, minlength=SLICES)
        self._hop_counts[name] += np.bincount(slices, minlength=SLICES)


def read_traces(directory: Path, series: SeriesSummary) -> SeriesTraces:
    """One pass over the records of a series. Raises UserError naming the file."""
    records = SeriesRecords(directory, series.series_index)
    traces = SeriesTraces(records.end_ns)
    for piece in records.pieces(_COLUMNS, whole_of(series)):
        traces.add(piece, series)
    return traces

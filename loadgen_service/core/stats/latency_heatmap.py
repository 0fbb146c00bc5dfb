"""Latencies of a series as counts over slices of time and bins of latency: small for any run.

Bins are equal steps of the logarithm, so a quantile read from them is off by at most half a bin's
width; the largest values are kept exactly. Reads columns; knows no file and no verdict.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen_service.core.stats.percentiles import Int64Array

Float64Array = npt.NDArray[np.float64]

LOWEST_NS: Final = 1_000
"""Shorter latencies share the first bin."""
HIGHEST_NS: Final = 1_000_000_000_000
"""Longer ones share the last bin with the next thing to them: no answer at all."""
FINE: Final = 0.001
"""Relative width of a bin where runs are compared."""
COARSE: Final = 0.004
"""Relative width of a bin where a plot is drawn: less than a pixel."""
TAIL_VALUES: Final = 300
"""The largest latencies, kept as they were measured."""


class LatencyGrid:
    """Counts of latencies by the slice of time in which their query was due.

    ``counts``: int64, shape (slices, bins). ``unanswered``: int64, one a slice; their latency is
    infinite. ``largest``: int64, one a slice, 0 where nothing was answered.
    """

    def __init__(self, end_ns: int, slice_count: int, width: float = FINE) -> None:
        self.end_ns = max(1, end_ns)
        self._width = width
        self._step = math.log1p(width)
        bins = math.ceil(math.log(HIGHEST_NS / LOWEST_NS) / self._step) + 2
        self.counts: Int64Array = np.zeros((slice_count, bins), dtype=np.int64)
        self.unanswered: Int64Array = np.zeros(slice_count, dtype=np.int64)
        self.largest: Int64Array = np.zeros(slice_count, dtype=np.int64)
        self.tail: Int64Array = np.empty(0, dtype=np.int64)

    def add(self, due_ns: Int64Array, latency_ns: Int64Array) -> None:
        """Count answered queries: their due instants and latencies, in any order."""
        if len(due_ns) == 0:
            return
        places = self.slice_of(due_ns)
        flat = places * self.counts.shape[1] + self._bin_of(latency_ns)
        used, added = np.unique(flat, return_counts=True)
        self.counts.reshape(-1)[used] += added
        np.maximum.at(self.largest, places, latency_ns)
        tail = np.concatenate([self.tail, latency_ns])
        if len(tail) > TAIL_VALUES:
            tail = np.partition(tail, len(tail) - TAIL_VALUES)[-TAIL_VALUES:]
        self.tail = np.sort(tail)

    def add_unanswered(self, due_ns: Int64Array) -> None:
        """Count queries without a good answer."""
        self.unanswered += np.bincount(self.slice_of(due_ns), minlength=len(self.unanswered))

    def slice_of(self, instants_ns: Int64Array) -> Int64Array:
        """Number of the slice of each instant; those outside go to the nearest one."""
        share = np.asarray(instants_ns, dtype=np.float64) / self.end_ns
        places = (share * len(self.unanswered)).astype(np.int64)
        return np.clip(places, 0, len(self.unanswered) - 1)

    @property
    def count(self) -> int:
        """All that were counted, the unanswered among them."""
        return int(self.counts.sum() + self.unanswered.sum())

    def merged(self, slice_count: int) -> LatencyGrid:
        """The same counts over fewer slices; ``slice_count`` must divide the number of slices."""
        bins = self.counts.shape[1]
        made = LatencyGrid(self.end_ns, slice_count, self._width)
        made.counts = self.counts.reshape(slice_count, -1, bins).sum(axis=1)
        made.unanswered = self.unanswered.reshape(slice_count, -1).sum(axis=1)
        made.largest = self.largest.reshape(slice_count, -1).max(axis=1)
        made.tail = self.tail
        return made

    def slice_quantiles(self, quantile: float) -> list[float | None]:
        """A quantile (ns) of the answered queries of each slice; None in an empty slice."""
        totals = self.counts.sum(axis=1)
        found = self._read(self.counts.astype(np.float64), totals * quantile, 0)
        capped = np.minimum(found, self.largest)
        return [float(x) if n else None for x, n in zip(capped, totals, strict=True)]

    def weighted_quantiles(self, weights: Float64Array, quantile: float) -> Float64Array:
        """The quantile (ns) of each row of ``weights`` over the slices, shape (rows, slices).

        The unanswered stand above every answer: a quantile among them is infinite.
        """
        used = np.flatnonzero(self.counts.any(axis=0))
        if len(used) == 0:
            return np.full(len(weights), np.inf)
        first, last = int(used[0]), int(used[-1]) + 1
        mixed = weights @ self.counts[:, first:last].astype(np.float64)
        totals = mixed.sum(axis=1) + weights @ self.unanswered.astype(np.float64)
        return self._read(mixed, totals * quantile, first)

    def share_above(self) -> tuple[Float64Array, Float64Array]:
        """``(latency ns, share of the answered at least as long)``, ascending, every tail value.

        Below the exact tail, the lower edges of bins, at most one a bin.
        """
        answered = int(self.counts.sum())
        if answered == 0:
            return np.empty(0), np.empty(0)
        in_bin = self.counts.sum(axis=0)
        at_least = np.cumsum(in_bin[::-1])[::-1]
        edges = self._edges(np.arange(len(in_bin)))
        body = (in_bin > 0) & (edges < self.tail[0]) & (at_least > len(self.tail))
        ranks = np.arange(len(self.tail), 0, -1)
        values = np.r_[edges[body], self.tail.astype(np.float64)]
        return values, np.r_[at_least[body], ranks] / answered

    def _read(self, counts: Float64Array, wanted: Float64Array, first: int) -> Float64Array:
        """The latency below which ``wanted`` of each row's counts lie, log-linear in a bin."""
        running = np.cumsum(counts, axis=1)
        rows = np.arange(len(counts))
        places = np.minimum((running <= wanted[:, None]).sum(axis=1), counts.shape[1] - 1)
        inside = counts[rows, places]
        below = running[rows, places] - inside
        share = np.clip((wanted - below) / np.maximum(inside, 1e-300), 0.0, 1.0)
        found = self._edges(places + first + share)
        return np.where(wanted > running[:, -1], np.inf, found)

    def _bin_of(self, latency_ns: Int64Array) -> Int64Array:
        ratio = np.maximum(latency_ns, LOWEST_NS).astype(np.float64) / LOWEST_NS
        places = np.floor(np.log(ratio) / self._step).astype(np.int64) + (latency_ns >= LOWEST_NS)
        bins: Int64Array = np.minimum(places, self.counts.shape[1] - 1)
        return bins

    def _edges(self, places: npt.NDArray[np.floating] | Int64Array) -> Float64Array:
        """The lower edge (ns) of bins; a fraction reaches into the bin."""
        edges: Float64Array = LOWEST_NS * np.exp((np.asarray(places) - 1.0) * self._step)
        return edges

"""Percentiles of many int64 latencies: ``disk`` or ``numpy`` FILE; JSON with values, s and peak.

``disk``: as a series' figures are made, in passes over pieces of the file; ``numpy`` holds all
values and partitions them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import astuple
from pathlib import Path

import numpy as np

from loadgen_service.core.stats.percentiles import REPORTED_QUANTILES, Distribution, quantile_index

VALUE_BYTES = 8


def from_disk(path: str) -> list[int]:
    """Count, least, mean, percentiles and largest, with a piece of the file in memory."""

    def values_in(piece: slice) -> np.ndarray:
        count = piece.stop - piece.start
        return np.fromfile(path, np.int64, count, offset=piece.start * VALUE_BYTES)

    found = Distribution.of_rows(Path(path).stat().st_size // VALUE_BYTES, values_in)
    assert found is not None
    return list(astuple(found))


def in_memory(path: str) -> list[int]:
    """The same of all at once; the sum of these latencies fits 64 bits."""
    values = np.fromfile(path, np.int64)
    places = [quantile_index(len(values), q) for q in REPORTED_QUANTILES]
    placed = np.partition(values, places)
    percentiles = [int(placed[place]) for place in places]
    mean = int(values.sum()) // len(values)
    return [len(values), int(values.min()), mean, *percentiles, int(values.max())]


if __name__ == "__main__":
    how, where = sys.argv[1:]
    started = time.monotonic()
    found = from_disk(where) if how == "disk" else in_memory(where)
    seconds = time.monotonic() - started
    # not ru_maxrss: a new process inherits its parent's
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"values": found, "seconds": seconds, "peak_bytes": peak}))

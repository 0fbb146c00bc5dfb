"""Percentiles of many int64 latencies: ``disk`` or ``numpy`` FILE; JSON with values, s and peak.

``disk`` reads the file in passes; ``numpy`` holds everything and partitions it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from loadgen_service.core.percentiles import (
    REPORTED_QUANTILES,
    exact_percentiles,
    quantile_index,
)

CHUNK = 1 << 20


def chunks(path: str) -> Iterator[np.ndarray]:
    """The file's values, a chunk at a time."""
    with open(path, "rb") as file:
        while len(content := np.fromfile(file, np.int64, CHUNK)):
            yield content


def in_memory(path: str) -> list[int]:
    """All at once."""
    values = np.fromfile(path, np.int64)
    places = [quantile_index(len(values), q) for q in REPORTED_QUANTILES]
    placed = np.partition(values, places)
    return [int(placed[place]) for place in places]


if __name__ == "__main__":
    how, where = sys.argv[1:]
    started = time.monotonic()
    if how == "disk":
        found = exact_percentiles(lambda: chunks(where), REPORTED_QUANTILES)
    else:
        found = in_memory(where)
    seconds = time.monotonic() - started
    # not ru_maxrss: a new process inherits its parent's
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"values": found, "seconds": seconds, "peak_bytes": peak}))

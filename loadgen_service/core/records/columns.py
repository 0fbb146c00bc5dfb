"""The record table: one row a request on a worker, in columns that cross the wire as they stand.

All times are int64 nanoseconds since the series' start on the worker's own monotonic clock, so a
latency never mixes two hosts' clocks; -1 means "never happened". ``row`` is the request's number in
the whole plan: query, samples and due time follow from it and are not sent.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

NEVER: Final = -1


class Status(IntEnum):
    """How a request (and so its samples) ended. Every planned one has exactly one of these."""

    NOT_ISSUED = 0
    COMPLETED = 1
    FAILED = 2
    TIMED_OUT = 3
    LOST = 4


CODE_BROKEN_CONNECTION: Final = 255
"""``code`` of a request whose connection broke before a gRPC status came (0-16 are gRPC's own)."""

REQUEST_COLUMNS: Final[dict[str, np.dtype[np.generic]]] = {
    "row": np.dtype("<i8"),
    "scheduled_ns": np.dtype("<i8"),
    "released_ns": np.dtype("<i8"),
    "issued_ns": np.dtype("<i8"),
    "first_response_ns": np.dtype("<i8"),
    "completed_ns": np.dtype("<i8"),
    "status": np.dtype("<u1"),
    "code": np.dtype("<u1"),
    "sut_index": np.dtype("<i2"),
    "token_count": np.dtype("<i4"),
}

SERVER_COLUMNS: Final[dict[str, np.dtype[np.generic]]] = {
    "server_received_ns": np.dtype("<i8"),
    "server_queue_ns": np.dtype("<i8"),
    "server_compute_ns": np.dtype("<i8"),
    "server_sent_ns": np.dtype("<i8"),
}
"""Present in a batch only where the SUT reports its own timings (on the SUT's monotonic clock)."""

REQUEST_ROW_BYTES: Final = sum(d.itemsize for d in REQUEST_COLUMNS.values())

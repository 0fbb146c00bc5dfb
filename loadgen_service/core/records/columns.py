"""The record table: one row a request on a worker, in columns that cross the wire as they stand.

All times are int64 nanoseconds since the series' start on the worker's own monotonic clock, so a
latency never mixes two hosts' clocks; -1 means "never happened". ``row`` is the request's number in
the whole plan: query, samples and due time follow from it and are not sent.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Column:
    """One column: everything that stores, sends, joins or writes records iterates over these.

    ``absent``: what the row of a request without a record holds. ``expected``: what a worker's row
    holds unless its loop writes another value; None: the loop, or the end of a batch, always
    writes it. ``twin``: an earlier column that it often equals, and is then not sent twice.
    ``from_server``: the SUT's own instant (on its monotonic clock), in a batch only where the SUT
    reports any. ``in_parquet``: a column of records.parquet.
    """

    name: str
    dtype: np.dtype[np.generic]
    absent: int = NEVER
    expected: int | None = None
    twin: str = ""
    from_server: bool = False
    in_parquet: bool = True


_INSTANT: Final = np.dtype("<i8")

COLUMNS: Final = (
    Column("row", np.dtype("<i8"), in_parquet=False),  # request_index, of which samples are made
    Column("sut_index", np.dtype("<i2"), expected=0),
    Column("scheduled_ns", _INSTANT),
    Column("released_ns", _INSTANT, twin="scheduled_ns"),  # closed loops release what is due
    Column("issued_ns", _INSTANT),
    Column("first_response_ns", _INSTANT, expected=NEVER),
    Column("completed_ns", _INSTANT, twin="first_response_ns"),  # a unary answer comes whole
    Column("status", np.dtype("<u1"), absent=Status.NOT_ISSUED, expected=Status.COMPLETED),
    Column("code", np.dtype("<u1"), absent=0, expected=0),
    Column("token_count", np.dtype("<i4"), absent=0, expected=0),
    Column("server_received_ns", _INSTANT, expected=NEVER, from_server=True),
    Column("server_queue_ns", _INSTANT, expected=NEVER, from_server=True),
    Column("server_compute_ns", _INSTANT, expected=NEVER, from_server=True),
    Column("server_sent_ns", _INSTANT, expected=NEVER, from_server=True),
)
"""The record table. A new column is a row here, and the code that measures its value."""

REQUEST_COLUMNS: Final = {one.name: one.dtype for one in COLUMNS if not one.from_server}
"""In every batch."""

SERVER_COLUMNS: Final = {one.name: one.dtype for one in COLUMNS if one.from_server}
"""In a batch only where the SUT reports its own timings."""

PARQUET_COLUMNS: Final = {one.name: one.dtype for one in COLUMNS if one.in_parquet}
"""Of records.parquet, after those that number a sample and name its worker."""

REQUEST_ROW_BYTES: Final = sum(dtype.itemsize for dtype in REQUEST_COLUMNS.values())

"""The record table: one row a request on a worker, in columns that cross the wire as they stand.

All times are int64 nanoseconds since the series' start on the worker's own monotonic clock, so a
latency never mixes two hosts' clocks; -1 means "never happened". ``row`` is the request's number in
the whole plan: query, samples and due time follow from it and are not sent.

Columns of a batch as they are sent and stored: what repeats is said once.

A column whose rows all have one value is that value; one that equals another column names it; one
whose values lie near each other is the least of them and how far each is above it (frame of
reference: Goldstein, Ramakrishnan, Shaft, "Compressing Relations and Indexes", 1998). In a run
without failures that leaves 18 of a row's 56 bytes, in a closed loop 14, where the instants of a
batch lie within 2^32 ns (4.3 s) and its row numbers within 2^16; 40 and 32 where they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

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


Columns = dict[str, npt.NDArray[np.generic]]

TWINS: Final = {one.name: one.twin for one in COLUMNS if one.twin}
"""Column -> the one that it often equals."""

NUMBERS: Final = "row"
"""Never said once: rows differ by their numbers, which so tell whether a batch's count is right."""

_DTYPES: Final = {one.name: one.dtype for one in COLUMNS}
_WIDE: Final = np.dtype("<i8")
_NARROW: Final[dict[int, np.dtype[np.generic]]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


class SentColumn(NamedTuple):
    """``content``: every row's value, or one for all; empty where the rows are ``same_as``'s.

    With a ``width`` (2 or 4) it is the least value in 8 bytes, and then every row's distance from
    it in so many.
    """

    name: str
    content: bytes
    same_as: str = ""
    width: int = 0


def sent_columns(columns: Mapping[str, npt.NDArray[np.generic]]) -> list[SentColumn]:
    """Columns of at least one row, in their order."""
    return [_sent(name, column, columns) for name, column in columns.items()]


def _sent(
    name: str, column: npt.NDArray[np.generic], columns: Mapping[str, npt.NDArray[np.generic]]
) -> SentColumn:
    twin = TWINS.get(name, "")
    if twin in columns and np.array_equal(column, columns[twin]):
        return SentColumn(name, b"", twin)
    if name != NUMBERS and column[0] == column[-1] and (column == column[0]).all():
        column = column[:1]
    elif column.dtype == _WIDE:
        return _narrowed(name, column)
    return SentColumn(name, column.tobytes())


def _narrowed(name: str, column: npt.NDArray[np.generic]) -> SentColumn:
    least = column.min()
    span = int(column.max()) - int(least)
    for width, dtype in _NARROW.items():
        if span >> (8 * width) == 0 and _WIDE.itemsize + width * len(column) < column.nbytes:
            above = np.subtract(column, least).astype(dtype)
            return SentColumn(name, least.tobytes() + above.tobytes(), width=width)
    return SentColumn(name, column.tobytes())


def received_columns(sent: Iterable[SentColumn], count: int) -> Columns:
    """Arrays of ``count`` rows, not to be written to, of what ``sent_columns`` gave. Unknown
    columns are left out, whoever they are of.

    Raises ValueError where a length is not the count's, a width is none that there is, or a column
    is said to be another one that did not come before it.
    """
    columns: Columns = {}
    for name, content, same_as, width in sent:
        dtype = _DTYPES.get(name)
        if dtype is None:
            continue
        if same_as:
            if content or width or same_as not in columns or columns[same_as].dtype != dtype:
                text = f"column {name} is said to be the same as {same_as}, and cannot be"
                raise ValueError(text)
            columns[name] = columns[same_as]
        elif width:
            columns[name] = _widened(name, content, width, count)
        else:
            columns[name] = _received(name, content, dtype, count)
    return columns


def _widened(name: str, content: bytes, width: int, count: int) -> npt.NDArray[np.generic]:
    dtype = _NARROW.get(width)
    if dtype is None or _DTYPES[name] != _WIDE:
        raise ValueError(f"column {name} has a width of {width} bytes, and cannot have")
    if len(content) != _WIDE.itemsize + width * count:
        raise ValueError(f"column {name} has {len(content)} bytes for {count} rows of {width}")
    above = np.frombuffer(content, dtype, count, _WIDE.itemsize)
    values: npt.NDArray[np.int64] = above.astype(_WIDE)
    values += np.frombuffer(content, _WIDE, 1)
    values.flags.writeable = False
    return values


def _received(
    name: str, content: bytes, dtype: np.dtype[np.generic], count: int
) -> npt.NDArray[np.generic]:
    once = count if name == NUMBERS else 1
    if len(content) not in (once * dtype.itemsize, count * dtype.itemsize):
        raise ValueError(f"column {name} has {len(content)} bytes for {count} rows")
    values = np.frombuffer(content, dtype)
    return values if len(values) == count else np.broadcast_to(values, count)

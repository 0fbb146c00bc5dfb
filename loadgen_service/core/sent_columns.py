"""Columns of a batch as they are sent and stored: what repeats is said once.

A column whose rows all have one value is that value; one that equals another column names it. In a
run without failures that leaves 40 of a row's 56 bytes, in a closed loop 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen_service.core.columns import REQUEST_COLUMNS, SERVER_COLUMNS

Columns = dict[str, npt.NDArray[np.generic]]

TWINS: Final = {"taken_ns": "scheduled_ns", "completed_ns": "first_response_ns"}
"""Closed loops take what is due at once, and a unary answer comes whole."""

NUMBERS: Final = "row"
"""Never said once: rows differ by their numbers, which so tell whether a batch's count is right."""

_DTYPES: Final = REQUEST_COLUMNS | SERVER_COLUMNS


class SentColumn(NamedTuple):
    """``content``: every row's value, or one for all; empty where the rows are ``same_as``'s."""

    name: str
    content: bytes
    same_as: str


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
    return SentColumn(name, column.tobytes(), "")


def received_columns(sent: Iterable[tuple[str, bytes, str]], count: int) -> Columns:
    """Arrays of ``count`` rows, read-only, of what ``sent_columns`` gave. Unknown columns are left
    out, whoever they are of.

    Raises ValueError where a length is not the count's, or a column is said to be another one that
    did not come before it.
    """
    columns: Columns = {}
    for name, content, same_as in sent:
        dtype = _DTYPES.get(name)
        if dtype is None:
            continue
        if not same_as:
            columns[name] = _received(name, content, dtype, count)
        elif same_as in columns and columns[same_as].dtype == dtype and not content:
            columns[name] = columns[same_as]
        else:
            raise ValueError(f"column {name} is said to be the same as {same_as}, and cannot be")
    return columns


def _received(
    name: str, content: bytes, dtype: np.dtype[np.generic], count: int
) -> npt.NDArray[np.generic]:
    once = count if name == NUMBERS else 1
    if len(content) not in (once * dtype.itemsize, count * dtype.itemsize):
        raise ValueError(f"column {name} has {len(content)} bytes for {count} rows")
    values = np.frombuffer(content, dtype)
    return values if len(values) == count else np.broadcast_to(values, count)

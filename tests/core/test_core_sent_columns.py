"""Columns as they are sent: what comes back is what was there, in fewer bytes where rows repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.core.records.columns import (
    REQUEST_COLUMNS,
    REQUEST_ROW_BYTES,
    SERVER_COLUMNS,
    TWINS,
    SentColumn,
    received_columns,
    sent_columns,
)

ALL = REQUEST_COLUMNS | SERVER_COLUMNS
VALUES = st.sampled_from([-1, 0, 1, 2, 100])
EDGES = [0, (1 << 16) - 1, 1 << 16, (1 << 32) - 1, 1 << 32, (1 << 63) - 1]
INSTANTS = st.sampled_from([-(1 << 63), -1, *EDGES]) | st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    count = draw(st.integers(1, 6))
    names = [*REQUEST_COLUMNS, *(SERVER_COLUMNS if draw(st.booleans()) else ())]
    columns = {}
    for name in names:
        wide = ALL[name].itemsize == 8 and draw(st.booleans())
        some = st.lists(INSTANTS if wide else VALUES, min_size=count, max_size=count)
        values = draw(st.one_of(some, VALUES.map(lambda value: [value] * count)))
        columns[name] = np.array(values).astype(ALL[name])
    columns["row"] = np.arange(count).astype(ALL["row"])
    for name, twin in TWINS.items():
        if draw(st.booleans()):
            columns[name] = columns[twin].copy()
    return columns


@given(tables())
def test_what_comes_back_is_what_was_there(columns: dict[str, np.ndarray]) -> None:
    sent = sent_columns(columns)
    count = len(columns["row"])
    assert [one.name for one in sent] == list(columns)
    assert sum(len(one.content) for one in sent) <= sum(c.nbytes for c in columns.values())
    received = received_columns(sent, count)
    assert list(received) == list(columns)
    for name, column in columns.items():
        assert received[name].dtype == column.dtype
        assert received[name].tolist() == column.tolist()


@pytest.mark.parametrize("least", [-(1 << 63), -1, 0, 1 << 40, (1 << 63) - 1 - (1 << 32)])
@pytest.mark.parametrize(
    ("span", "count", "width"),
    [
        ((1 << 16) - 1, 3, 2),
        (1 << 16, 3, 4),
        ((1 << 32) - 1, 3, 4),
        (1 << 32, 3, 0),
        (1, 2, 2),
        (1 << 16, 2, 0),  # as long as the values themselves
    ],
)
def test_values_near_each_other_are_said_by_their_distances(
    least: int, span: int, count: int, width: int
) -> None:
    column = np.array([least + span, *[least] * (count - 1)], "<i8")
    columns = {"row": np.arange(count).astype("<i8"), "issued_ns": column}
    sent = sent_columns(columns)[1]
    assert sent.width == width
    assert len(sent.content) == (8 + width * count if width else 8 * count)
    assert received_columns([sent], count)["issued_ns"].tolist() == column.tolist()


@pytest.mark.parametrize(("closed", "row_bytes"), [(True, 14), (False, 18)])
def test_a_run_without_failures_takes_little(closed: bool, row_bytes: int) -> None:
    count = 1000
    values: dict[str, Any] = {name: np.zeros(count) for name in REQUEST_COLUMNS}
    values["row"] = np.arange(count)
    for place, name in enumerate(("scheduled_ns", "released_ns", "issued_ns", "completed_ns")):
        values[name] = np.arange(count) * 1000 + place
    values["first_response_ns"] = values["completed_ns"]
    if closed:
        values["scheduled_ns"] = values["released_ns"]
    sent = sent_columns({name: values[name].astype(ALL[name]) for name in REQUEST_COLUMNS})
    size = sum(len(one.content) for one in sent)
    bases = 8 * (4 if closed else 5)
    assert size - row_bytes * count == REQUEST_ROW_BYTES - 48 + bases
    assert {one.same_as for one in sent} == {"", "first_response_ns"} | (
        {"scheduled_ns"} if closed else set()
    )


ROWS = SentColumn("row", np.arange(3, dtype="<i8").tobytes())
NARROW = b"\0" * 8 + b"\1\0" * 3


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([SentColumn("row", b"\0" * 8)], "column row has 8 bytes for 3 rows"),
        ([SentColumn("issued_ns", b"\0" * 16)], "column issued_ns has 16 bytes"),
        ([SentColumn("issued_ns", b"")], "column issued_ns has 0 bytes"),
        ([SentColumn("status", b"\1\1")], "column status has 2 bytes"),
        ([SentColumn("released_ns", b"", "scheduled_ns"), ROWS], "scheduled_ns, and cannot be"),
        ([SentColumn("released_ns", b"", "released_ns")], "the same as released_ns, and cannot be"),
        ([ROWS, SentColumn("released_ns", b"\0" * 24, "row")], "the same as row, and cannot be"),
        ([ROWS, SentColumn("released_ns", b"", "row", 2)], "the same as row, and cannot be"),
        ([ROWS, SentColumn("status", b"", "row")], "column status is said to be the same as row"),
        ([SentColumn("row", NARROW[:-1], width=2)], "column row has 13 bytes for 3 rows of 2"),
        ([SentColumn("row", NARROW, width=4)], "column row has 14 bytes for 3 rows of 4"),
        ([SentColumn("row", b"", width=2)], "column row has 0 bytes for 3 rows of 2"),
        ([SentColumn("row", NARROW, width=3)], "column row has a width of 3 bytes, and cannot"),
        ([SentColumn("status", NARROW, width=2)], "column status has a width of 2 bytes"),
    ],
)
def test_what_does_not_fit_is_named(sent: list[SentColumn], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        received_columns(sent, 3)


def test_columns_of_a_later_version_are_left_out() -> None:
    later = [SentColumn("hops", b"\0", width=9), ROWS, SentColumn("stops", b"", "hops")]
    assert list(received_columns(later, 3)) == ["row"]


def test_nobody_writes_to_what_stands_for_many_rows() -> None:
    narrow = SentColumn("issued_ns", NARROW, width=2)
    columns = received_columns([ROWS, SentColumn("status", b"\1"), narrow], 3)
    for column in columns.values():
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 2

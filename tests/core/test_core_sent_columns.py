"""Columns as they are sent: what comes back is what was there, in fewer bytes where rows repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.core.columns import REQUEST_COLUMNS, REQUEST_ROW_BYTES, SERVER_COLUMNS
from loadgen_service.core.sent_columns import TWINS, received_columns, sent_columns

ALL = REQUEST_COLUMNS | SERVER_COLUMNS
VALUES = st.sampled_from([-1, 0, 1, 2, 100])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    count = draw(st.integers(1, 6))
    names = [*REQUEST_COLUMNS, *(SERVER_COLUMNS if draw(st.booleans()) else ())]
    columns = {}
    for name in names:
        some = st.lists(VALUES, min_size=count, max_size=count)
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


@pytest.mark.parametrize(("closed", "row_bytes"), [(True, 32), (False, 40)])
def test_a_run_without_failures_takes_little(closed: bool, row_bytes: int) -> None:
    count = 1000
    values: dict[str, Any] = {name: np.zeros(count) for name in REQUEST_COLUMNS}
    values["row"] = np.arange(count)
    for place, name in enumerate(("scheduled_ns", "taken_ns", "issued_ns", "completed_ns")):
        values[name] = np.arange(count) * 1000 + place
    values["first_response_ns"] = values["completed_ns"]
    if closed:
        values["scheduled_ns"] = values["taken_ns"]
    sent = sent_columns({name: values[name].astype(ALL[name]) for name in REQUEST_COLUMNS})
    size = sum(len(one.content) for one in sent)
    assert size - row_bytes * count == REQUEST_ROW_BYTES - 48
    assert {one.same_as for one in sent} == {"", "first_response_ns"} | (
        {"scheduled_ns"} if closed else set()
    )


ROWS = ("row", np.arange(3, dtype="<i8").tobytes(), "")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([("row", b"\0" * 8, "")], "column row has 8 bytes for 3 rows"),
        ([("issued_ns", b"\0" * 16, "")], "column issued_ns has 16 bytes"),
        ([("issued_ns", b"", "")], "column issued_ns has 0 bytes"),
        ([("status", b"\1\1", "")], "column status has 2 bytes"),
        ([("taken_ns", b"", "scheduled_ns"), ROWS], "same as scheduled_ns, and cannot be"),
        ([("taken_ns", b"", "taken_ns")], "same as taken_ns, and cannot be"),
        ([ROWS, ("taken_ns", b"\0" * 24, "row")], "same as row, and cannot be"),
        ([ROWS, ("status", b"", "row")], "column status is said to be the same as row"),
    ],
)
def test_what_does_not_fit_is_named(sent: list[tuple[str, bytes, str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        received_columns(sent, 3)


def test_columns_of_a_later_version_are_left_out() -> None:
    later = [("hops", b"\0\0\0", ""), ROWS, ("stops", b"", "hops")]
    assert list(received_columns(later, 3)) == ["row"]


def test_nobody_writes_to_what_stands_for_many_rows() -> None:
    columns = received_columns([ROWS, ("status", b"\1", "")], 3)
    with pytest.raises(ValueError, match="read-only"):
        columns["status"][0] = 2

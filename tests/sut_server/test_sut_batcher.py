"""The batcher: what shares a batch, in which order, and when it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sut_server.engines.batcher import Batcher


@dataclass
class Request:
    rows: int = 1
    merge_key: str = "same"
    alive: bool = True


def batcher(max_rows: int = 4, max_delay_ns: int = 100, max_waiting: int = 1000) -> Batcher:
    return Batcher(max_rows, max_delay_ns, max_waiting)


def sizes(batches: list[list[Request]]) -> list[int]:
    return [sum(request.rows for request in batch) for batch in batches]


def test_a_full_batch_leaves_at_once() -> None:
    queue = batcher(max_rows=2)
    queue.add(Request(), 0)
    assert queue.due(0, 1) == []
    queue.add(Request(), 5)
    assert sizes(queue.due(5, 1)) == [2]
    assert queue.wake_ns() is None


def test_an_old_request_leaves_with_what_is_there() -> None:
    queue = batcher(max_delay_ns=100)
    queue.add(Request(), 10)
    queue.add(Request(), 60)
    assert queue.wake_ns() == 110
    assert queue.due(109, 1) == []
    assert sizes(queue.due(110, 1)) == [2]


def test_without_delay_requests_join_only_while_the_model_is_busy() -> None:
    queue = batcher(max_delay_ns=0)
    queue.add(Request(), 0)
    assert sizes(queue.due(0, 1)) == [1]
    for now_ns in (1, 2, 3):
        queue.add(Request(), now_ns)
        assert queue.due(now_ns, 0) == []
    assert sizes(queue.due(4, 1)) == [3]


def test_a_request_is_never_split() -> None:
    queue = batcher(max_rows=4)
    queue.add(Request(rows=3), 0)
    queue.add(Request(rows=2), 0)
    assert sizes(queue.due(0, 9)) == [3]
    assert len(queue) == 1


def test_other_shapes_end_a_batch() -> None:
    queue = batcher()
    for key in ("a", "a", "b"):
        queue.add(Request(merge_key=key), 0)
    first, second = queue.due(100, 9)
    assert [request.merge_key for request in first] == ["a", "a"]
    assert [request.merge_key for request in second] == ["b"]


def test_no_more_batches_leave_than_are_free() -> None:
    queue = batcher(max_rows=1)
    for _ in range(3):
        queue.add(Request(), 0)
    assert sizes(queue.due(0, 2)) == [1, 1]
    assert sizes(queue.due(0, 0)) == []
    assert sizes(queue.due(0, 2)) == [1]


def test_a_caller_that_left_takes_no_place() -> None:
    queue = batcher(max_rows=2)
    gone = Request()
    queue.add(gone, 0)
    queue.add(Request(), 30)
    gone.alive = False
    assert queue.wake_ns() == 130
    assert queue.due(100, 1) == []
    assert sizes(queue.due(130, 1)) == [1]


def test_hurry_sends_what_waits_and_not_what_comes_later() -> None:
    queue = batcher(max_rows=4)
    queue.add(Request(), 0)
    queue.hurry()
    assert sizes(queue.due(1, 1)) == [1]
    queue.add(Request(), 2)
    assert queue.due(2, 1) == []


def test_a_full_queue_refuses() -> None:
    queue = batcher(max_waiting=1)
    assert queue.add(Request(), 0)
    assert not queue.add(Request(), 0)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), max_size=40),
    st.integers(0, 3),
)
def test_every_request_leaves_once_in_order_and_no_batch_is_too_large(
    drawn: list[tuple[int, str]], free_count: int
) -> None:
    queue = batcher(max_rows=4)
    requests = [Request(rows, key) for rows, key in drawn]
    left: list[Request] = []
    for now_ns, request in enumerate(requests):
        queue.add(request, now_ns)
        batches = queue.due(now_ns, free_count)
        assert len(batches) <= free_count
        left += [request for batch in batches for request in batch]
    final = queue.due(1_000, 1_000)
    left += [request for batch in final for request in batch]
    assert all(size <= 4 for size in sizes(final))
    assert [id(request) for request in left] == [id(request) for request in requests]

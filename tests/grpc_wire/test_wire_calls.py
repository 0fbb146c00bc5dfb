"""Several calls opened with one look at the connection: the same bytes and state as one by one."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.client import ClientConnection
from grpc_wire.limits import LARGE_PIECE_BYTES
from grpc_wire.messages import frame_message
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import HEADERS, answer, opened, output, ready_client

SMALL = frame_message(b"question")
LARGE = frame_message(b"x" * LARGE_PIECE_BYTES)
IN_PARTS = (SMALL[:5], SMALL[5:])


def begun(settings: dict[int, int] | None = None) -> ClientConnection:
    """A client whose first call, which is special, has been made and answered."""
    client = ready_client(settings)
    opened(client)
    client.receive(answer(1))
    return client


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_the_bytes_are_those_of_single_calls(contents: list[bytes]) -> None:
    messages = [frame_message(content) for content in contents]
    keys = range(100, 100 + len(messages))
    together, single = begun(), begun()
    assert together.call_each(keys, HEADERS, messages) == len(messages)
    for key, message in zip(keys, messages, strict=True):
        assert single.call(key, HEADERS, message)
    assert output(together) == output(single)
    assert together.open_count == single.open_count == len(messages)
    assert (together.room, together._next_id) == (single.room, single._next_id)
    assert together._send.window == single._send.window
    answers = b"".join(answer(3 + 2 * index) for index in range(len(messages)))
    assert together.receive(answers) == single.receive(answers)
    assert not together.open_count


@pytest.mark.parametrize(
    ("client", "messages", "count"),
    [
        pytest.param(ready_client(), [SMALL] * 2, 0, id="the first call of a connection"),
        pytest.param(begun(), [], 0, id="none"),
        pytest.param(begun(), [SMALL, LARGE, SMALL], 1, id="a large one"),
        pytest.param(begun(), [SMALL, SMALL, IN_PARTS], 2, id="one in parts"),
        pytest.param(begun({frames.MAX_CONCURRENT_STREAMS: 2}), [SMALL] * 3, 2, id="streams"),
        pytest.param(begun(), [frame_message(b"x" * 9000)] * 8, 7, id="the connection's window"),
        pytest.param(begun({frames.INITIAL_WINDOW_SIZE: 5}), [SMALL] * 2, 0, id="stream window"),
    ],
)
def test_it_stops_at_the_first_that_needs_more(
    client: ClientConnection, messages: list, count: int
) -> None:
    before = client._next_id
    client.take_output()
    assert client.call_each(range(len(messages)), HEADERS, messages) == count
    assert client.open_count == count
    assert client._next_id == before + 2 * count
    assert client.has_output == bool(count)


def test_the_last_stream_ids_are_left_to_single_calls() -> None:
    client = begun()
    client._next_id = frames.LARGEST_STREAM_ID - 4
    assert client.call_each([1, 2, 3, 4], HEADERS, [SMALL] * 4) == 2
    assert not client.is_draining
    assert client.call(3, HEADERS, SMALL)
    assert client.is_draining


def test_nothing_is_opened_where_the_peer_has_refused_a_stream() -> None:
    client = begun()
    assert client.call_each([1, 2], HEADERS, [SMALL] * 2) == 2
    client.receive(frames.rst_stream_frame(3, 7))
    assert client.call_each([3], HEADERS, [SMALL]) == 0

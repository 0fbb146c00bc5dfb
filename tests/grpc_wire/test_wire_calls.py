"""Many calls opened at once: the same bytes and events as one by one, or nothing done."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.client import DONE, ClientConnection
from grpc_wire.limits import LARGE_PIECE_BYTES
from grpc_wire.messages import frame_message
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import HEADERS, Pair, answer, opened, output, ready_client

SMALL = frame_message(b"question")


def begun(settings: dict[int, int] | None = None) -> ClientConnection:
    """A client whose first call, which is special, has been made and answered."""
    client = ready_client(settings)
    opened(client)
    client.receive(answer(1))
    assert not client.open_count
    return client


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_the_bytes_are_those_of_single_calls(contents: list[bytes]) -> None:
    messages = [frame_message(content) for content in contents]
    keys = range(100, 100 + len(messages))
    together, single = begun(), begun()
    assert together.calls(keys, HEADERS, messages, 0)
    assert all(
        single.call(key, HEADERS, message) for key, message in zip(keys, messages, strict=True)
    )
    assert output(together) == output(single)
    assert together.open_count == len(messages)
    assert together.room == single.room
    assert together._send.window == single._send.window
    answers = b"".join(answer(3 + 2 * place) for place in range(len(messages)))
    assert together.receive(answers) == single.receive(answers)
    assert not together.open_count


@pytest.mark.parametrize(
    "first", [3, 255, 65_001, 65_501, 65_535, 65_537, 131_061, (1 << 24) - 15, (1 << 30) + 5]
)
@given(
    contents=st.integers(0, 9).flatmap(
        lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=140)
    ),
    is_known=st.booleans(),
)
def test_as_long_as_each_other_or_not_each_has_its_own_stream(
    first: int, contents: list[bytes], is_known: bool
) -> None:
    messages = [frame_message(content) for content in contents]
    together, single = begun(), begun()
    together._next_id = single._next_id = first
    each_bytes = len(messages[0]) if is_known else 0
    assert together.calls(range(len(messages)), HEADERS, messages, each_bytes)
    for key, message in enumerate(messages):
        assert single.call(key, HEADERS, message)
    assert output(together) == output(single)
    assert together._open == single._open == {first + 2 * k: k for k in range(len(messages))}


def test_a_server_gets_each_request_whole() -> None:
    pair = Pair()
    pair.client.call(0, HEADERS, SMALL)
    pair.exchange()
    pair.take_server_events()
    assert pair.client.calls([7, 8, 9], HEADERS, [frame_message(b"x" * n) for n in (0, 5, 5)], 0)
    pair.exchange()
    assert [event[3] for event in pair.take_server_events()] == [b"", b"x" * 5, b"x" * 5]


def test_one_of_them_can_be_cancelled() -> None:
    client = begun()
    assert client.calls([1, 2, 3], HEADERS, [SMALL] * 3, 0)
    client.cancel(2)
    client.take_output()
    events = client.receive(b"".join(answer(stream) for stream in (3, 5, 7)))
    assert [event[1] for event in events if event[0] == DONE] == [1, 3]


LARGE = frame_message(b"x" * LARGE_PIECE_BYTES)
SMALL_WINDOW = {frames.INITIAL_WINDOW_SIZE: len(SMALL) - 1}


@pytest.mark.parametrize(
    ("client", "messages"),
    [
        pytest.param(ready_client(), [SMALL] * 2, id="the first call of a connection"),
        pytest.param(begun(), [], id="none"),
        pytest.param(begun(), [SMALL, LARGE], id="a large one"),
        pytest.param(begun(), [SMALL, (SMALL[:5], SMALL[5:])], id="one in parts"),
        pytest.param(begun({frames.MAX_CONCURRENT_STREAMS: 2}), [SMALL] * 3, id="streams"),
        pytest.param(begun(), [frame_message(b"x" * 9000)] * 8, id="the connection's window"),
        pytest.param(begun(SMALL_WINDOW), [SMALL] * 2, id="a stream's window"),
    ],
)
def test_where_one_does_not_fit_nothing_is_done(client: ClientConnection, messages: list) -> None:
    before = (client._next_id, client._send.window, client.open_count)
    client.take_output()
    sizes = {len(message) if isinstance(message, bytes) else 0 for message in messages}
    for each_bytes in {0, *sizes} if len(sizes) == 1 else {0}:
        assert not client.calls(range(len(messages)), HEADERS, messages, each_bytes)
    assert (client._next_id, client._send.window, client.open_count) == before
    assert not client.has_output


def test_the_last_stream_ids_are_left_to_single_calls() -> None:
    client = begun()
    client._next_id = frames.LARGEST_STREAM_ID - 4
    assert not client.calls([1, 2, 3], HEADERS, [SMALL] * 3, 0)
    assert client.calls([1, 2], HEADERS, [SMALL] * 2, 0)
    assert not client.is_draining
    assert client.call(3, HEADERS, SMALL)
    assert client.is_draining

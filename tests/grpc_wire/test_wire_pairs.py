"""Both halves against each other, without sockets."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.client import DONE, MESSAGE, ROOM, ClientConnection
from grpc_wire.events import CANCELLED, CLOSED, HALF_CLOSED, OPENED, REQUEST
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import HEADERS, PATH, Pair, by_bytes, output, whole

STREAM_PATH = b"/inference.GRPCInferenceService/ModelStreamInfer"
STREAM_HEADERS = request_headers(path=STREAM_PATH.decode(), authority="test")


def echo(pair: Pair, prefix: bytes = b"re: ") -> None:
    """Answer each request at once."""

    def answer(event: tuple) -> None:
        if event[0] == REQUEST:
            pair.server.respond(event[1], frame_message(prefix + event[3]))

    pair.on_request = answer


@pytest.mark.parametrize("cut", [whole, by_bytes])
def test_unary_calls_are_answered_by_key(cut) -> None:
    pair = Pair(cut=cut)
    echo(pair)
    assert pair.take_client_events() == [(ROOM,)]
    for turn in range(4):
        for key in range(5):
            assert pair.client.call(key, HEADERS, frame_message(b"m%d" % key))
        pair.exchange()
        expected = [(DONE, key, 0, b"re: m%d" % key, "") for key in range(5)]
        assert pair.take_client_events() == expected, turn
    events = pair.take_server_events()
    assert len(events) == 20
    assert events[3][:4] == (REQUEST, 7, PATH.encode(), b"m3")
    assert events[3][4]["user-agent"].startswith("grpc-")
    assert not pair.client.open_count
    assert pair.server.open_count == 0


@given(
    st.lists(st.integers(1, 90), max_size=60),
    st.lists(st.binary(max_size=40), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_every_cut_of_the_bytes_gives_the_same_events(
    cuts: list[int], messages: list[bytes]
) -> None:
    def cut(data: bytes):
        position = 0
        for length in cuts:
            if position >= len(data):
                return
            yield data[position : position + length]
            position += length
        if position < len(data):
            yield data[position:]

    pair = Pair(cut=cut)
    echo(pair)
    pair.take_client_events()
    for _ in range(2):  # the second time by the usual shape
        for key, message in enumerate(messages):
            pair.client.call(key, HEADERS, frame_message(message))
        pair.exchange()
        expected = [(DONE, key, 0, b"re: " + m, "") for key, m in enumerate(messages)]
        assert pair.take_client_events() == expected
        requests = [event[3] for event in pair.take_server_events()]
        assert requests == messages


def test_every_single_split_of_a_conversation_gives_the_same_events() -> None:
    client, server = ClientConnection(), ServerConnection()
    client.start()
    server.start()
    client.receive(output(server))
    for key in range(3):
        client.call(key, HEADERS, frame_message(b"same size"))
    up = output(client)
    events = server.receive(up)
    for event in events:
        server.respond(event[1], frame_message(b"answer"))
    server.finish(5, 0)
    down = output(server)
    for position in range(1, len(up)):
        other = ServerConnection()
        other.start()
        assert other.receive(up[:position]) + other.receive(up[position:]) == events
    wanted = client.receive(down)
    assert len(wanted) == 3
    for position in range(1, len(down)):
        other_client = ClientConnection()
        other_client.start()
        other_client.receive(frames.settings_frame({}))
        for key in range(3):
            other_client.call(key, HEADERS, frame_message(b"same size"))
        found = other_client.receive(down[:position]) + other_client.receive(down[position:])
        assert found == wanted, position


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_530, 65_531, 300_000, 3_000_000])
def test_messages_larger_than_frames_and_windows_cross(size: int) -> None:
    pair = Pair(server=ServerConnection(max_frame_bytes=16_384))
    echo(pair)
    pair.take_client_events()
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    views = [memoryview(frame_message(message)), memoryview(b"")]
    for key in range(3):
        assert pair.client.call(key, HEADERS, views)
    pair.exchange()
    assert sorted(pair.take_client_events()) == [
        (DONE, key, 0, b"re: " + message, "") for key in range(3)
    ]
    assert pair.client.blocked_bytes == 0
    assert not pair.client.open_count


def test_large_parts_are_not_copied() -> None:
    pair = Pair()
    large = bytes(100_000)
    pair.client.call(0, HEADERS, frame_message(b"first"))
    pair.exchange()
    parts = (frame_message(large)[:5], large)
    pair.client.call(1, HEADERS, parts)
    assert any(
        piece is large or (isinstance(piece, memoryview) and piece.obj is large)
        for piece in pair.client.take_output()
    )


@pytest.mark.parametrize("wrap", [memoryview, lambda m: [m], lambda m: (m[:5], memoryview(m)[5:])])
def test_parts_may_be_bytes_or_views_or_several(wrap) -> None:
    pair = Pair()
    pair.take_client_events()
    for size in (3, 3, 20_000):
        message = frame_message(bytes(size))
        assert pair.client.call(0, HEADERS, wrap(message))
        pair.exchange()
        event = pair.take_server_events()[0]
        assert event[3] == bytes(size)
        assert pair.server.respond(event[1], wrap(message))
        pair.exchange()
        assert pair.take_client_events() == [(DONE, 0, 0, bytes(size), "")]


def test_small_writes_are_joined_to_one() -> None:
    pair = Pair()
    for key in range(50):
        pair.client.call(key, HEADERS, frame_message(b"m"))
    assert len(pair.client.take_output()) == 1
    assert pair.client.take_output() == []


def test_concurrency_limit_of_the_server_is_kept() -> None:
    pair = Pair(server=ServerConnection(max_concurrent_streams=3))
    pair.take_client_events()
    assert pair.client.room == 3
    assert [pair.client.call(key, HEADERS, frame_message(b"m")) for key in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert pair.client.room == 0
    pair.exchange()
    assert pair.server.open_count == 3
    pair.server.respond(3, frame_message(b"a"))
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 1, 0, b"a", ""), (ROOM,)]
    assert pair.client.room == 1


def test_no_room_before_the_servers_settings() -> None:
    client = ClientConnection()
    client.start()
    assert client.room == 0
    assert not client.is_ready
    assert not client.call(0, HEADERS, frame_message(b"m"))
    assert client.receive(frames.settings_frame({})) == [(ROOM,)]
    assert client.is_ready


def test_cancelled_call_has_no_event_and_is_told_to_the_server() -> None:
    pair = Pair()
    pair.take_client_events()
    for key in range(3):
        pair.client.call(key, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.take_server_events()
    pair.client.cancel(1)
    pair.client.cancel(99)
    pair.exchange()
    assert pair.take_server_events() == [(CANCELLED, 3)]
    assert [pair.server.respond(sid, frame_message(b"a")) for sid in (1, 3, 5)] == [
        True,
        False,
        True,
    ]
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 0, 0, b"a", ""), (DONE, 2, 0, b"a", "")]
    assert pair.server.open_count == 0


def test_answer_that_crosses_a_cancel_is_ignored() -> None:
    pair = Pair()
    pair.take_client_events()
    pair.client.call(0, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.server.respond(1, frame_message(b"a"))
    pair.client.cancel(0)
    pair.exchange()
    assert pair.take_client_events() == []
    assert pair.take_server_events()[1:] == []


def test_many_cancels_among_new_calls_find_their_streams() -> None:
    pair = Pair()
    for key in range(100):
        pair.client.call(key, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.take_server_events()
    for key in range(100):
        pair.client.cancel(key)
        pair.client.call(key, HEADERS, frame_message(b"n"))
    pair.exchange()
    events = pair.take_server_events()
    cancelled = [event[1] for event in events if event[0] == CANCELLED]
    assert cancelled == [2 * key + 1 for key in range(100)]
    assert pair.client.open_count == 100


@pytest.mark.parametrize("code", [1, 5, 14, 16])
def test_status_and_text_reach_the_client(code: int) -> None:
    pair = Pair()
    pair.take_client_events()
    pair.client.call(0, HEADERS, frame_message(b"m"))
    pair.exchange()
    assert pair.server.finish(1, code, "no such model: 'é'\n100%")
    assert not pair.server.finish(1, code)
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 0, code, None, "no such model: 'é'\n100%")]


def streaming_pair() -> Pair:
    pair = Pair(server=ServerConnection(streaming_paths=[STREAM_PATH]))
    pair.take_client_events()
    return pair


def test_streaming_call_is_told_message_by_message() -> None:
    pair = streaming_pair()
    pair.client.call(4, STREAM_HEADERS, frame_message(b"m"), streaming=True)
    pair.exchange()
    events = pair.take_server_events()
    assert [event[:3] for event in events] == [
        (OPENED, 1, STREAM_PATH),
        (MESSAGE, 1, b"m"),
        (HALF_CLOSED, 1),
    ]
    for token in (b"a", b"", b"c" * 100_000):
        assert pair.server.send_message(1, frame_message(token))
        pair.exchange()
    assert pair.take_client_events() == [
        (MESSAGE, 4, b"a"),
        (MESSAGE, 4, b""),
        (MESSAGE, 4, b"c" * 100_000),
    ]
    pair.server.finish(1)
    assert not pair.server.send_message(1, frame_message(b"late"))
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 4, 0, None, "")]
    assert pair.server.open_count == 0


def test_streaming_answer_ends_behind_its_messages() -> None:
    pair = streaming_pair()
    client_window = pair.server._send.window
    pair.client.call(0, STREAM_HEADERS, frame_message(b"m"), streaming=True)
    pair.exchange()
    pair.server._send.window = 10  # as if the client had opened no more
    pair.server.send_message(1, frame_message(b"x" * 30))
    pair.server.finish(1, 8, "over")
    pair.exchange()
    assert pair.server.open_count == 1
    assert pair.server.blocked_bytes == 25
    pair.server.receive(frames.window_update_frame(0, client_window))
    pair.exchange()
    assert pair.take_client_events() == [(MESSAGE, 0, b"x" * 30), (DONE, 0, 8, None, "over")]
    assert pair.server.open_count == 0


def test_refused_request_does_not_wait_behind_a_full_window() -> None:
    pair = Pair()
    pair.take_client_events()
    for key in range(2):
        pair.client.call(key, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.server._send.window = 10
    pair.server.respond(1, frame_message(bytes(100)))
    pair.server.finish(3, 5, "no")
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 1, 5, None, "no")]


def test_unary_request_may_be_answered_by_many_messages() -> None:
    pair = Pair()
    pair.take_client_events()
    pair.client.call(0, HEADERS, frame_message(b"m"), streaming=True)
    pair.exchange()
    pair.server.send_message(1, frame_message(b"a"))
    pair.server.send_message(1, frame_message(b"b"))
    pair.server.finish(1)
    pair.exchange()
    assert pair.take_client_events() == [
        (MESSAGE, 0, b"a"),
        (MESSAGE, 0, b"b"),
        (DONE, 0, 0, None, ""),
    ]


def test_graceful_goaway_loses_no_call() -> None:
    pair = Pair()
    pair.take_client_events()
    pair.client.call(0, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.server.goaway()
    pair.client.call(1, HEADERS, frame_message(b"in flight"))  # before GOAWAY arrives
    pair.exchange()
    assert pair.client.is_draining
    assert pair.client.room == 0
    assert not pair.client.call(2, HEADERS, frame_message(b"m"))
    assert [event[1] for event in pair.take_server_events()] == [1, 3]
    assert not pair.server.is_drained
    for stream_id in (1, 3):
        pair.server.respond(stream_id, frame_message(b"a"))
    pair.exchange()
    assert pair.server.is_drained
    assert pair.take_client_events() == [(DONE, 0, 0, b"a", ""), (DONE, 1, 0, b"a", "")]


def test_end_of_transport_settles_both_sides() -> None:
    pair = Pair()
    pair.take_client_events()
    for key in range(2):
        pair.client.call(key, HEADERS, frame_message(b"m"))
    pair.exchange()
    reason = "connection closed by the peer"
    assert pair.client.eof() == [
        (DONE, 0, 255, None, reason),
        (DONE, 1, 255, None, reason),
        (CLOSED, reason),
    ]
    assert pair.client.eof() == []
    assert pair.client.is_draining
    assert pair.client.closed_reason == reason
    assert pair.server.eof() == [(CANCELLED, 1), (CANCELLED, 3), (CLOSED, reason)]
    assert not pair.server.respond(1, frame_message(b"a"))
    assert pair.client.receive(b"anything") == []


def test_windows_are_refilled_over_a_long_run() -> None:
    pair = Pair()
    echo(pair)
    pair.client._inbound_target = pair.client._inbound = 100_000
    pair.server._send.window = 100_000
    for _ in range(40):
        for key in range(20):
            assert pair.client.call(key, HEADERS, frame_message(bytes(1_000)))
        pair.exchange()
        assert not pair.client.open_count
    assert pair.server.blocked_bytes == 0


def test_stream_ids_run_out_by_draining() -> None:
    pair = Pair()
    echo(pair)
    pair.client.call(0, HEADERS, frame_message(b"m"))
    pair.exchange()
    pair.take_client_events()
    pair.client._next_id = frames.LARGEST_STREAM_ID
    assert pair.client.call(1, HEADERS, frame_message(b"last"))
    assert not pair.client.call(2, HEADERS, frame_message(b"m"))
    assert pair.client.room == 0
    assert pair.client.is_draining
    pair.exchange()
    assert pair.take_client_events() == [(DONE, 1, 0, b"re: last", "")]

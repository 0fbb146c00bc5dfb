"""The server half against a client played by hand, good and bad."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RESOURCE_EXHAUSTED,
    STREAM_CLOSED,
)
from grpc_wire.headers import encode_block
from grpc_wire.messages import frame_message
from grpc_wire.server import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    ServerConnection,
)
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import (
    data,
    goaways,
    headers,
    output,
    read_frames,
    ready_server,
    request,
    request_fields,
    resets,
    statuses,
)

STREAM_PATH = "/s/Stream"
PREFIXED = frame_message(b"question")


class SlowServer(ServerConnection):
    """Without the fast path: the judge of what it makes of a request."""

    __slots__ = ()

    def _take_known(self, data: bytes, pos: int, end: int, events: list) -> int:
        return pos


def brief(events: list) -> list:
    """Events without metadata."""
    return [event[:4] if event[0] == REQUEST else event[:3] for event in events]


def test_start_announces_its_limits() -> None:
    server = ServerConnection(max_concurrent_streams=7)
    server.start()
    (kind, _, _, payload), _ = read_frames(output(server))
    assert kind == frames.SETTINGS
    announced = frames.read_settings(payload)
    assert announced[frames.HEADER_TABLE_SIZE] == 0
    assert announced[frames.MAX_CONCURRENT_STREAMS] == 7


def test_request_is_told_once_whole_and_ended() -> None:
    server = ready_server()
    assert server.receive(headers(1, request_fields())) == []
    assert server.receive(data(1, PREFIXED[:7])) == []
    assert server.receive(data(1, PREFIXED[7:])) == []
    event = server.receive(data(1, b"", end=True))[0]
    assert event[:2] == (REQUEST, 1)
    assert event[3] == b"question"


def test_metadata_reaches_the_application() -> None:
    server = ready_server()
    fields = [*request_fields(), ("x-tenant", "a"), ("grpc-timeout", "5S")]
    for stream_id in (1, 3, 5):  # the later ones by the usual shape
        event = server.receive(request(stream_id, fields=fields))[0]
        assert dict(event[4]) == {"x-tenant": "a", "grpc-timeout": "5S"}


def test_trailers_of_a_request_end_it() -> None:
    server = ready_server()
    content = headers(1, request_fields()) + data(1, PREFIXED) + headers(1, [("x", "y")], end=True)
    assert brief(server.receive(content))[0][3] == b"question"


def test_streaming_call_is_told_as_it_comes() -> None:
    server = ready_server(streaming_paths=[STREAM_PATH.encode()])
    fields = request_fields(path=STREAM_PATH)
    content = headers(1, fields) + data(1, PREFIXED * 2) + data(1, b"", end=True)
    assert brief(server.receive(content)) == [
        (OPENED, 1, STREAM_PATH.encode()),
        (MESSAGE, 1, b"question"),
        (MESSAGE, 1, b"question"),
        (HALF_CLOSED, 1),
    ]


def test_stateful_and_changing_header_blocks_are_read() -> None:
    server = ServerConnection()
    server.start()
    server.receive(frames.PREFACE + frames.settings_frame({}))
    encoder = Encoder()
    for index in range(12):
        if index == 6:  # the client applies our table size 0
            server.receive(frames.frame(frames.SETTINGS, frames.ACK, 0))
            encoder.header_table_size = 0
        block = encoder.encode([*request_fields(), ("x", str(index // 2))])
        stream_id = 2 * index + 1
        content = frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
        event = server.receive(content + data(stream_id, PREFIXED, end=True))[0]
        assert event[:4] == (
            REQUEST,
            stream_id,
            b"/inference.GRPCInferenceService/ModelInfer",
            b"question",
        )
        assert dict(event[4]) == {"x": str(index // 2)}


REFUSED = {
    "GET": (headers(1, request_fields(method="GET")), (405, 2, "gRPC needs POST, not GET")),
    "a page": (
        headers(1, request_fields(content_type="text/html")),
        (415, 2, "content-type 'text/html' is not application/grpc"),
    ),
    "compressed": (
        headers(1, request_fields()) + data(1, b"\1\0\0\0\1a"),
        (200, 12, "message is compressed; no compression was offered"),
    ),
    "too large": (
        headers(1, request_fields()) + data(1, b"\0\0\1\0\0"),
        (200, 8, "message of 65536 bytes is over the limit of 1000"),
    ),
    "two messages": (
        headers(1, request_fields()) + data(1, PREFIXED * 2),
        (200, 13, "more than one message in a unary request"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_that_cannot_be_taken_is_answered_with_the_reason(name: str) -> None:
    content, status = REFUSED[name]
    server = ready_server(max_message_bytes=1_000)
    assert server.receive(content) == []
    sent = output(server)
    assert statuses(sent) == {1: status}
    assert resets(sent) == {1: NO_ERROR}  # the client is still sending
    assert server.receive(data(1, PREFIXED, end=True)) == []
    assert server.open_count == 0
    assert len(server.receive(request(3))) == 1


def test_request_without_a_whole_message_is_answered_with_the_reason() -> None:
    server = ready_server()
    content = headers(1, request_fields(), end=True)
    content += headers(3, request_fields()) + data(3, PREFIXED[:9], end=True)
    assert server.receive(content) == []
    assert statuses(output(server)) == {
        1: (200, 13, "request without a message"),
        3: (200, 13, "the request ends within a message"),
    }


def test_malformed_request_is_reset() -> None:
    server = ready_server()
    assert server.receive(headers(1, [(":method", "POST")])) == []
    assert resets(output(server)) == {1: PROTOCOL_ERROR}


def test_streams_past_the_limit_are_refused() -> None:
    server = ready_server(max_concurrent_streams=2)
    content = b"".join(request(stream_id) for stream_id in (1, 3, 5, 7))
    assert [event[1] for event in server.receive(content)] == [1, 3]
    assert resets(output(server)) == {5: REFUSED_STREAM, 7: REFUSED_STREAM}
    server.finish(1)
    assert [event[1] for event in server.receive(request(9))] == [9]


def test_reset_is_told_only_for_calls_the_application_knows() -> None:
    server = ready_server(streaming_paths=[STREAM_PATH.encode()])
    server.receive(request(1) + headers(3, request_fields()))
    server.receive(headers(5, request_fields(path=STREAM_PATH)))
    content = b"".join(frames.rst_stream_frame(stream_id, 8) for stream_id in (1, 3, 5, 5))
    assert server.receive(content) == [(CANCELLED, 1), (CANCELLED, 5)]
    assert server.open_count == 0


def test_reset_while_an_answer_waits_for_the_window_frees_it() -> None:
    server = ready_server(settings={frames.INITIAL_WINDOW_SIZE: 10})
    server.receive(request(1))
    server.respond(1, frame_message(bytes(100)))
    assert server.blocked_bytes == 95
    assert server.receive(frames.rst_stream_frame(1, 8)) == []
    assert server.blocked_bytes == 0
    assert server.open_count == 0


def test_window_given_before_the_answer_counts() -> None:
    server = ready_server(settings={frames.INITIAL_WINDOW_SIZE: 10})
    server.receive(request(1) + frames.window_update_frame(1, 95))
    server.respond(1, frame_message(bytes(100)))
    assert server.blocked_bytes == 0
    assert server.open_count == 0


def test_too_large_a_stream_window_resets_the_stream() -> None:
    server = ready_server()
    server.receive(request(1))
    update = frames.window_update_frame(1, frames.LARGEST_WINDOW_BYTES)
    assert server.receive(update) == [(CANCELLED, 1)]
    assert resets(output(server)) == {1: FLOW_CONTROL_ERROR}


def test_settings_that_overflow_a_window_end_the_connection() -> None:
    server = ready_server()
    server.receive(request(1) + frames.window_update_frame(1, 1 << 30))
    largest = frames.settings_frame({frames.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW_BYTES})
    assert server.receive(largest)[-1] == (CLOSED, "FLOW_CONTROL_ERROR: stream window above 2^31-1")


@pytest.mark.parametrize("part", [data(1, b"x"), headers(1, [("x", "y")], end=True)])
def test_frames_after_the_end_of_a_request_reset_it(part: bytes) -> None:
    server = ready_server()
    assert brief(server.receive(request(1) + part))[1:] == [(CANCELLED, 1)]
    assert resets(output(server)) == {1: STREAM_CLOSED}


def test_rapid_resets_end_the_connection() -> None:
    server = ready_server(max_resets=10)
    for index in range(40):
        stream_id = 2 * index + 1
        events = server.receive(request(stream_id) + frames.rst_stream_frame(stream_id, 8))
        if server.closed_reason:
            break
    assert events[-1] == (CLOSED, "ENHANCE_YOUR_CALM: 11 streams reset")


@pytest.mark.parametrize("step", [2, 4, 1_000])
def test_resets_are_counted_whatever_ids_the_streams_have(step: int) -> None:
    server = ready_server(max_resets=10)
    for index in range(40):
        stream_id = step * index + 1
        server.receive(request(stream_id) + frames.rst_stream_frame(stream_id, 8))
    assert server.closed_reason == "ENHANCE_YOUR_CALM: 11 streams reset"


WINDOW_OVERFLOW = frames.LARGEST_WINDOW_BYTES
MADE_YOU_RESET = {
    "window past its end": lambda i: request(i) + frames.window_update_frame(i, WINDOW_OVERFLOW),
    "DATA behind the end": lambda i: request(i) + data(i, b"x"),
    "HEADERS behind the end": lambda i: request(i) + headers(i, request_fields(), end=True),
    "malformed headers": lambda i: headers(i, [*request_fields(), ("Upper", "x")], end=True),
    "another length than said": lambda i: request(
        i, fields=[*request_fields(), ("content-length", "4")]
    ),
    "trailers with a path": lambda i: (
        headers(i, request_fields()) + headers(i, request_fields(), end=True)
    ),
    "trailers that end nothing": lambda i: headers(i, request_fields()) + headers(i, [("x", "y")]),
}


@pytest.mark.parametrize("name", MADE_YOU_RESET)
def test_streams_that_the_client_makes_us_reset_are_counted(name: str) -> None:
    server = ready_server(max_resets=10)
    for index in range(40):
        server.receive(MADE_YOU_RESET[name](2 * index + 1))
        assert server.open_count == 0
    assert server.closed_reason == "ENHANCE_YOUR_CALM: 11 streams reset"


def test_streams_past_the_limit_are_counted_as_resets() -> None:
    server = ready_server(max_resets=10, max_concurrent_streams=1)
    server.receive(b"".join(request(2 * index + 1) for index in range(40)))
    assert server.closed_reason == "ENHANCE_YOUR_CALM: 11 streams reset"


def test_frames_on_a_stream_that_was_answered_are_refused_once() -> None:
    server = ready_server()
    server.receive(request(1))
    server.respond(1, PREFIXED)
    output(server)
    assert server.receive(data(1, b"late")) == []
    assert resets(output(server)) == {1: STREAM_CLOSED}
    assert server.receive(data(1, b"late") + headers(1, [("x", "y")], end=True)) == []
    assert not server.has_output
    assert server.closed_reason == ""


def test_frames_on_their_way_to_a_stream_that_we_ended_are_no_fault() -> None:
    server = ready_server(streaming_paths=[STREAM_PATH.encode()])
    server.receive(headers(1, request_fields(path=STREAM_PATH)))
    server.finish(1, 5, "no such model")
    output(server)
    assert server.receive(data(1, PREFIXED) + data(1, PREFIXED, end=True)) == []
    assert not server.has_output


@pytest.mark.parametrize("length", [len(PREFIXED), 0, None])
def test_a_content_length_must_be_true(length: int | None) -> None:
    server = ready_server()
    said = [] if length is None else [("content-length", str(length))]
    for stream_id in (1, 3):
        events = server.receive(request(stream_id, fields=[*request_fields(), *said]))
        assert len(events) == (length != 0)
        assert resets(output(server)) == ({stream_id: PROTOCOL_ERROR} if length == 0 else {})


def test_a_content_length_that_is_no_number_is_malformed() -> None:
    server = ready_server()
    assert server.receive(request(1, fields=[*request_fields(), ("content-length", "x")])) == []
    assert resets(output(server)) == {1: PROTOCOL_ERROR}


def test_too_many_headers_fail_their_call_alone() -> None:
    server = ready_server()
    server.receive(request(1))
    large = [*request_fields(), ("x", "y~" * 15_000)]
    assert server.receive(headers(3, large) + data(3, PREFIXED, end=True) + request(5))[0][1] == 5
    status, code, text = statuses(output(server))[3]
    assert (status, code) == (200, RESOURCE_EXHAUSTED)
    assert "over the limit of 16384" in text
    assert server.open_count == 2


def test_resets_are_forgiven_to_a_client_that_gets_answers() -> None:
    server = ready_server(max_resets=10)
    for index in range(200):
        stream_id = 4 * index + 1
        server.receive(request(stream_id) + request(stream_id + 2))
        server.respond(stream_id, frame_message(b"a"))
        server.receive(frames.rst_stream_frame(stream_id + 2, 8))
    assert server.closed_reason == ""


def test_unfinished_messages_of_a_connection_are_bounded() -> None:
    server = ready_server(max_held_bytes=1_000)
    for stream_id in (1, 3, 5):
        server.receive(headers(stream_id, request_fields()))
        server.receive(data(stream_id, frame_message(bytes(600))[:400]))
    assert statuses(output(server))[5][1] == 8
    assert server._held_total == 800
    for stream_id in (1, 3):
        assert len(server.receive(data(stream_id, bytes(205), end=True))) == 1
    assert server._held_total == 0


def test_requests_after_goaway_is_final_are_refused() -> None:
    server = ready_server()
    server.receive(request(1))
    server.goaway()
    server.goaway()
    ping = next(f for f in read_frames(output(server)) if f[0] == frames.PING)
    server.receive(request(3) + frames.frame(frames.PING, frames.ACK, 0, ping[3]) + request(5))
    sent = output(server)
    assert goaways(sent) == [(3, NO_ERROR, "")]
    assert resets(sent) == {5: REFUSED_STREAM}
    server.finish(1)
    server.finish(3)
    assert server.is_drained


BROKEN = {
    "even stream": (request(2), PROTOCOL_ERROR, "stream 2 is even"),
    "idle DATA": (data(9, b"x"), PROTOCOL_ERROR, "idle stream 9"),
    "idle reset": (frames.rst_stream_frame(9, 8), PROTOCOL_ERROR, "idle stream 9"),
    "idle window": (frames.window_update_frame(9, 8), PROTOCOL_ERROR, "idle stream 9"),
    "huge header block": (
        headers(1, [*request_fields(), ("x", "y~" * 70_000)]),
        ENHANCE_YOUR_CALM,
        "header block of",
    ),
    "huge header list": (
        headers(1, request_fields()) + headers(3, [*request_fields(), *[("x", "")] * 5_000]),
        ENHANCE_YOUR_CALM,
        "headers of more than 131072 bytes",
    ),
    "endless CONTINUATION": (
        frames.frame(frames.HEADERS, 0, 1, b"")
        + frames.frame(frames.CONTINUATION, 0, 1, bytes(90_000)) * 2,
        ENHANCE_YOUR_CALM,
        "header block of 180000 bytes",
    ),
    "priority of stream 0": (
        frames.frame(frames.PRIORITY, 0, 0, bytes(5)),
        PROTOCOL_ERROR,
        "on stream 0",
    ),
    "stream that depends on itself": (
        frames.frame(frames.PRIORITY, 0, 7, b"\0\0\0\7\1"),
        PROTOCOL_ERROR,
        "stream 7 depends on itself",
    ),
    "headers that depend on their stream": (
        frames.frame(
            frames.HEADERS,
            frames.END_HEADERS | frames.HAS_PRIORITY,
            3,
            b"\x80\0\0\3\1" + encode_block(request_fields()),
        ),
        PROTOCOL_ERROR,
        "stream 3 depends on itself",
    ),
    "empty CONTINUATION": (
        frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, b""),
        ENHANCE_YOUR_CALM,
        "empty CONTINUATION",
    ),
    "frame too large": (frames.frame(0, 0, 1, bytes(2_000_000)), FRAME_SIZE_ERROR, "2000000"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_ends_the_connection(name: str) -> None:
    content, code, said = BROKEN[name]
    server = ready_server()
    server.receive(request(1) if name in ("idle DATA", "even stream") else b"")
    events = server.receive(content)
    assert events[-1][0] == CLOSED
    assert said in events[-1][1]
    assert server.closed_reason == events[-1][1]
    assert goaways(output(server))[-1][1] == code
    assert not server.respond(1, PREFIXED)


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"]
)
def test_client_that_speaks_something_else_is_told(first: bytes) -> None:
    server = ServerConnection()
    server.start()
    assert "does not speak HTTP/2" in server.receive(first)[-1][1]


def test_preface_may_come_byte_by_byte() -> None:
    server = ServerConnection()
    server.start()
    content = frames.PREFACE + frames.settings_frame({}) + request(1)
    events = [event for byte in content for event in server.receive(bytes([byte]))]
    assert brief(events)[0][:2] == (REQUEST, 1)


def test_settings_must_follow_the_preface() -> None:
    server = ServerConnection()
    server.start()
    assert "not SETTINGS" in server.receive(frames.PREFACE + request(1))[-1][1]


@pytest.mark.parametrize("bit", [1, 4, 32, 128])
def test_nearly_usual_requests_mean_the_same_on_both_paths(bit: int) -> None:
    for position in range(len(request(3))):
        content = bytearray(request(3))
        content[position] ^= bit
        found = []
        for is_fast in (True, False):
            server = ready_server() if is_fast else ready_server(SlowServer)
            server.receive(request(1))
            found.append((server.receive(bytes(content)), output(server)))
        assert found[0] == found[1], position


def headed_then_data(stream_ids: list[int], between: bytes = b"") -> bytes:
    """As nghttp2 sends requests: all HEADERS, then all DATA."""
    first = b"".join(headers(stream_id, request_fields()) for stream_id in stream_ids)
    return first + between + b"".join(data(i, PREFIXED, end=True) for i in stream_ids)


def test_requests_whose_headers_and_data_lie_apart_are_told() -> None:
    server = ready_server()
    for turn in range(3):
        ids = [6 * turn + 1, 6 * turn + 3, 6 * turn + 5]
        between = frames.window_update_frame(ids[1], 5) + frames.window_update_frame(0, 5)
        events = server.receive(headed_then_data(ids, between))
        assert [(event[1], event[3]) for event in events] == [(i, b"question") for i in ids]
        for stream_id in ids:
            assert server.respond(stream_id, frame_message(b"a"))
    assert server.open_count == 0
    assert server._send.offsets == {}


def test_headers_alone_are_open_and_may_be_reset_or_refused() -> None:
    server = ready_server(max_concurrent_streams=3)
    server.receive(request(1))
    server.finish(1)
    assert (
        server.receive(headed_then_data([3, 5, 7, 9])[: 4 * len(headers(3, request_fields()))])
        == []
    )
    assert server.open_count == 3
    assert resets(output(server)) == {9: REFUSED_STREAM}
    assert not server.respond(3, PREFIXED)
    assert server.receive(frames.rst_stream_frame(3, 8)) == []
    assert server.receive(data(5, b"\1\0\0\0\1a")) == []
    assert statuses(output(server))[5][1] == 12
    assert server.receive(data(7, PREFIXED[:6])) == []
    assert brief(server.receive(data(7, PREFIXED[6:], end=True)))[0][:2] == (REQUEST, 7)
    assert server.open_count == 1
    server.receive(headers(11, request_fields()))
    assert server.eof()[0] == (CANCELLED, 7)
    assert server.open_count == 0


@pytest.mark.parametrize("bit", [1, 4, 32, 128])
def test_nearly_plain_requests_mean_the_same_on_both_paths(bit: int) -> None:
    for position in range(len(headed_then_data([3, 5]))):
        content = bytearray(headed_then_data([3, 5]))
        content[position] ^= bit
        found = []
        for is_fast in (True, False):
            server = ready_server() if is_fast else ready_server(SlowServer)
            server.receive(request(1))
            found.append((server.receive(bytes(content)), output(server)))
        assert found[0] == found[1], position


def test_stream_ids_must_rise() -> None:
    server = ready_server()
    events = server.receive(request(1) + request(5) + request(3) + request(7))
    assert [event[1] for event in events] == [1, 5, 7]


def test_two_methods_in_turn_are_never_mixed_up() -> None:
    server = ready_server()
    for index in range(40):
        path = f"/s/M{index % 3}"
        event = server.receive(request(2 * index + 1, fields=request_fields(path=path)))[0]
        assert event[2] == path.encode()


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_the_server(pieces: list[bytes], framed: bool) -> None:
    server = ready_server(streaming_paths=[STREAM_PATH.encode()])
    events = server.receive(request(1) + headers(3, request_fields(path=STREAM_PATH)))
    for piece in pieces:
        if framed and len(piece) > 2:
            piece = frames.frame(piece[0] % 11, piece[1], 1 + 2 * (piece[2] % 4), piece[3:])
        events += server.receive(piece)
    events += server.eof()
    assert events[-1][0] == CLOSED
    assert server.open_count == 0


def test_block_of_a_size_update_alone_is_read_each_time() -> None:
    server = ready_server()
    block = b"\x20" + encode_block(request_fields())
    for stream_id in (1, 3):
        content = frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
        assert len(server.receive(content + data(stream_id, PREFIXED, end=True))) == 1

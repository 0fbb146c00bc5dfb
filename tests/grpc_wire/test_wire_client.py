"""The client half against a server played by hand, good and bad."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.client import CLOSED, DONE, MESSAGE, REFUSED, ROOM, ClientConnection
from grpc_wire.errors import (
    CANCEL,
    FLOW_CONTROL_ERROR,
    REFUSED_STREAM,
    UNAVAILABLE,
)
from grpc_wire.headers import encode_block
from grpc_wire.messages import frame_message
from wire_pair import (
    ANSWER_FIELDS,
    HEADERS,
    answer,
    data,
    headers,
    opened,
    output,
    read_frames,
    ready_client,
    resets,
)

OK = [("grpc-status", "0")]
TEXT = [("content-type", "text/html")]


def settled(content: bytes, **options: bool) -> tuple[tuple, dict[int, int]]:
    """Open one call, give it these bytes; return its last event and the streams it reset."""
    client = ready_client()
    opened(client, **options)
    events = client.receive(content)
    assert client.closed_reason == ""
    assert not client.open_count
    return events[-1], resets(output(client))


def test_start_announces_no_table_no_push_and_large_windows() -> None:
    client = ClientConnection()
    client.start()
    content = output(client)
    assert content.startswith(frames.PREFACE)
    (kind, _, _, payload), update = read_frames(content[len(frames.PREFACE) :])
    assert kind == frames.SETTINGS
    announced = frames.read_settings(payload)
    assert announced[frames.HEADER_TABLE_SIZE] == 0
    assert announced[frames.ENABLE_PUSH] == 0
    assert announced[frames.INITIAL_WINDOW_SIZE] >= 64 << 20
    assert update[0] == frames.WINDOW_UPDATE


ANSWERS = {
    "trailers only": (headers(1, [*ANSWER_FIELDS, ("grpc-status", "5")], end=True), 5, ""),
    "trailers only with text": (
        headers(1, [*ANSWER_FIELDS, ("grpc-status", "3"), ("grpc-message", "a%20b%")], end=True),
        3,
        "a b%",
    ),
    "OK without a message": (
        headers(1, [*ANSWER_FIELDS, *OK], end=True),
        13,
        "status OK without a message",
    ),
    "no status at all": (headers(1, ANSWER_FIELDS, end=True), 2, "answer without grpc-status"),
    "trailers without status": (
        headers(1, ANSWER_FIELDS) + data(1, frame_message(b"a")) + headers(1, [], end=True),
        2,
        "trailers without grpc-status",
    ),
    "error after a message": (answer(1, code=9), 9, ""),
    "half a message": (
        headers(1, ANSWER_FIELDS) + data(1, b"\0\0\0\0\5ab") + headers(1, OK, end=True),
        13,
        "the answer ends within a message",
    ),
    "HTTP 503, ended": (headers(1, [(":status", "503"), *TEXT], end=True), 14, "HTTP status 503"),
    "HTTP 404 with grpc-status": (
        headers(1, [(":status", "404"), ("grpc-status", "7")], end=True),
        7,
        "",
    ),
    "DATA ends the stream": (
        headers(1, ANSWER_FIELDS) + data(1, frame_message(b"a"), end=True),
        13,
        "the answer has no trailers",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_that_ends_badly_settles_the_call(name: str) -> None:
    content, code, text = ANSWERS[name]
    assert settled(content) == ((DONE, 0, code, None, text), {})


ABORTED = {
    "HTTP 502 with a page": (headers(1, [(":status", "502"), *TEXT]), 14, "HTTP status 502", 8),
    "HTTP 200 with a page": (
        headers(1, [(":status", "200"), *TEXT]),
        2,
        "content-type 'text/html' is not application/grpc",
        8,
    ),
    "no :status": (headers(1, [("a", "b")]), 13, "answer without a final :status", 1),
    "DATA first": (data(1, frame_message(b"a")), 13, "DATA before HEADERS", 1),
    "two messages": (
        headers(1, ANSWER_FIELDS) + data(1, frame_message(b"a") * 2),
        13,
        "more than one message answers a unary call",
        8,
    ),
    "two messages in two frames": (
        headers(1, ANSWER_FIELDS) + data(1, frame_message(b"a")) * 2,
        13,
        "more than one message answers a unary call",
        8,
    ),
    "compressed": (
        headers(1, ANSWER_FIELDS) + data(1, b"\1\0\0\0\1a"),
        13,
        "message is compressed; no compression was offered",
        8,
    ),
    "trailers that do not end": (
        headers(1, ANSWER_FIELDS) + headers(1, OK),
        13,
        "trailers without END_STREAM",
        1,
    ),
    "upper case header": (
        headers(1, [*ANSWER_FIELDS, ("Bad", "x")]),
        13,
        "header name b'Bad'",
        1,
    ),
}


@pytest.mark.parametrize("name", ABORTED)
def test_unacceptable_answer_resets_the_stream_and_settles_the_call(name: str) -> None:
    content, code, text, reset = ABORTED[name]
    if name == "upper case header":
        content = content.replace(encode_block([("bad", "x")]), encode_block([("Bad", "x")]))
    assert settled(content) == ((DONE, 0, code, None, text), {1: reset})


def test_what_follows_an_aborted_call_is_ignored() -> None:
    client = ready_client()
    opened(client, 2)
    content = ABORTED["compressed"][0] + data(1, b"more") + headers(1, OK, end=True) + answer(3)
    assert [event[1:3] for event in client.receive(content)] == [(0, 13), (1, 0)]


def test_message_over_the_limit_is_refused() -> None:
    client = ready_client(max_message_bytes=10)
    opened(client)
    event = client.receive(headers(1, ANSWER_FIELDS) + data(1, frame_message(bytes(11))))[0]
    assert event == (DONE, 0, 8, None, "message of 11 bytes is over the limit of 10")
    assert resets(output(client)) == {1: CANCEL}


def test_interim_answers_are_passed_over() -> None:
    assert settled(headers(1, [(":status", "103")]) + answer(1))[0] == (DONE, 0, 0, b"answer", "")


def test_padding_and_priority_are_taken_off() -> None:
    block = b"\4" + b"\0\0\0\0\x10" + encode_block(ANSWER_FIELDS) + bytes(4)
    flags = frames.PADDED | frames.HAS_PRIORITY | frames.END_HEADERS
    content = frames.frame(frames.HEADERS, flags, 1, block)
    padded = b"\3" + frame_message(b"answer") + bytes(3)
    content += frames.frame(frames.DATA, frames.PADDED, 1, padded)
    assert settled(content + headers(1, OK, end=True))[0] == (DONE, 0, 0, b"answer", "")


def test_header_block_may_come_in_pieces() -> None:
    block = encode_block([*ANSWER_FIELDS, ("grpc-status", "5"), ("x", "y" * 100)])
    for cut in (0, 1, 50):
        content = frames.frame(frames.HEADERS, frames.END_STREAM, 1, block[:cut])
        content += frames.frame(frames.CONTINUATION, 0, 1, block[cut : cut + 9])
        content += frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[cut + 9 :])
        assert settled(content)[0] == (DONE, 0, 5, None, "")


def test_streaming_answer_and_its_error_after_messages() -> None:
    client = ready_client()
    opened(client, streaming=True)
    content = headers(1, ANSWER_FIELDS) + data(1, frame_message(b"a") + frame_message(b"b"))
    content += headers(1, [("grpc-status", "13"), ("grpc-message", "gone")], end=True)
    assert client.receive(content) == [
        (MESSAGE, 0, b"a"),
        (MESSAGE, 0, b"b"),
        (DONE, 0, 13, None, "gone"),
    ]


@pytest.mark.parametrize(
    ("code", "grpc_code", "name"),
    [
        (0, 13, "NO_ERROR"),
        (8, 1, "CANCEL"),
        (11, 8, "ENHANCE_YOUR_CALM"),
        (77, 2, "0x4d"),
    ],
)
def test_reset_stream_settles_its_call(code: int, grpc_code: int, name: str) -> None:
    event, sent = settled(frames.rst_stream_frame(1, code))
    assert event == (DONE, 0, grpc_code, None, f"stream reset by the peer: {name}")
    assert sent == {}


def test_a_refused_stream_is_told_and_no_call_is_opened_until_another_ends() -> None:
    client = ready_client()
    opened(client, 3)
    events = client.receive(frames.rst_stream_frame(3, REFUSED_STREAM))
    assert events == [(REFUSED, 1, "stream reset by the peer: REFUSED_STREAM")]
    assert client.open_count == 2
    assert client.room == 0
    assert not client.call(1, HEADERS, frame_message(b"again"))
    done, room = client.receive(answer(1))
    assert (done[:3], room) == ((DONE, 0, 0), (ROOM,))
    assert client.call(1, HEADERS, frame_message(b"again"))


def test_the_only_call_that_is_refused_may_be_made_again_at_once() -> None:
    client = ready_client()
    opened(client)
    assert client.receive(frames.rst_stream_frame(1, REFUSED_STREAM))[0][0] == REFUSED
    assert client.room > 0


def test_a_stream_that_is_refused_after_its_headers_was_processed() -> None:
    client = ready_client()
    opened(client)
    client.receive(headers(1, ANSWER_FIELDS))
    event = client.receive(frames.rst_stream_frame(1, REFUSED_STREAM))[0]
    assert event[:3] == (DONE, 0, UNAVAILABLE)


def test_reset_after_the_answer_is_nothing() -> None:
    client = ready_client()
    opened(client)
    assert len(client.receive(answer(1) + frames.rst_stream_frame(1, 0))) == 1


def test_goaway_refuses_later_calls_and_keeps_earlier_ones() -> None:
    client = ready_client()
    opened(client, 4)
    events = client.receive(frames.goaway_frame(3, 11, "too_many_pings"))
    text = "refused by GOAWAY ENHANCE_YOUR_CALM (too_many_pings): not processed"
    assert events == [(REFUSED, 2, text), (REFUSED, 3, text)]
    assert client.is_draining
    assert client.room == 0
    assert client.open_count == 2
    assert [event[:3] for event in client.receive(answer(1) + answer(3))] == [
        (DONE, 0, 0),
        (DONE, 1, 0),
    ]
    assert client.eof() == [
        (
            CLOSED,
            "connection closed by the peer after GOAWAY ENHANCE_YOUR_CALM (too_many_pings)",
        )
    ]


def test_goaway_settles_every_open_call() -> None:
    client = ready_client()
    opened(client, 50)
    client.receive(headers(5, ANSWER_FIELDS))  # one of them already answered in part
    events = client.receive(frames.goaway_frame(0, 0))
    assert [event[1] for event in events] == list(range(50))
    assert {event[0] for event in events} == {REFUSED}
    assert not client.open_count


def test_settings_do_not_reopen_a_draining_connection() -> None:
    client = ready_client()
    client.receive(frames.goaway_frame(0, 0))
    client.receive(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 5}))
    assert client.room == 0


def test_settings_and_pings_are_answered() -> None:
    client = ready_client()
    client.receive(frames.settings_frame({}) + frames.frame(frames.PING, 0, 0, b"12345678"))
    assert read_frames(output(client)) == [
        (frames.SETTINGS, frames.ACK, 0, b""),
        (frames.PING, frames.ACK, 0, b"12345678"),
    ]
    client.receive(frames.frame(frames.PING, frames.ACK, 0, b"12345678"))
    assert output(client) == b""


def test_concurrency_limit_follows_the_settings() -> None:
    client = ready_client({frames.MAX_CONCURRENT_STREAMS: 2})
    opened(client, 2)
    assert client.room == 0
    assert client.receive(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 5})) == [(ROOM,)]
    assert client.room == 3
    client.receive(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 1}))
    assert client.room == 0
    client.receive(answer(1))
    assert client.room == 0
    assert client.receive(answer(3))[-1] == (ROOM,)
    client.receive(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 0}))
    assert client.room == 0
    assert not client.call(9, HEADERS, frame_message(b"m"))


def sent_data(content: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for kind, _, stream_id, payload in read_frames(content):
        if kind == frames.DATA:
            found[stream_id] = found.get(stream_id, b"") + payload
    return found


def test_stream_window_may_shrink_below_zero_and_come_back() -> None:
    client = ready_client({frames.INITIAL_WINDOW_SIZE: 100})
    message = frame_message(bytes(295))
    assert client.call(0, HEADERS, message)
    assert len(sent_data(output(client))[1]) == 100
    client.receive(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 40}))  # window: -60
    client.receive(frames.window_update_frame(1, 60))
    assert sent_data(output(client)) == {}
    client.receive(frames.window_update_frame(1, 1))
    assert len(sent_data(output(client))[1]) == 1
    client.receive(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 1_000}))
    assert len(sent_data(output(client))[1]) == 199
    assert client.blocked_bytes == 0


def test_zero_stream_window_holds_a_call_back_but_not_the_others() -> None:
    client = ready_client({frames.INITIAL_WINDOW_SIZE: 0})
    for key in range(2):
        assert client.call(key, HEADERS, frame_message(b"abc"))
    assert sent_data(output(client)) == {}
    assert client.blocked_bytes == 16
    client.receive(frames.window_update_frame(3, 8))
    assert sent_data(output(client)) == {3: frame_message(b"abc")}


def test_full_connection_window_means_no_room() -> None:
    client = ready_client({frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 1 << 20})
    assert client.call(0, HEADERS, frame_message(bytes(70_000)))
    assert client.room == 0
    assert not client.call(1, HEADERS, frame_message(b"m"))
    assert client.blocked_bytes == 70_005 - 65_535
    output(client)
    assert client.receive(frames.window_update_frame(0, 10_000)) == [(ROOM,)]
    assert client.blocked_bytes == 0
    assert client.call(1, HEADERS, frame_message(b"m"))


def test_answer_before_the_request_is_sent_ends_the_sending() -> None:
    client = ready_client()
    client.call(0, HEADERS, frame_message(bytes(200_000)))
    output(client)
    trailers = headers(1, [*ANSWER_FIELDS, ("grpc-status", "8")], end=True)
    assert client.receive(trailers)[0] == (DONE, 0, 8, None, "")
    assert client.blocked_bytes == 0
    assert resets(output(client)) == {1: CANCEL}


def test_cancelled_call_sends_no_more() -> None:
    client = ready_client()
    client.call(0, HEADERS, frame_message(bytes(200_000)))
    output(client)
    client.cancel(0)
    assert client.blocked_bytes == 0
    client.receive(frames.window_update_frame(0, 1_000_000) + frames.window_update_frame(1, 9))
    assert sent_data(output(client)) == {}


def test_stream_window_is_given_back_to_a_long_stream() -> None:
    client = ready_client(max_message_bytes=1_000)
    opened(client, streaming=True)
    client.receive(headers(1, ANSWER_FIELDS))
    window = client._stream_window
    given = 0
    for _ in range(200):
        client.receive(data(1, frame_message(bytes(995))))
        for kind, _, stream_id, payload in read_frames(output(client)):
            if kind == frames.WINDOW_UPDATE and stream_id == 1:
                given += int.from_bytes(payload, "big")
    assert 200_000 - window <= given <= 200_000


def test_overrun_stream_window_aborts_the_call() -> None:
    client = ready_client(max_message_bytes=1_000)
    client._stream_window = 500
    opened(client, streaming=True)
    content = headers(1, ANSWER_FIELDS) + data(1, frame_message(bytes(600)))
    assert client.receive(content)[0][:3] == (DONE, 0, 13)
    assert resets(output(client)) == {1: FLOW_CONTROL_ERROR}

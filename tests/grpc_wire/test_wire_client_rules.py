"""What ends the client's connection: rules broken by a server, and bytes of no meaning."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.client import CLOSED, DONE, ClientConnection
from grpc_wire.errors import (
    COMPRESSION_ERROR,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import answer, goaways, opened, output, ready_client

BROKEN = {
    "HTTP/1": (b"HTTP/1.1 400 Bad Request\r\n", PROTOCOL_ERROR, "speaks HTTP/1"),
    "no SETTINGS first": (frames.frame(frames.PING, 0, 0, bytes(8)), PROTOCOL_ERROR, "first frame"),
    "frame too large": (frames.frame(0, 0, 1, bytes(20_000)), FRAME_SIZE_ERROR, "20000 bytes"),
    "answer never asked for": (answer(9), PROTOCOL_ERROR, "stream 9, which was never opened"),
    "even stream": (answer(2), PROTOCOL_ERROR, "stream 2"),
    "stream 0": (answer(0), PROTOCOL_ERROR, "on stream 0"),
    "push": (frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), PROTOCOL_ERROR, "PUSH_PROMISE"),
    "window update of 0": (frames.window_update_frame(0, 0), PROTOCOL_ERROR, "WINDOW_UPDATE of 0"),
    "window above 2^31": (
        frames.window_update_frame(0, frames.LARGEST_WINDOW_BYTES),
        FLOW_CONTROL_ERROR,
        "above 2^31-1",
    ),
    "idle window update": (frames.window_update_frame(77, 5), PROTOCOL_ERROR, "idle stream 77"),
    "short PING": (frames.frame(frames.PING, 0, 0, b"1"), FRAME_SIZE_ERROR, "PING of 1"),
    "PING on a stream": (frames.frame(frames.PING, 0, 1, bytes(8)), PROTOCOL_ERROR, "stream 1"),
    "odd SETTINGS": (frames.frame(frames.SETTINGS, 0, 0, b"1"), FRAME_SIZE_ERROR, "SETTINGS of 1"),
    "SETTINGS ack with content": (
        frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
        FRAME_SIZE_ERROR,
        "acknowledgement",
    ),
    "initial window above 2^31": (
        frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 1 << 31}),
        FLOW_CONTROL_ERROR,
        "INITIAL_WINDOW_SIZE",
    ),
    "small frames": (
        frames.settings_frame({frames.MAX_FRAME_SIZE: 100}),
        PROTOCOL_ERROR,
        "MAX_FRAME_SIZE is 100",
    ),
    "push setting": (
        frames.settings_frame({frames.ENABLE_PUSH: 2}),
        PROTOCOL_ERROR,
        "ENABLE_PUSH is 2",
    ),
    "short GOAWAY": (frames.frame(frames.GOAWAY, 0, 0, b"123"), FRAME_SIZE_ERROR, "GOAWAY of 3"),
    "short RST_STREAM": (frames.frame(frames.RST_STREAM, 0, 1, b"1"), FRAME_SIZE_ERROR, "RST"),
    "PRIORITY of 4": (frames.frame(frames.PRIORITY, 0, 1, b"1234"), FRAME_SIZE_ERROR, "PRIORITY"),
    "lonely CONTINUATION": (
        frames.frame(frames.CONTINUATION, 4, 1, b""),
        PROTOCOL_ERROR,
        "without its HEADERS",
    ),
    "interrupted block": (
        frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.PING, 0, 0, bytes(8)),
        PROTOCOL_ERROR,
        "interrupted",
    ),
    "padding longer than its frame": (
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"),
        PROTOCOL_ERROR,
        "padding",
    ),
    "padded and empty": (frames.frame(frames.DATA, frames.PADDED, 1), FRAME_SIZE_ERROR, "pad"),
    "no header block": (
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"),
        COMPRESSION_ERROR,
        "header block",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_ends_the_connection_after_settling_every_call(name: str) -> None:
    content, code, said = BROKEN[name]
    client = ready_client()
    calls = 0 if name in ("HTTP/1", "no SETTINGS first") else 2
    if calls:
        opened(client, calls)
    else:
        client = ClientConnection()
        client.start()
        client.take_output()
    *done, closed = client.receive(content)
    assert closed[0] == CLOSED
    assert said in closed[1]
    assert [event[:3] for event in done] == [(DONE, 0, 255), (DONE, 1, 255)][:calls]
    assert not client.open_count
    assert client.closed_reason == closed[1]
    (last, sent_code, text) = goaways(output(client))[-1]
    assert (last, sent_code) == (0, code)
    assert said in text
    assert client.receive(content) == []


def test_unknown_frames_and_settings_are_ignored() -> None:
    client = ready_client()
    opened(client)
    content = frames.frame(99, 255, 1, b"abc") + frames.frame(frames.PRIORITY, 0, 1, b"12345")
    content += frames.settings_frame({4242: 1}) + answer(1)
    assert client.receive(content) == [(DONE, 0, 0, b"answer", "")]


@pytest.mark.parametrize("bit", [1, 4, 32, 128])
@pytest.mark.parametrize("tail", [b"", answer(7), answer(7)[:-1]], ids=["end", "one", "part"])
def test_nearly_usual_answers_mean_the_same_on_both_paths(bit: int, tail: bytes) -> None:
    for position in range(len(answer(5))):
        altered = bytearray(answer(5))
        altered[position] ^= bit
        content = answer(3) + altered + tail
        found = []
        for is_fast in (True, False):
            client = ready_client()
            opened(client, 4)
            client.receive(answer(1))
            if not is_fast:
                client._calls.heads.clear()
                client._calls.tails.clear()
            found.append((client.receive(bytes(content)), output(client)))
        assert found[0] == found[1], position


@given(st.binary(max_size=120), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_the_client(content: bytes, framed: bool) -> None:
    client = ready_client()
    opened(client, 2)
    if framed and len(content) > 2:
        content = frames.frame(content[0] % 11, content[1], 1 + 2 * (content[2] % 2), content[3:])
    events = client.receive(content)
    events += client.eof()
    assert sorted(event[1] for event in events if event[0] == DONE) == [0, 1]
    assert events[-1][0] == CLOSED

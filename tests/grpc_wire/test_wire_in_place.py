"""Large DATA frames read into memory that the wire names, against ``receive`` of the same bytes."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.compression import compressed_message
from grpc_wire.events import CANCELLED, CLOSED, REQUEST
from grpc_wire.limits import IN_PLACE_BYTES_MIN
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
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

LARGE = IN_PLACE_BYTES_MIN + 30_000


class Shell:
    """Reads ``read_bytes`` at a time into where the wire says, or into its own memory."""

    def __init__(self, server: ServerConnection, read_bytes: int = 10_000) -> None:
        self.server = server
        self.read_bytes = read_bytes
        self.places: list[bytearray] = []

    def allocate(self, size: int) -> memoryview:
        self.places.append(bytearray(b"\xee" * size))
        return memoryview(self.places[-1])

    def read(self, content: bytes, leave: int = 0) -> list:
        """Events of ``content``. Of every ``leave`` reads in place one goes the other way."""
        events: list = []
        turn = 0
        while content:
            place = self.server.frame_buffer(self.allocate)
            turn += 1
            if place is None or (leave and turn % leave == 0):
                count = min(self.read_bytes, len(content))
                events += self.server.receive(content[:count])
            else:
                count = min(self.read_bytes, len(content), len(place))
                place[:count] = content[:count]
                events += self.server.frame_filled(count)
            content = content[count:]
        return events


def plain(events: list) -> list:
    """With messages as bytes."""
    return [
        tuple(bytes(part) if isinstance(part, memoryview) else part for part in event)
        for event in events
    ]


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 9, 30_000, LARGE, 200_000]), min_size=1, max_size=6),
    read_bytes=st.integers(3_000, 120_000),
    leave=st.integers(0, 4),
)
def test_events_are_those_of_receive_however_the_bytes_come(
    sizes: list[int], read_bytes: int, leave: int
) -> None:
    content = b"".join(
        request(2 * index + 1, bytes([index]) * size) for index, size in enumerate(sizes)
    )
    expected = ready_server().receive(content)
    assert plain(Shell(ready_server(), read_bytes).read(content, leave)) == expected
    assert len(expected) == len(sizes)


def test_the_message_is_a_view_of_the_memory_that_was_read_into_and_cannot_be_written() -> None:
    shell = Shell(ready_server())
    message = bytes(range(256)) * 400
    ((kind, stream_id, _, found, _),) = shell.read(request(1, message))
    assert (kind, stream_id, bytes(found)) == (REQUEST, 1, message)
    (place,) = shell.places
    assert isinstance(found, memoryview)
    assert found.readonly
    assert found.obj is place


def test_each_large_message_has_memory_of_its_own() -> None:
    shell = Shell(ready_server())
    events = shell.read(b"".join(request(one, bytes([one]) * LARGE) for one in (1, 3, 5)))
    assert [bytes(event[3][:2]) for event in events] == [b"\1\1", b"\3\3", b"\5\5"]
    assert len(shell.places) == 3


def test_only_the_missing_end_of_a_large_data_frame_is_read_in_place() -> None:
    shell = Shell(ready_server())
    assert shell.server.frame_buffer(shell.allocate) is None
    whole = request(1, bytes(LARGE))
    head_bytes = len(whole) - LARGE - 5
    shell.server.receive(whole[: head_bytes - 1])  # the frame's header is not whole
    assert shell.server.frame_buffer(shell.allocate) is None
    shell.server.receive(whole[head_bytes - 1 : head_bytes])
    place = shell.server.frame_buffer(shell.allocate)
    assert place is not None
    assert len(place) == LARGE + 5
    assert len(shell.server.frame_buffer(shell.allocate) or b"") == LARGE + 5  # asked again
    assert len(shell.places) == 1
    short = Shell(ready_server(), 6_000)
    assert len(short.read(request(1, bytes(IN_PLACE_BYTES_MIN)))) == 1
    assert not short.places


@pytest.mark.parametrize(
    "begun",
    [
        frames.FRAME_HEADER.pack(900_000 << 8 | frames.HEADERS, 0, 1),
        headers(1, request_fields(), flags=0)[:4]  # a block that is to go on, then DATA
        + b"\0"
        + headers(1, request_fields())[5:]
        + frames.FRAME_HEADER.pack(900_000 << 8 | frames.DATA, 0, 1),
    ],
)
def test_other_frames_and_data_that_may_not_come_now_are_not_read_in_place(begun: bytes) -> None:
    server = ready_server()
    assert server.receive(begun) == []
    assert server.frame_buffer(memoryview) is None  # type: ignore[arg-type]
    assert server.is_unfinished


def test_data_before_settings_is_not_read_in_place() -> None:
    server = ServerConnection()
    server.receive(frames.PREFACE + frames.FRAME_HEADER.pack(900_000 << 8 | frames.DATA, 0, 1))
    assert server.frame_buffer(memoryview) is None  # type: ignore[arg-type]


def test_messages_of_several_frames_and_padding_are_joined() -> None:
    message = bytes(range(250)) * 1_000
    content = frame_message(message)
    sent = (
        headers(1, request_fields())
        + data(1, content[:100_000])
        + frames.frame(frames.DATA, frames.PADDED, 1, b"\7" + content[100_000:200_000] + bytes(7))
        + data(1, content[200_000:], end=True)
    )
    shell = Shell(ready_server())
    ((kind, _, _, found, _),) = shell.read(sent)
    assert (kind, bytes(found)) == (REQUEST, message)
    assert len(shell.places) == 2


def test_gzip_is_inflated_from_there_and_answered_by_gzip() -> None:
    message = bytes(range(256)) * 20
    fields = [
        *request_fields(),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "identity,gzip"),
    ]
    packed = compressed_message(frame_message(message))
    shell = Shell(ready_server(takes_gzip=True))
    plain_large = frame_message(bytes(LARGE))
    events = shell.read(
        headers(1, fields)
        + data(1, packed, end=True)
        + headers(3, fields)
        + data(3, plain_large, end=True)
    )
    assert [bytes(event[3]) for event in events] == [message, bytes(LARGE)]
    assert len(shell.places) == 1
    output(shell.server)
    shell.server.respond(3, frame_message(b"x"))
    (answered,) = [part for kind, _, _, part in read_frames(output(shell.server)) if not kind]
    assert answered == compressed_message(frame_message(b"x"))  # noted: this caller reads it


def test_too_large_a_message_refuses_its_call_and_no_other() -> None:
    shell = Shell(ready_server(max_message_bytes=LARGE))
    events = shell.read(request(1, bytes(LARGE + 1)) + request(3, bytes(LARGE)))
    assert [(event[0], event[1]) for event in events] == [(REQUEST, 3)]
    text = f"message of {LARGE + 1} bytes is over the limit of {LARGE}"
    assert statuses(output(shell.server)) == {1: (200, 8, text)}


def test_data_on_an_idle_stream_ends_the_connection() -> None:
    shell = Shell(ready_server())
    events = shell.read(data(9, bytes(LARGE)))
    assert [event[0] for event in events] == [CLOSED]
    assert goaways(output(shell.server))
    assert shell.server.frame_buffer(shell.allocate) is None


def test_data_of_a_stream_that_has_ended_resets_that_stream_alone() -> None:
    shell = Shell(ready_server())
    events = shell.read(request(1, b"a") + data(1, bytes(LARGE)) + request(3, b"b"))
    assert [(event[0], event[1]) for event in events] == [
        (REQUEST, 1),
        (CANCELLED, 1),
        (REQUEST, 3),
    ]
    assert resets(output(shell.server))


def test_a_connection_that_ends_within_a_frame_forgets_it() -> None:
    shell = Shell(ready_server())
    assert shell.read(request(1, bytes(LARGE))[:-10]) == []
    assert shell.server.is_unfinished
    assert [event[0] for event in shell.server.eof()] == [CLOSED]
    assert shell.server.frame_buffer(shell.allocate) is None

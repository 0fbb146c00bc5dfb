"""Reads that are requests alike, answered as one piece: the same as request by request."""

from __future__ import annotations

import pytest
from grpc_wire import frames
from grpc_wire.alike import ReadyMessage
from grpc_wire.frames import LARGEST_STREAM_ID
from grpc_wire.gzip import GzipServerConnection
from grpc_wire.limits import GROUP_COUNT_MAX
from grpc_wire.messages import frame_message
from grpc_wire.server import REQUEST, ServerConnection
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import PATH, data, headers, output, read_frames, ready_server, request_fields

MESSAGE = b"abc*efg"
OTHER = b"abc-efg"
READY = ReadyMessage(frame_message(b"the answer"), 3, b"*")
ROOM = {frames.INITIAL_WINDOW_SIZE: 1 << 20}


def group(first_id: int, messages: list[bytes], path: str = PATH) -> bytes:
    """All HEADERS, then all DATA."""
    ids = range(first_id, first_id + 2 * len(messages), 2)
    heads = [headers(stream_id, request_fields(path=path)) for stream_id in ids]
    frames_of_data = [
        data(stream_id, frame_message(message), end=True)
        for stream_id, message in zip(ids, messages, strict=True)
    ]
    return b"".join(heads + frames_of_data)


def answer(server: ServerConnection, events: list) -> None:
    for event in events:
        if event[0] == REQUEST:
            server.respond(event[1], READY.message)


def taught(
    kind: type[ServerConnection] = ServerConnection, window_bytes: int = 1 << 30, **options: object
) -> ServerConnection:
    """A server that has answered two such reads, whose last stream is 39."""
    server = ready_server(kind, ROOM, **options)
    if window_bytes:
        server.receive(frames.window_update_frame(0, window_bytes))
    for first_id in (1, 21):
        answer(server, server.receive(group(first_id, [MESSAGE] * 10)))
    output(server)
    return server


def as_one(server: ServerConnection, read: bytes) -> tuple[int, list]:
    """How many were answered as one piece, and what became of the rest."""
    if not server.answer_first(read, PATH.encode(), READY):
        return 0, server.receive(read)
    others, left = server.answer_others(read)
    server.expect_alike()
    return 1 + others, server.receive(left) if left else []


def brief(events: list) -> list:
    """Without metadata, and messages as bytes."""
    return [(*event[:3], bytes(event[3])) if event[0] == REQUEST else event[:3] for event in events]


@pytest.mark.parametrize("count", [2, 3, 16, 64, GROUP_COUNT_MAX])
@pytest.mark.parametrize("first_id", [41, 255, 65_505, LARGEST_STREAM_ID - 2 * GROUP_COUNT_MAX])
def test_the_answers_are_those_of_single_calls(first_id: int, count: int) -> None:
    quick, slow = taught(), taught()
    answered = 0
    for turn in range(3):
        read = group(first_id + turn * 2 * count, [MESSAGE] * count)
        if first_id + (turn + 1) * 2 * count > LARGEST_STREAM_ID:
            break
        count_of_these, events = as_one(quick, read)
        answer(quick, events)
        answered += count_of_these
        answer(slow, slow.receive(read))
        assert output(quick) == output(slow)
        assert quick.open_count == 0
    assert answered  # and where the upper half of the ids changes, one by one


def test_what_was_expected_need_not_come() -> None:
    server = taught()
    server.expect_alike()  # nothing has been answered as one piece yet
    assert as_one(server, group(41, [MESSAGE] * 4))[0] == 4
    assert as_one(server, group(51, [MESSAGE] * 4))[0] == 4  # a stream was left out
    assert as_one(server, group(59, [MESSAGE] * 6))[0] == 6  # more than expected
    assert as_one(server, group(71, [OTHER] * 6))[0] == 0
    assert as_one(server, group(83, [MESSAGE] * 6))[0] == 6
    answered = [found[2] for found in read_frames(output(server)) if found[0] == frames.DATA]
    assert answered == [*range(41, 49, 2), *range(51, 71, 2), *range(83, 95, 2)]


def test_messages_may_differ_where_they_are_not_marked() -> None:
    server = taught()
    read = group(41, [b"abc*%03d" % number for number in range(40)])
    assert as_one(server, read) == (40, [])


def test_the_next_requests_are_taken_as_ever() -> None:
    server = taught()
    assert as_one(server, group(41, [MESSAGE] * 4))[0] == 4
    events = server.receive(group(49, [MESSAGE, OTHER]))
    assert [event[1] for event in events] == [49, 51]
    assert as_one(server, group(53, [MESSAGE] * 9)) == (9, [])


def test_those_behind_the_first_that_are_not_alike_are_received() -> None:
    server = taught()
    count, events = as_one(server, group(41, [MESSAGE, MESSAGE, OTHER]))
    assert count == 1
    assert [(event[1], bytes(event[3])) for event in events] == [(43, MESSAGE), (45, OTHER)]
    answer(server, events)
    assert {found[2] for found in read_frames(output(server))} == {41, 43, 45}


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_read_with_any_byte_changed_means_what_it_means_to_receive(flip: int) -> None:
    good = group(41, [MESSAGE] * 3)
    for at in range(len(good)):
        read = bytearray(good)
        read[at] ^= flip
        check_same(bytes(read))


@settings(deadline=None)
@given(st.integers(2, 6), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_a_read_with_some_bytes_changed_does_too(
    count: int, changes: list[tuple[int, int]]
) -> None:
    read = bytearray(group(41, [MESSAGE] * count))
    for at, byte in changes:
        read[at % len(read)] = byte
    check_same(bytes(read))


def check_same(read: bytes) -> None:
    """One server takes it as one piece where it can, one never."""
    quick, slow = taught(), taught()
    first = quick.answer_first(read, PATH.encode(), READY)
    early = read_frames(output(quick))
    others, left = quick.answer_others(read) if first else (0, read)
    events = quick.receive(left) if left else []
    expected = slow.receive(read)
    requests = [event for event in expected if event[0] == REQUEST]
    if others:
        assert brief(expected) == brief(requests)
        assert {found[2] for found in requests} == {PATH.encode()}
        assert {bytes(found[3])[3:4] for found in requests} == {b"*"}
        assert len(requests) == 1 + others
    elif first:
        assert requests[0][1] == 41
        assert brief(events) == brief([event for event in expected if event[1] != 41])
    else:
        assert brief(events) == brief(expected)
    answer(quick, events)
    answer(slow, expected)
    assert quick.closed_reason == slow.closed_reason
    assert quick.is_unfinished == slow.is_unfinished
    answered_early = early if slow.closed_reason else []  # one by one, they would have got nothing
    assert sorted(early + read_frames(output(quick))) == sorted(
        answered_early + read_frames(output(slow))
    )


def refused(server: ServerConnection, read: bytes | None = None) -> None:
    """The read is nothing that could be answered as one piece, and is not touched."""
    read = group(41, [MESSAGE] * 10) if read is None else read
    assert not server.answer_first(read, PATH.encode(), READY)
    assert not server.has_output


def test_nothing_is_known_before_a_request_was_read() -> None:
    refused(ready_server(settings=ROOM))


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(group(41, [MESSAGE]), id="a single one"),
        pytest.param(group(41, [OTHER] * 10), id="without the mark"),
        pytest.param(group(41, [MESSAGE + b"!"] * 10), id="longer ones"),
        pytest.param(group(41, [MESSAGE] * 10)[:-1], id="an end that is missing"),
        pytest.param(group(41, [MESSAGE] * 10) + b"\0", id="a byte more"),
        pytest.param(group(39, [MESSAGE] * 10), id="a stream that was used"),
        pytest.param(group(42, [MESSAGE] * 10), id="even streams"),
        pytest.param(group(LARGEST_STREAM_ID - 2, [MESSAGE] * 3)[:-40], id="the last streams"),
        pytest.param(group(41, [MESSAGE] * 10, PATH[:-1] + "!"), id="another path"),
        pytest.param(group(41, [MESSAGE] * (GROUP_COUNT_MAX + 1)), id="too many"),
        pytest.param(
            b"".join(group(stream_id, [MESSAGE]) for stream_id in range(41, 61, 2)),
            id="each with its data",
        ),
    ],
)
def test_other_reads_are_left_to_receive(read: bytes) -> None:
    refused(taught(), read)


def test_requests_on_the_path_of_others_are_left_to_receive() -> None:
    assert not taught().answer_first(group(41, [MESSAGE] * 10), b"/another/Path", READY)


def test_a_mark_behind_the_end_of_a_request_is_not_looked_for() -> None:
    far = ReadyMessage(READY.message, len(MESSAGE), b"*")
    assert not taught().answer_first(group(41, [MESSAGE] * 10), PATH.encode(), far)
    last = ReadyMessage(READY.message, len(MESSAGE) - 1, MESSAGE[-1:])
    assert taught().answer_first(group(41, [MESSAGE] * 10), PATH.encode(), last)


def test_a_read_behind_half_a_frame_is_left_to_receive() -> None:
    server = taught()
    server.receive(b"\0\0")
    refused(server)


def test_a_read_within_a_header_block_is_left_to_receive() -> None:
    server = taught()
    server.receive(frames.frame(frames.HEADERS, 0, 41, b"\x88"))
    refused(server, group(43, [MESSAGE] * 10))


def test_a_broken_connection_answers_nothing() -> None:
    server = taught()
    server.receive(frames.frame(frames.PING, 0, 0, b"short"))
    output(server)
    refused(server)


def test_a_drained_connection_answers_nothing_new() -> None:
    server = taught()
    server.goaway()
    output(server)
    server.receive(frames.frame(frames.PING, frames.ACK, 0, b"draining"))
    output(server)
    refused(server)


def test_more_streams_than_are_allowed_are_left_to_receive() -> None:
    refused(taught(max_concurrent_streams=10), group(41, [MESSAGE] * 11))
    assert as_one(taught(max_concurrent_streams=10), group(41, [MESSAGE] * 10))[0] == 10
    server = taught(max_concurrent_streams=10)
    server.receive(group(41, [MESSAGE]))  # open, and not answered
    refused(server, group(43, [MESSAGE] * 10))


def test_answers_that_the_client_has_no_window_for_are_left_to_receive() -> None:
    server = taught(window_bytes=0)
    room = 65_535 // len(READY.message)
    answered = 20
    while answered + 100 <= room:
        assert as_one(server, group(1 + 2 * answered, [MESSAGE] * 100))[0] == 100
        answered += 100
    output(server)
    refused(server, group(1 + 2 * answered, [MESSAGE] * 100))
    left = room - answered
    assert as_one(server, group(1 + 2 * answered, [MESSAGE] * left))[0] == left


def test_an_answer_longer_than_a_streams_window_is_left_to_receive() -> None:
    server = taught()
    small = frames.settings_frame({frames.INITIAL_WINDOW_SIZE: len(READY.message) - 1})
    server.receive(small)
    output(server)
    refused(server)


def test_windows_of_single_streams_are_minded_one_by_one() -> None:
    server = taught()
    server.receive(group(41, [MESSAGE]) + frames.window_update_frame(41, 5))
    output(server)
    refused(server, group(43, [MESSAGE] * 10))


def test_our_own_window_is_refilled_as_ever() -> None:
    quick, slow = taught(max_message_bytes=1 << 20), taught(max_message_bytes=1 << 20)
    long = MESSAGE + bytes(60_000)
    answer(quick, quick.receive(group(41, [long])))
    answer(slow, slow.receive(group(41, [long])))
    for first_id in range(43, 43 + 2 * 10_000, 20):
        read = group(first_id, [long] * 10)
        assert as_one(quick, read)[0] == 10
        answer(slow, slow.receive(read))
    assert sorted(read_frames(output(quick))) == sorted(read_frames(output(slow)))


def test_blocks_that_change_a_header_table_are_forgotten() -> None:
    server = ServerConnection()
    server.start()
    server.receive(frames.PREFACE + frames.settings_frame(ROOM))
    for first_id in (1, 21):
        answer(server, server.receive(group(first_id, [MESSAGE] * 10)))
    output(server)
    block = Encoder().encode([*request_fields(), ("indexed", "field")])
    server.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 41, block))
    output(server)
    refused(server, group(43, [MESSAGE] * 10))


def test_a_server_that_may_compress_takes_them_one_by_one() -> None:
    refused(taught(GzipServerConnection))


def test_counts_and_lengths_that_change_are_each_taken() -> None:
    server, stream_id = taught(), 41
    for count in [*range(2, 80), *range(79, 1, -1)]:
        assert as_one(server, group(stream_id, [MESSAGE] * count)) == (count, [])
        stream_id += 2 * count
    for size in (8, 300, 8, 300):
        message = MESSAGE + bytes(size)
        answer(server, server.receive(group(stream_id, [message] * 3)))
        assert as_one(server, group(stream_id + 6, [message] * 5)) == (5, [])
        stream_id += 16

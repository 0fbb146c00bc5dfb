"""Frames of many streams in any order, as foreign peers send them, cut anywhere: one meaning.

The slow path is the judge. ``foreign/`` has what servers and clients of others have sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from grpc_wire import frames
from grpc_wire.client import ClientConnection
from grpc_wire.events import DONE, REQUEST, ROOM
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import (
    ANSWER_FIELDS,
    HEADERS,
    answer,
    data,
    headers,
    output,
    ready_client,
    ready_server,
    request,
    request_fields,
)

STREAMS = 6


class SlowClient(ClientConnection):
    """Without the fast path."""

    __slots__ = ()

    def _take_known(self, data: bytes, pos: int, end: int, events: list) -> int:
        return pos


class SlowServer(ServerConnection):
    """Without the fast path."""

    __slots__ = ()

    def _take_known(self, data: bytes, pos: int, end: int, events: list) -> int:
        return pos


def shuffled(streams: list[list[bytes]], source: random.Random) -> bytes:
    """The frames of all streams in one order, those of each stream in their own."""
    order = [index for index, stream in enumerate(streams) for _ in stream]
    source.shuffle(order)
    left = [iter(stream) for stream in streams]
    return b"".join(next(left[index]) for index in order)


def pieces(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    return (content[start:stop] for start, stop in pairwise(places))


def an_answer(stream_id: int, kind: int, size: int) -> list[bytes]:
    """Mostly a good one; each kind is one that a server may send."""
    message = frame_message(bytes(size))
    head, tail = headers(stream_id, ANSWER_FIELDS), [("grpc-status", "0")]
    trailers = headers(stream_id, tail, end=True)
    if kind == 1:  # a message in two frames
        return [head, data(stream_id, message[:3]), data(stream_id, message[3:]), trailers]
    if kind == 2:  # an error without a message
        return [headers(stream_id, [*ANSWER_FIELDS, ("grpc-status", "5")], end=True)]
    if kind == 3:
        return [head, data(stream_id, message), frames.rst_stream_frame(stream_id, 2)]
    if kind == 4:  # an error behind the message
        return [
            head,
            data(stream_id, message),
            headers(stream_id, [("grpc-status", "8")], end=True),
        ]
    if kind == 5:  # no message
        return [head, trailers]
    if kind == 6:
        return [frames.rst_stream_frame(stream_id, 7)]
    if kind == 7:  # two messages
        return [head, data(stream_id, message), data(stream_id, message), trailers]
    if kind == 8:  # window and priority frames between
        window = frames.window_update_frame(stream_id, 9)
        return [head, window, data(stream_id, message), window, trailers]
    if kind == 9:  # headers in two frames
        block = head[frames.FRAME_HEADER_BYTES :]
        first = frames.frame(frames.HEADERS, 0, stream_id, block[:4])
        rest = frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, block[4:])
        return [first + rest, data(stream_id, message), trailers]
    if kind == 10:
        return [
            head,
            frames.frame(frames.DATA, frames.PADDED, stream_id, b"\2" + message + b"\0\0"),
            trailers,
        ]
    return [head, data(stream_id, message), trailers]


@settings(max_examples=300, deadline=None)
@given(
    kinds=st.lists(st.integers(-12, 10), min_size=STREAMS, max_size=STREAMS),
    sizes=st.lists(st.integers(0, 300), min_size=STREAMS, max_size=STREAMS),
    seed=st.integers(0, 1 << 30),
    cuts=st.lists(st.integers(0, 1 << 14), max_size=12),
    cancelled=st.integers(0, STREAMS),
    goaway=st.integers(-20, 2 * STREAMS),
)
def test_answers_in_any_order_and_cut_anywhere_mean_the_same(
    kinds: list[int], sizes: list[int], seed: int, cuts: list[int], cancelled: int, goaway: int
) -> None:
    streams = [
        an_answer(2 * index + 3, kind, size)
        for index, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]
    if goaway > 0:
        streams.append([frames.goaway_frame(goaway, 0)])
    content = shuffled(streams, random.Random(seed))
    found = []
    for make, cut in ((SlowClient, []), (ClientConnection, []), (ClientConnection, cuts)):
        client = ready_client(make=make)
        for key in range(STREAMS + 1):
            assert client.call(key, HEADERS, frame_message(b"question"))
        client.receive(answer(1))
        client.cancel(cancelled)
        events = [event for piece in pieces(content, cut) for event in client.receive(piece)]
        events = [event for event in events if event[0] != ROOM]  # at most one a read
        found.append((events, client.open_count, client._inbound, output(client), client.eof()))
    assert found[0] == found[1]
    assert found[0][:3] == found[2][:3]
    assert found[0][4] == found[2][4]


def a_request(stream_id: int, kind: int, size: int) -> list[bytes]:
    """Mostly a good one; each kind is one that a client may send."""
    message, head = frame_message(bytes(size)), headers(stream_id, request_fields())
    if kind == 1:
        return [head, data(stream_id, message[:2]), data(stream_id, message[2:], end=True)]
    if kind == 2:  # the end in a frame of its own
        return [head, data(stream_id, message), data(stream_id, b"", end=True)]
    if kind == 3:
        return [head, frames.rst_stream_frame(stream_id, 8)]
    if kind == 4:
        return [head, data(stream_id, message, end=True), frames.rst_stream_frame(stream_id, 8)]
    if kind == 5:
        return [head, frames.window_update_frame(stream_id, 9), data(stream_id, message, end=True)]
    if kind == 6:
        return [headers(stream_id, request_fields(method="GET"), end=True)]
    if kind == 7:
        return [head, data(stream_id, message[:-1], end=True)]
    if kind == 8:
        return [head, data(stream_id, b"\1" + message[1:], end=True)]
    if kind == 9:
        return [
            headers(stream_id, [*request_fields(), ("content-length", "7")]),
            data(stream_id, message, end=True),
        ]
    return [head, data(stream_id, message, end=True)]


@settings(max_examples=300, deadline=None)
@given(
    kinds=st.lists(st.integers(-12, 9), min_size=STREAMS, max_size=STREAMS),
    sizes=st.lists(st.integers(1, 300), min_size=STREAMS, max_size=STREAMS),
    seed=st.integers(0, 1 << 30),
    cuts=st.lists(st.integers(0, 1 << 14), max_size=12),
    limit=st.integers(1, STREAMS),
)
def test_requests_in_any_order_and_cut_anywhere_mean_the_same(
    kinds: list[int], sizes: list[int], seed: int, cuts: list[int], limit: int
) -> None:
    streams = [
        a_request(2 * index + 3, kind, size)
        for index, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]
    content = shuffled(streams, random.Random(seed))
    found = []
    for make, cut in ((SlowServer, []), (ServerConnection, []), (ServerConnection, cuts)):
        server = ready_server(make, max_concurrent_streams=limit + 1)
        server.receive(request(1))
        events = [event for piece in pieces(content, cut) for event in server.receive(piece)]
        asked = [event[1] for event in events if event[0] == REQUEST]
        answered = [server.respond(stream_id, frame_message(b"a")) for stream_id in asked]
        found.append((events, answered, server.open_count, server._inbound, output(server)))
    assert found[0] == found[1] == found[2]


def test_a_whole_turn_of_answers_as_nghttp2_orders_them_is_the_fast_paths() -> None:
    """All HEADERS, then each DATA with its trailers: nothing is left to the slow path."""
    client = ready_client()
    for key in range(9):
        assert client.call(key, HEADERS, frame_message(b"question"))
    client.receive(answer(1))
    whole = [an_answer(2 * index + 3, 0, 10 * index) for index in range(8)]
    content = b"".join(frame[0] for frame in whole) + b"".join(b"".join(one[1:]) for one in whole)
    events: list = []
    assert client._calls.take_known(content, 0, len(content), events)[0] == len(content)
    assert [event[1] for event in events if event[0] == DONE] == list(range(1, 9))


FOREIGN = Path(__file__).parent / "foreign"
CALLS, TURNS = 6, 3
"""Of ``record_foreign``."""


def heard_by_client(client: ClientConnection, parts: list[bytes]) -> list:
    """Events of a recorded server; the calls are made as its settings and answers allow."""
    client.start()
    events: list = []
    for part in parts:
        events += client.receive(part)
        settled = sum(event[0] == DONE for event in events)
        while client.room and client._next_id < 2 * min(CALLS * TURNS, settled + CALLS):
            assert client.call(client._next_id, HEADERS, frame_message(b"question"))
    return [event for event in events if event[0] != ROOM]


@pytest.mark.parametrize("name", ["server_nghttp2", "server_core"])
def test_what_servers_of_others_sent_means_the_same_at_every_split(name: str) -> None:
    content = (FOREIGN / f"{name}.bin").read_bytes()
    first, *_ = cut_frames(content)
    wanted = heard_by_client(SlowClient(), [first, *cut_frames(content[len(first) :])])
    assert [event[:3] for event in wanted] == [(DONE, event[1], 0) for event in wanted]
    assert len(wanted) == CALLS * TURNS
    rest = content[len(first) :]
    assert heard_by_client(ClientConnection(), [first, *cut_frames(rest)]) == wanted
    for step in (1, 2, 3, 5, 7, 13, 29, 61):
        pieces_of = [rest[at : at + step] for at in range(0, len(rest), step)]
        assert heard_by_client(ClientConnection(), [first, *pieces_of]) == wanted, step


@pytest.mark.parametrize("name", ["client_core", "client_h2load"])
def test_what_clients_of_others_sent_means_the_same_at_every_split(name: str) -> None:
    content = (FOREIGN / f"{name}.bin").read_bytes()
    found = []
    for make, position in [
        (SlowServer, 0),
        *((ServerConnection, position) for position in range(len(content))),
    ]:
        server = make()
        server.start()
        events = server.receive(content[:position]) + server.receive(content[position:])
        found.append([event for event in events if event[0] == REQUEST])
    assert [event[3] for event in found[0]] == [b"question"] * CALLS * TURNS
    assert all(one == found[0] for one in found)


def cut_frames(content: bytes) -> list[bytes]:
    """The whole frames of ``content``."""
    found = []
    while content:
        stop = frames.FRAME_HEADER_BYTES + int.from_bytes(content[:3], "big")
        found.append(content[:stop])
        content = content[stop:]
    return found

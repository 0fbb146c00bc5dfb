"""gzip on the wire: bounded, whole or refused, and never asked of who did not offer it."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from grpc_wire import frames
from grpc_wire.client import ClientConnection
from grpc_wire.compression import (
    Deflater,
    Inflater,
    InflatingDeframer,
    accepts_gzip,
    compressed_message,
    gzip_bytes,
    inflated,
)
from grpc_wire.errors import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, MessageFault
from grpc_wire.events import DONE, MESSAGE, OPENED, REQUEST, ROOM
from grpc_wire.headers import HeaderBlock, request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import (
    ANSWER_FIELDS,
    HEADERS,
    PATH,
    Pair,
    by_bytes,
    data,
    headers,
    output,
    read_frames,
    ready_client,
    request_fields,
    whole,
)

ASKING = request_headers(path=PATH, authority="h:1", accept_encoding="identity,gzip")
GZIPPED = request_headers(
    path=PATH, authority="h:1", encoding="gzip", accept_encoding="identity,gzip"
)
SENT_ONLY = request_headers(path=PATH, authority="h:1", encoding="gzip")
STREAM = "/s/m"
BOTH = "identity,gzip"


def compressed_of(message: bytes) -> bytes:
    return compressed_message(frame_message(message))


def bomb(size: int) -> bytes:
    return gzip.compress(bytes(size))


# ---------------------------------------------------------------------- bytes
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_what_is_compressed_is_what_gzip_reads_and_the_other_way_round(parts: list[bytes]) -> None:
    joined = b"".join(parts)
    assert gzip.decompress(gzip_bytes(*parts)) == joined
    assert inflated(gzip.compress(joined), len(joined)) == joined
    assert gzip_bytes(*parts) == gzip_bytes(joined)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_a_body_may_come_in_any_pieces_and_members(content: bytes, step: int) -> None:
    body = gzip.compress(content) + gzip.compress(b"and more")
    inflater = Inflater(len(content) + 8)
    pieces = [inflater.feed(body[at : at + step]) for at in range(0, len(body), step)]
    assert b"".join(pieces) == content + b"and more"
    assert inflater.is_whole


def test_each_piece_can_be_read_when_it_has_come() -> None:
    deflater, inflater = Deflater(), Inflater(100)
    for piece in (b"data: one\n\n", b"data: two\n\n"):
        assert inflater.feed(deflater.piece(piece)) == piece
        assert not inflater.is_whole
    assert inflater.feed(deflater.last()) == b""
    assert inflater.is_whole


def test_the_bound_is_what_comes_out() -> None:
    assert inflated(bomb(1_000), 1_000) == bytes(1_000)
    with pytest.raises(MessageFault, match="more than the limit of 999 bytes") as info:
        inflated(bomb(1_000), 999)
    assert info.value.code == RESOURCE_EXHAUSTED
    twice = Inflater(1_500)
    twice.feed(bomb(1_000))
    with pytest.raises(MessageFault, match="limit of 1500 bytes"):
        twice.feed(bomb(1_000))


def test_a_bomb_is_refused_before_it_is_in_memory() -> None:
    """Some 100 KB for 100 MiB: no piece grows beyond the bound on the way."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(100)), stream.flush()])
    inflater = Inflater(1 << 20)
    counts: list[int] = []
    with pytest.raises(MessageFault) as info:
        counts.extend(len(inflater.feed(packed[at : at + 64])) for at in range(0, len(packed), 64))
    assert info.value.code == RESOURCE_EXHAUSTED
    assert 0 < sum(counts) <= 1 << 20


@pytest.mark.parametrize(
    "body", [b"", b"text", bomb(9)[:-1], bomb(9)[:4], bomb(9) + b"x", bomb(9)[:-8] + bytes(8)]
)
def test_what_is_no_whole_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(MessageFault, match="gzip") as info:
        inflated(body, 1_000)
    assert info.value.code == INTERNAL


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        ("gzip", True),
        ("identity,gzip", True),
        ("identity, deflate, gzip", True),
        ("GZIP;q=0.5, br", True),
        ("gzip; q=1", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*", False),
        ("xgzip", False),
    ],
)
def test_who_reads_gzip_says_so(said: str, is_taken: bool) -> None:
    assert accepts_gzip(said) is is_taken


# ---------------------------------------------------------------------- messages
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=12),
    st.lists(st.integers(0, 40)),
)
def test_any_cut_gives_the_same_messages(
    messages: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    framed = [frame_message(message) for message, _ in messages]
    flags = [is_compressed for _, is_compressed in messages]
    stream = b"".join(
        compressed_message(one) if flag else one for one, flag in zip(framed, flags, strict=True)
    )
    deframer = InflatingDeframer(100, "gzip")
    found: list[bytes] = []
    position = 0
    for length in [*cuts, len(stream)]:
        stop = min(len(stream), position + length)
        found += deframer.feed(stream, position, stop)
        position = stop
    assert found == [message for message, _ in messages]
    assert deframer.has_inflated == any(flags)


def test_a_message_in_parts_is_compressed_as_one() -> None:
    framed = frame_message(b"abc" * 100)
    assert compressed_message((framed[:7], memoryview(framed)[7:])) == compressed_message(framed)
    assert inflated(compressed_message(framed)[5:], 300) == b"abc" * 100


def refused(deframer: InflatingDeframer, message: bytes) -> MessageFault:
    with pytest.raises(MessageFault) as info:
        deframer.feed(message, 0, len(message))
    return info.value


def test_both_limits_hold_and_the_encoding_is_named() -> None:
    noise = random.Random(1).randbytes(200)
    too_long = refused(InflatingDeframer(100, "gzip"), compressed_of(noise))
    assert "is over the limit of 100" in too_long.text
    too_much = refused(InflatingDeframer(100, "gzip"), compressed_of(bytes(200)))
    assert too_much.text == "compressed message inflates to more than the limit of 100 bytes"
    assert {too_long.code, too_much.code} == {RESOURCE_EXHAUSTED}
    message = compressed_of(b"abc")
    for encoding, named in (
        ("snappy", "by snappy"),
        ("", "by nothing"),
        ("identity", "by nothing"),
    ):
        fault = refused(InflatingDeframer(100, encoding, UNIMPLEMENTED), message)
        assert (fault.code, named in fault.text) == (UNIMPLEMENTED, True)
    assert "marked 7" in refused(InflatingDeframer(100, "gzip"), b"\7\0\0\0\0").text


# ---------------------------------------------------------------------- both halves
def heard(pair: Pair) -> list:
    """What the client heard of its calls."""
    return [event for event in pair.take_client_events() if event[0] != ROOM]


def echoing(pair: Pair) -> None:
    def answer(event: tuple) -> None:
        if event[0] == REQUEST:
            pair.server.respond(event[1], frame_message(event[3].upper()))

    pair.on_request = answer


@pytest.mark.parametrize("cut", [whole, by_bytes])
@pytest.mark.parametrize("asked", [GZIPPED, ASKING, SENT_ONLY, HEADERS])
def test_a_call_is_the_same_however_it_is_compressed(asked: HeaderBlock, cut) -> None:
    pair = Pair(ClientConnection(reads_gzip=True), ServerConnection(takes_gzip=True), cut)
    echoing(pair)
    plain = frame_message(b"question " * 20)
    message = compressed_message(plain) if asked in (GZIPPED, SENT_ONLY) else plain
    for key in range(8):
        assert pair.client.call(key, asked, message)
        pair.exchange()
    expected = b"QUESTION " * 20
    assert heard(pair) == [(DONE, key, 0, expected, "") for key in range(8)]
    assert pair.server.open_count == pair.client.open_count == 0


def test_the_server_compresses_for_those_only_who_ask() -> None:
    for asked, is_compressed in ((ASKING, True), (SENT_ONLY, False), (HEADERS, False)):
        pair = Pair(ClientConnection(reads_gzip=True), ServerConnection(takes_gzip=True))
        pair.client.call(1, asked, frame_message(b"q"))
        pair.server.receive(output(pair.client))
        pair.server.respond(1, frame_message(b"a" * 100))
        found = {kind: payload for kind, _, _, payload in read_frames(output(pair.server))}
        assert (found[frames.DATA][0] == 1) is is_compressed
        assert (len(found[frames.DATA]) < 100) is is_compressed


def test_usual_calls_stay_usual_where_nothing_is_compressed() -> None:
    """Halves that could compress recognise an uncompressed call as fast as the plain ones."""
    pair = Pair(ClientConnection(reads_gzip=True), ServerConnection(takes_gzip=True))
    echoing(pair)
    for key in range(5):
        pair.client.call(key, HEADERS, frame_message(b"q"))
        pair.exchange()
    assert pair.client._calls.tails.by_block
    assert pair.server._streams.known.by_block


@pytest.mark.parametrize("cut", [whole, by_bytes])
def test_streams_are_compressed_message_by_message(cut) -> None:
    asked = request_headers(
        path=STREAM, authority="h:1", encoding="gzip", accept_encoding="identity,gzip"
    )
    server = ServerConnection(takes_gzip=True, streaming_paths={STREAM.encode()})
    pair = Pair(ClientConnection(reads_gzip=True), server, cut)

    def answer(event: tuple) -> None:
        if event[0] == MESSAGE:
            for number in range(3):
                pair.server.send_message(event[1], frame_message(event[2] + b"%d" % number))
            pair.server.finish(event[1])

    pair.on_request = answer
    pair.client.call(7, asked, compressed_of(b"tokens "), streaming=True)
    pair.exchange()
    assert [event[0] for event in pair.server_events if event[0] == OPENED] == [OPENED]
    *pieces, done = heard(pair)
    assert pieces == [(MESSAGE, 7, b"tokens %d" % number) for number in range(3)]
    assert done[:3] == (DONE, 7, 0)


def test_a_server_that_takes_none_says_so_as_grpc_wants() -> None:
    for server, accepted in (
        (ServerConnection(), "identity"),
        (ServerConnection(takes_gzip=True), BOTH),
    ):
        pair = Pair(ClientConnection(reads_gzip=True), server)
        encoding = "gzip" if accepted == "identity" else "snappy"
        asked = request_headers(path=PATH, authority="h:1", encoding=encoding)
        pair.client.call(1, asked, compressed_of(b"q"))
        server.receive(output(pair.client))
        said = output(server)
        [block] = [payload for kind, _, _, payload in read_frames(said) if kind == frames.HEADERS]
        assert ("grpc-accept-encoding", accepted) in Decoder().decode(block)
        [done] = pair.client.receive(said)
        assert done[:3] == (DONE, 1, UNIMPLEMENTED)
        assert "compressed" in done[4]


def answered(asked: HeaderBlock, message: bytes, encoding: str, **options: int) -> tuple:
    """What a client that reads gzip makes of one answer."""
    client = ClientConnection(reads_gzip=True, **options)
    client.start()
    client.receive(frames.settings_frame({}))
    client.call(1, asked, frame_message(b"q"))
    client.take_output()
    fields = [*ANSWER_FIELDS, *([("grpc-encoding", encoding)] if encoding else [])]
    events = client.receive(
        headers(1, fields) + data(1, message) + headers(1, [("grpc-status", "0")], end=True)
    )
    return events[0]


def test_bad_answers_settle_their_call_by_name() -> None:
    message = compressed_of(b"abc")
    assert answered(ASKING, message, "gzip") == (DONE, 1, 0, b"abc", "")
    assert answered(ASKING, frame_message(b"abc"), "gzip") == (DONE, 1, 0, b"abc", "")
    broken = message[:-1] + bytes([message[-1] ^ 1])
    for bad, encoding, code, text in (
        (message, "br", INTERNAL, "compressed by br, not by gzip"),
        (message, "", INTERNAL, "compressed by nothing"),
        (broken, "gzip", INTERNAL, "is not gzip"),
        (b"\1\0\0\0\0", "gzip", INTERNAL, "ends too soon"),
        (compressed_of(bytes(5000)), "gzip", RESOURCE_EXHAUSTED, "4000 bytes"),
    ):
        done = answered(ASKING, bad, encoding, max_message_bytes=4000)
        assert done[:4] == (DONE, 1, code, None)
        assert text in done[4]


def test_who_has_not_asked_refuses_a_compressed_answer() -> None:
    client = ready_client()
    client.call(1, HEADERS, frame_message(b"q"))
    message = compressed_of(b"abc")
    fields = [*ANSWER_FIELDS, ("grpc-encoding", "gzip")]
    [done] = client.receive(headers(1, fields) + data(1, message))
    assert done == (DONE, 1, INTERNAL, None, "message is compressed; no compression was offered")


def test_a_bomb_of_a_request_is_refused() -> None:
    server = ServerConnection(takes_gzip=True, max_message_bytes=4000)
    pair = Pair(ClientConnection(reads_gzip=True), server)
    pair.client.call(1, GZIPPED, compressed_of(bytes(5000)))
    pair.exchange()
    [done] = heard(pair)
    assert done[:3] == (DONE, 1, RESOURCE_EXHAUSTED)
    assert server.open_count == 0


def test_a_caller_that_leaves_is_forgotten() -> None:
    pair = Pair(ClientConnection(reads_gzip=True), ServerConnection(takes_gzip=True))
    for key in range(3):
        pair.client.call(key, GZIPPED, compressed_of(b"q"))
    pair.exchange()
    pair.client.cancel(1)
    pair.exchange()
    assert not pair.server.respond(3, frame_message(b"a"))
    assert pair.server.respond(1, frame_message(b"a"))
    pair.server.receive(headers(99, request_fields()))
    pair.server.eof()
    assert pair.server._accepting == set()

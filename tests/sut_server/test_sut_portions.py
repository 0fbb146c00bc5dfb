"""How ready answers leave: to requests alike as one piece, to others in portions."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
from grpc_wire.events import ServerEvent
from grpc_wire.server import ServerConnection
from sut_fakes import run
from test_sut_connection import MemoryTransport, Pair, done

from sut_server.engines.null import null_spec, ready_answer
from sut_server.grpc.connection import KserveConnection
from sut_server.portions import PORTION_COUNT_MAX, PORTIONS_MAX, WHOLE_COUNT_MAX, portion_bytes
from sut_server.wakefulness import SOON_NS, NextRequest

PATH = "/a/B"


ALIKE = b"\n\x04null*tensor"
"""Has the tag of its first input where a request without version and id has it."""


def headers_first(pair: Pair, messages: list[bytes]) -> bytes:
    """The requests as clients on nghttp2 write them: all HEADERS before all DATA."""
    for key, message in enumerate(messages, 100):
        pair.call(key, PATH, message)
    sent = b"".join(pair.client.take_output())
    heads, bodies, at = b"", b"", 0
    while at < len(sent):
        stop = at + 9 + int.from_bytes(sent[at : at + 3], "big")
        if sent[at + 3]:
            heads += sent[at:stop]
        else:
            bodies += sent[at:stop]
        at = stop
    return heads + bodies


def answered(pair: Pair, writes: list[bytes]) -> list[int]:
    """How many answers each write has."""
    return [len(done(list(pair.client.receive(piece)))) for piece in writes]


def test_a_caller_that_sends_all_its_headers_first_is_answered_in_portions_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        pair.arrive(headers_first(pair, [b"*tensor"] * 64))
        counts = answered(pair, writes)
        assert sum(counts) == 64
        assert len(counts) > 2

    with_pair(scene, monkeypatch)


def test_where_its_requests_are_alike_all_but_the_first_are_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        pair.arrive(headers_first(pair, [ALIKE] * 2))  # one must have been read
        answered(pair, [bytes(transport.written), *writes])
        writes.clear()
        transport.written.clear()
        pair.arrive(headers_first(pair, [ALIKE] * 64))
        assert answered(pair, writes) == [1, 63]
        writes.clear()
        pair.arrive(headers_first(pair, [ALIKE] * WHOLE_COUNT_MAX))
        assert answered(pair, writes) == [WHOLE_COUNT_MAX]
        assert not transport.written
        assert pair.ready_count == 6 + 2 + 64 + WHOLE_COUNT_MAX

    with_pair(scene, monkeypatch)


def test_those_that_are_not_alike_behind_the_first_are_answered_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        pair.arrive(headers_first(pair, [ALIKE] * 2))
        answered(pair, [bytes(transport.written), *writes])
        writes.clear()
        transport.written.clear()
        other = ALIKE.replace(b"*", b"\x1a")
        pair.arrive(headers_first(pair, [ALIKE] * 20 + [other] + [ALIKE] * 20))
        counts = answered(pair, writes)
        assert counts[0] == 1
        assert sum(counts) == 41
        assert pair.ready_count == 6 + 2 + 41

    with_pair(scene, monkeypatch)


def test_a_look_takes_in_what_has_come_and_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        assert not pair.shared.look()  # nothing has come
        pair.call(100, PATH, ALIKE)
        transport.far_end.send(b"".join(pair.client.take_output()))
        assert pair.shared.look()
        assert pair.ready_count == 7
        assert not pair.shared.look()

    with_pair(scene, monkeypatch)


def test_a_look_leaves_to_the_transport_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        pair.call(100, PATH, ALIKE)
        request = b"".join(pair.client.take_output())
        transport.far_end.send(request)
        pair.server.pause_writing()
        assert not pair.shared.look()  # its caller does not read
        pair.server.resume_writing()
        pair.shared.open.add(KserveConnection(pair.shared))
        assert not pair.shared.look()  # others may want to be looked at
        pair.shared.open.clear()
        assert not pair.shared.look()
        pair.shared.open.add(pair.server)
        pair.arrive(request[:5])
        assert not pair.shared.look()  # in the middle of a frame: it may be read in place
        assert transport.end.recv(1_000) == request

    with_pair(scene, monkeypatch)


def test_a_look_at_an_end_or_a_broken_socket_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        transport.far_end.close()
        assert not pair.shared.look()
        pair.server.connection_lost(None)
        pair.shared.open.add(pair.server)
        assert not pair.shared.look()

    with_pair(scene, monkeypatch)


@pytest.mark.parametrize(
    ("count", "portion"), [(1, 1), (8, 8), (12, 9), (16, 12), (21, 15), (64, PORTION_COUNT_MAX)]
)
def test_three_quarters_leave_first_and_never_more_than_a_portion(count: int, portion: int) -> None:
    taken = portion_bytes(count * 150, 150.0)
    assert taken // 150 == portion


def test_every_portion_gets_on() -> None:
    for request_bytes in (1.0, 1.5, 40.0, 1e6):
        left = 100_000
        while left:
            taken = portion_bytes(left, request_bytes)
            assert taken > 0
            left -= min(taken, left)


class SocketTransport(MemoryTransport):
    """Has one end of a socket; ``written`` is what was not written straight to it."""

    def __init__(self, end: socket.socket, far_end: socket.socket) -> None:
        super().__init__()
        self.end = end
        self.far_end = far_end
        self.waiting_bytes = 0
        self.is_aborted = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.end if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


def with_pair(
    scene: Callable[[Pair, SocketTransport, list[bytes]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``writes``: what reached the socket, write by write."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            transport = SocketTransport(ours, theirs)
            monkeypatch.setattr("test_sut_connection.MemoryTransport", lambda: transport)
            pair = Pair(ready_path=PATH.encode())
            for keys in (range(3), range(3, 6)):  # the first are preceded by a greeting
                for key in keys:
                    pair.call(key, PATH, b"*tensor")
                await pair.turn()
            writes: list[bytes] = []
            true_writev = os.writev

            def writev(fd: int, pieces: list[bytes]) -> int:
                assert fd == ours.fileno()
                writes.append(b"".join(pieces))
                return true_writev(fd, pieces)

            monkeypatch.setattr(os, "writev", writev)
            scene(pair, transport, writes)

    run(main)


def ask(pair: Pair, count: int) -> None:
    for key in range(100, 100 + count):
        pair.call(key, PATH, b"*tensor")
    pair.arrive(b"".join(pair.client.take_output()))


def test_many_requests_are_each_answered_once_in_several_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        ask(pair, 40)
        counts = [len(done(pair.client.receive(piece))) for piece in writes]
        assert sum(counts) == 40
        assert len(counts) > 2
        assert max(counts) <= PORTION_COUNT_MAX
        assert not transport.written
        assert pair.ready_count == 46

    with_pair(scene, monkeypatch)


def test_few_requests_leave_with_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        ask(pair, WHOLE_COUNT_MAX)
        assert not writes
        answers = done(list(pair.client.receive(bytes(transport.written))))
        assert len(answers) == WHOLE_COUNT_MAX

    with_pair(scene, monkeypatch)


def test_what_the_kernel_does_not_take_goes_to_the_transport_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        taken: list[bytes] = []

        def takes_little(fd: int, pieces: list[bytes]) -> int:
            if taken:
                raise BlockingIOError
            taken.append(b"".join(pieces)[:7])
            return 7

        monkeypatch.setattr(os, "writev", takes_little)
        ask(pair, 40)
        answers = done(list(pair.client.receive(taken[0] + bytes(transport.written))))
        assert len(answers) == 40
        assert {answer[1] for answer in answers.values()} == {ready_answer(null_spec())}

    with_pair(scene, monkeypatch)


def test_behind_bytes_that_wait_nothing_is_written_straight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        transport.waiting_bytes = 1
        ask(pair, 40)
        assert not writes
        assert len(done(list(pair.client.receive(bytes(transport.written))))) == 40

    with_pair(scene, monkeypatch)


def test_a_broken_socket_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        def breaks(fd: int, pieces: list[bytes]) -> int:
            raise BrokenPipeError

        monkeypatch.setattr(os, "writev", breaks)
        ask(pair, 40)
        assert transport.is_aborted
        assert not transport.written

    with_pair(scene, monkeypatch)


def test_a_caller_who_does_not_read_gets_nothing_until_he_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        pair.server.pause_writing()
        ask(pair, 40)
        assert not writes
        assert not transport.written
        pair.server.resume_writing()
        assert len(done(list(pair.client.receive(bytes(transport.written))))) == 40

    with_pair(scene, monkeypatch)


def test_the_next_request_is_waited_for_awake_where_they_come_soon() -> None:
    asked: list[int] = []
    coming = NextRequest(asked.append)
    coming.note(10**9)  # the first has none before it
    coming.note(10**9 + 7)
    coming.note(10**9 + 7 + SOON_NS)
    coming.note(10**9 + 8 + 2 * SOON_NS)  # too late after the one before
    assert asked == [10**9 + 7 + 2 * 7, 10**9 + 7 + 3 * SOON_NS]


def sizes_received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each piece that a server's wire half is given from now on."""
    sizes: list[int] = []
    true_receive = ServerConnection.receive

    def receive(self: ServerConnection, data: bytes) -> list[ServerEvent]:
        sizes.append(len(data))
        return true_receive(self, data)

    monkeypatch.setattr(ServerConnection, "receive", receive)
    return sizes


def test_a_long_request_behind_short_ones_is_not_minced(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        received = sizes_received(monkeypatch)
        pair.call(100, PATH, b"*" + bytes(60_000))
        pair.arrive(b"".join(pair.client.take_output()))
        assert 1 < len(received) <= PORTIONS_MAX + 1
        answers = b"".join(writes) + bytes(transport.written)
        assert len(done(list(pair.client.receive(answers)))) == 1

    with_pair(scene, monkeypatch)


def test_a_long_message_is_not_cut_into_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        received = sizes_received(monkeypatch)
        for _ in range(2):
            pair.call(200 + len(received), PATH, b"*" + bytes(60_000))
            data = b"".join(pair.client.take_output())
            received.clear()
            for at in range(0, len(data), 20_000):
                pair.arrive(data[at : at + 20_000])
        assert max(received) == 20_000

    with_pair(scene, monkeypatch)

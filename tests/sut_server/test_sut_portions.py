"""Ready answers to many requests of one read leave in portions; few and rare ones do not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
from grpc_wire.events import ServerEvent
from grpc_wire.server import ServerConnection
from sut_fakes import run
from test_sut_connection import MemoryTransport, Pair, done

from sut_server.null import null_spec, ready_answer
from sut_server.portions import PORTION_COUNT_MAX, PORTIONS_MAX, WHOLE_COUNT_MAX, portion_bytes
from sut_server.wakefulness import SOON_NS, NextRequest

PATH = "/a/B"


def test_a_caller_that_sends_all_its_headers_first_is_answered_in_portions_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scene(pair: Pair, transport: SocketTransport, writes: list[bytes]) -> None:
        for key in range(100, 164):
            pair.call(key, PATH, b"*tensor")
        sent = b"".join(pair.client.take_output())
        heads, bodies, at = b"", b"", 0
        while at < len(sent):
            stop = at + 9 + int.from_bytes(sent[at : at + 3], "big")
            if sent[at + 3]:
                heads += sent[at:stop]
            else:
                bodies += sent[at:stop]
            at = stop
        pair.arrive(heads + bodies)
        answered = [len(done(pair.client.receive(piece))) for piece in writes]
        assert sum(answered) == 64
        assert len(answered) > 2

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

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self.end = end
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
            transport = SocketTransport(ours)
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

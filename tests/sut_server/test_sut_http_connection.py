"""HTTP/1.1 as callers of many kinds speak it, at sut-server's HTTP ports, in memory."""

from __future__ import annotations

import json

import pytest
from memory_transport import MemoryTransport

from sut_server.http.connection import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    HttpCall,
    HttpConnection,
    HttpRequest,
    HttpShared,
)
from sut_server.memory_budget import MemoryBudget


class Peer:
    """A caller, and an API that answers when it is told to."""

    def __init__(self, budget: MemoryBudget | None = None) -> None:
        self.calls: list[tuple[HttpCall, HttpRequest]] = []
        self.lingering: list[object] = []
        self.shared = HttpShared(
            lambda call, request: self.calls.append((call, request)),
            lambda: 0,
            budget=budget or MemoryBudget(),
            linger=self.lingering.append,
        )
        self.transport = MemoryTransport()
        self.connection = HttpConnection(self.shared)
        self.connection.connection_made(self.transport)

    def send(self, *lines: str, body: bytes = b"") -> None:
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        self.connection.data_received(head + b"\r\n" + body)

    def answer(self, number: int = 0) -> str:
        """Answer a request and give what was written for it."""
        before = len(self.transport.written)
        self.calls[number][0].respond(200, "a/b", b"done")
        return self.transport.written[before:].decode()

    def status(self) -> int:
        """The status of the only answer."""
        return int(bytes(self.transport.written).split(b" ", 2)[1])

    def refusal(self) -> tuple[int, str]:
        """Status and text of a refusal, after which the connection lingers or is closed."""
        assert self.lingering or self.transport.is_closed
        head, _, body = bytes(self.transport.written).partition(b"\r\n\r\n")
        assert b"Connection: close" in head
        return self.status(), json.loads(body)["error"]["message"]


def test_a_caller_that_waits_to_send_its_body_is_told_to() -> None:
    peer = Peer()
    peer.send("POST /x HTTP/1.1", "Host: h", "Content-Length: 3", "Expect: 100-continue")
    assert peer.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.connection.data_received(b"abc")
    assert peer.calls[0][1].body == b"abc"
    peer.answer()
    peer.send("POST /y HTTP/1.1", "Host: h", "Content-Length: 3", body=b"def")
    assert b"100 Continue" not in peer.transport.written[25:]


def test_a_caller_behind_an_open_answer_is_told_to_go_on_after_it() -> None:
    peer = Peer()
    peer.send("GET /x HTTP/1.1", "Host: h")
    peer.send("POST /y HTTP/1.1", "Host: h", "Content-Length: 3", "Expect: 100-continue")
    assert not peer.transport.written
    assert peer.answer().endswith("doneHTTP/1.1 100 Continue\r\n\r\n")
    assert peer.transport.is_reading


def test_a_body_that_would_be_refused_is_not_asked_for() -> None:
    peer = Peer()
    length = f"Content-Length: {BODY_BYTES_MAX + 1}"
    peer.send("POST /x HTTP/1.1", "Host: h", length, "Expect: 100-continue")
    assert peer.refusal()[0] == 413


@pytest.mark.parametrize("keeps_alive", [False, True])
def test_http_1_0_gets_no_chunks_and_keeps_alive_only_if_asked(keeps_alive: bool) -> None:
    peer = Peer()
    peer.send("GET /x HTTP/1.0", *["Connection: keep-alive"] * keeps_alive)
    assert ("Connection: keep-alive" in peer.answer()) == keeps_alive
    assert peer.transport.is_closed != keeps_alive
    peer = Peer()
    peer.send("GET /x HTTP/1.0", *["Connection: keep-alive"] * keeps_alive)
    call = peer.calls[0][0]
    call.begin("a/b")
    call.send(b"one ")
    call.send(b"two")
    call.end()
    head, _, body = bytes(peer.transport.written).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b"one two"
    assert peer.transport.is_closed  # the only way to say where the answer ends


def test_the_last_answer_says_that_the_connection_closes() -> None:
    peer = Peer()
    peer.send("GET /x HTTP/1.1", "Host: h", "Connection: close")
    assert "Connection: close" in peer.answer()
    assert peer.transport.is_closed


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://h:1/v2/models/m?x=1", "/v2/models/m?x=1"),
        ("https://h", "/"),
        ("/v2//x", "/v2//x"),
        ("*", "*"),
    ],
)
def test_a_target_may_be_a_url(target: str, path: str) -> None:
    peer = Peer()
    peer.send(f"OPTIONS {target} HTTP/1.1", "Host: h")
    assert peer.calls[0][1].path == path


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "not an HTTP/1.1 request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not an HTTP/1.1 request"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400, ""),
        (b"CONNECT h:443 HTTP/1.1\r\n\r\n", 400, "neither a path nor"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, ""),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (HEAD_BYTES_MAX + 1), 431, "headers"),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: "
            + b"y" * (HEAD_BYTES_MAX + 1),
            431,
            "trailers",
        ),
    ],
)
def test_what_is_no_request_is_refused_before_the_end(data: bytes, status: int, text: str) -> None:
    peer = Peer()
    for at in range(0, len(data), 30_000):
        peer.connection.data_received(data[at : at + 30_000])
    found, said = peer.refusal()
    assert found == status
    assert text in said
    assert not peer.calls


def test_garbage_behind_a_request_is_refused_after_its_answer() -> None:
    peer = Peer()
    peer.connection.data_received(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n\x00\x01\x02\r\n\r\n")
    assert not peer.transport.written
    assert "HTTP/1.1 400 Bad Request" in peer.answer()


def test_an_upgrade_is_answered_as_http_1() -> None:
    peer = Peer()
    peer.send("GET /x HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: h2c", body=b"more")
    assert peer.answer().startswith("HTTP/1.1 200")
    assert peer.transport.is_closed


def test_head_gets_no_body() -> None:
    peer = Peer()
    peer.send("HEAD /x HTTP/1.1", "Host: h")
    answer = peer.answer()
    assert "Content-Length: 4\r\n" in answer
    assert answer.endswith("\r\n\r\n")


def test_nothing_is_read_while_a_request_waits_behind_another() -> None:
    peer = Peer()
    peer.send("GET /a HTTP/1.1", "Host: h")
    assert peer.transport.is_reading
    peer.send("GET /b HTTP/1.1", "Host: h")
    assert not peer.transport.is_reading
    assert not peer.connection.is_unfinished
    peer.answer(0)
    assert peer.transport.is_reading
    assert peer.calls[1][1].path == "/b"


def test_bodies_count_against_the_servers_memory_until_they_are_answered() -> None:
    budget = MemoryBudget(1_000)
    peers = [Peer(budget) for _ in range(3)]
    for peer in peers[:2]:
        peer.send("POST /x HTTP/1.1", "Host: h", "Content-Length: 400", body=bytes(400))
    assert budget.used_bytes == 800
    peers[2].send("POST /x HTTP/1.1", "Host: h", "Content-Length: 400", body=bytes(300))
    assert peers[2].refusal()[0] == 503
    peers[0].answer()
    peers[1].connection.connection_lost(None)
    assert budget.used_bytes == 0
    late = Peer(budget)
    late.send("POST /x HTTP/1.1", "Host: h", "Content-Length: 400", body=bytes(399))
    late.connection.connection_lost(None)
    assert budget.used_bytes == 0


def test_a_draining_server_closes_idle_connections_and_says_so_on_the_others() -> None:
    idle, busy = Peer(), Peer()
    busy.send("GET /x HTTP/1.1", "Host: h")
    for peer in (idle, busy):
        peer.connection.drain()
    assert idle.transport.is_closed
    assert not busy.transport.is_closed
    assert "Connection: close" in busy.answer()
    assert busy.transport.is_closed

"""Raw sockets that break HTTP's rules or its spirit, each until the server ends the connection."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from grpc_wire.headers import encode_block

ENDED_S = 60.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4

Attack = Callable[[socket.socket], None]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    word = len(payload) << 8 | kind
    return word.to_bytes(4, "big") + bytes([flags]) + stream_id.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    content = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
    return frame(SETTINGS, 0, 0, content)


def block(path: str = "/inference.GRPCInferenceService/ModelInfer", **more: str) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
    fields += [("content-type", "application/grpc"), ("te", "trailers")]
    return bytes(encode_block([*fields, *more.items()]))


HELLO = PREFACE + settings()


def not_http(peer: socket.socket) -> None:
    """The first bytes of another protocol."""
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + bytes(64))


def oversized_frame(peer: socket.socket) -> None:
    """A frame whose length is the largest there is."""
    peer.sendall(HELLO + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1 << 16))


def malformed_hpack(peer: socket.socket) -> None:
    """A header block that points behind the table."""
    peer.sendall(HELLO + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\x7f"))


def hpack_bomb(peer: socket.socket) -> None:
    """A few bytes that name one large header again and again."""
    large = b"\x40\x01x" + b"\x7f\x81\x1e" + b"a" * 4_000  # literal of 4,000 bytes, indexed
    peer.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, large + b"\xbe" * 12_000))


def endless_continuation(peer: socket.socket) -> None:
    """Headers that never end (CVE-2024-27316)."""
    peer.sendall(HELLO + frame(HEADERS, 0, 1, block()))
    for _ in range(4_096):
        peer.sendall(frame(CONTINUATION, 0, 1, b"\x00\x01x\x7f\x00" + b"v" * 127) * 64)


def interrupted_headers(peer: socket.socket) -> None:
    """A PING in the middle of a header block."""
    peer.sendall(HELLO + frame(HEADERS, 0, 1, block()) + frame(PING, 0, 0, bytes(8)))


def window_overflow(peer: socket.socket) -> None:
    """A connection window past 2^31-1."""
    peer.sendall(HELLO + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2)


def data_on_idle_stream(peer: socket.socket) -> None:
    """DATA where no HEADERS have been."""
    peer.sendall(HELLO + frame(DATA, 0, 7, b"x"))


def rapid_reset(peer: socket.socket) -> None:
    """Calls opened and reset at once, without end (CVE-2023-44487)."""
    peer.sendall(HELLO)
    head, reset = block(), (8).to_bytes(4, "big")
    peer.setblocking(False)
    for number in range(40_000):
        stream = 2 * number + 1
        content = frame(HEADERS, END_HEADERS, stream, head) + frame(RST_STREAM, 0, stream, reset)
        deliver(peer, content)


def deliver(peer: socket.socket, content: bytes) -> None:
    """Send all of it while reading and dropping what comes, so that neither side waits."""
    view, deadline = memoryview(content), time.monotonic() + ENDED_S
    while view:
        with contextlib.suppress(BlockingIOError):
            view = view[peer.send(view) :]
        with contextlib.suppress(BlockingIOError):
            if not peer.recv(1 << 16):
                raise ConnectionResetError
        assert time.monotonic() < deadline, "it neither read nor closed"


def silent(peer: socket.socket) -> None:
    """Nothing at all."""


def slow_preface(peer: socket.socket) -> None:
    """HTTP/2's first bytes, one at a time."""
    drip(peer, PREFACE)


def slow_headers(peer: socket.socket) -> None:
    """A header block, one byte at a time."""
    peer.sendall(HELLO)
    drip(peer, frame(HEADERS, END_HEADERS, 1, block()) * 10)


def slow_reader(peer: socket.socket) -> None:
    """Pings without end, and no answer is ever read."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.sendall(HELLO)
    peer.settimeout(ENDED_S)
    while True:
        peer.sendall(frame(PING, 0, 0, bytes(8)) * 4_096)


def slow_request_line(peer: socket.socket) -> None:
    """HTTP/1.1's slowloris: a head that never ends, a byte at a time."""
    peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    drip(peer, b"x-slow: " + b"y" * 10_000)


def endless_head(peer: socket.socket) -> None:
    """HTTP/1.1 with one header that never ends."""
    peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx-large: ")
    while True:
        peer.sendall(b"y" * 4_096)


def many_headers(peer: socket.socket) -> None:
    """HTTP/1.1 with headers without number."""
    peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    while True:
        peer.sendall(b"".join(b"x-%d: %s\r\n" % (n, b"y" * 100) for n in range(40)))


def endless_body(peer: socket.socket) -> None:
    """HTTP/1.1 with a chunked body that never ends."""
    peer.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    for _ in range(4_096):
        peer.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def bad_chunk(peer: socket.socket) -> None:
    """HTTP/1.1 with a chunk size that is no number."""
    peer.sendall(
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nzz\r\n"
    )


def drip(peer: socket.socket, content: bytes) -> None:
    """One byte each tenth of a second, until the other side has closed."""
    peer.settimeout(0.1)
    for byte in content:
        peer.sendall(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            while peer.recv(4_096):
                pass
            raise ConnectionResetError


def is_ended_by(address: tuple[str, int], attack: Attack) -> bool:
    """Attack; True once the server has closed the connection, False if it did not in time."""
    with socket.create_connection(address, timeout=ENDED_S) as peer:
        try:
            attack(peer)
            peer.settimeout(ENDED_S)
            deadline = time.monotonic() + ENDED_S
            while peer.recv(1 << 16):
                if time.monotonic() > deadline:
                    return False
        except TimeoutError:
            return False
        except OSError:
            return True
    return True


def is_borne_by(address: tuple[str, int], attack: Attack) -> None:
    """Attack and leave: for what a server may also answer on the stream alone, or ignore."""
    with socket.create_connection(address, timeout=ENDED_S) as peer, contextlib.suppress(OSError):
        attack(peer)
        peer.settimeout(0.5)
        while peer.recv(1 << 16):
            pass


FATAL_ATTACKS = (not_http, oversized_frame, malformed_hpack, interrupted_headers)
OTHER_ATTACKS = (
    endless_continuation,
    hpack_bomb,
    window_overflow,
    data_on_idle_stream,
    rapid_reset,
)
HTTP2_SLOW = (silent, slow_preface, slow_headers, slow_reader)
HTTP1_ATTACKS = (not_http, endless_head, many_headers, endless_body, bad_chunk)
HTTP1_SLOW = (silent, slow_request_line)

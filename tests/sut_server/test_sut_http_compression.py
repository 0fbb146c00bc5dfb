"""gzip at sut-server's HTTP ports, through a transport in memory."""

from __future__ import annotations

import gzip
import json

import pytest
from memory_transport import MemoryTransport

from sut_server.http.compression import HttpCompression
from sut_server.http.connection import (
    BODY_BYTES_MAX,
    HttpCall,
    HttpConnection,
    HttpRequest,
    HttpShared,
)

BODY = b'{"question": "' + b"what " * 40 + b'"}'


class Api:
    """Says back what it was asked, whole or in three chunks."""

    def __init__(self, chunked: bool = False) -> None:
        self.chunked = chunked
        self.asked: list[bytes] = []

    def handle(self, call: HttpCall, request: HttpRequest) -> None:
        self.asked.append(request.body)
        if not self.chunked:
            call.respond(200, "a/b", request.body, "X-More: 1\r\n")
            return
        call.begin("a/b")
        for _ in range(3):
            call.send(request.body)
        call.end()


def answered(
    api: Api, offered: bool, body: bytes, *headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and what is behind the head."""
    transport = MemoryTransport()
    shared = HttpShared(HttpCompression(api.handle, offered).handle, lambda: 0)
    connection = HttpConnection(shared)
    connection.connection_made(transport)
    lines = ["POST /x HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    connection.data_received("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)
    head, _, content = bytes(transport.written).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return (
        int(first.split()[1]),
        {k.lower(): v for k, v in (one.split(": ") for one in rest)},
        content,
    )


def chunks(content: bytes) -> list[bytes]:
    found = []
    while content:
        size, _, rest = content.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        content = rest[int(size, 16) + 2 :]
    assert found.pop() == b""
    return found


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("accepts", [False, True])
def test_requests_and_answers_are_coded_each_for_itself(is_packed: bool, accepts: bool) -> None:
    headers = ["Content-Encoding: gzip"] * is_packed + ["Accept-Encoding: br, gzip"] * accepts
    api = Api()
    status, found, content = answered(
        api, True, gzip.compress(BODY) if is_packed else BODY, *headers
    )
    assert (status, api.asked) == (200, [BODY])
    assert found.get("content-encoding") == ("gzip" if accepts else None)
    assert int(found["content-length"]) == len(content)
    assert found["x-more"] == "1"
    assert (gzip.decompress(content) if accepts else content) == BODY


def test_each_chunk_can_be_read_when_it_has_come() -> None:
    _, found, content = answered(Api(chunked=True), True, BODY, "Accept-Encoding: gzip")
    assert found["content-encoding"] == "gzip"
    pieces = chunks(content)
    assert gzip.decompress(b"".join(pieces)) == BODY * 3
    assert len(pieces) == 4  # three, and the end of the gzip


def test_without_the_flag_nothing_is_compressed_and_nothing_compressed_is_taken() -> None:
    api = Api()
    status, found, content = answered(api, False, BODY, "Accept-Encoding: gzip")
    assert (status, "content-encoding" in found, content) == (200, False, BODY)
    status, found, content = answered(api, False, gzip.compress(BODY), "Content-Encoding: gzip")
    assert (status, found["accept-encoding"]) == (415, "identity")
    assert "--compression gzip" in json.loads(content)["error"]["message"]
    assert api.asked == [BODY]


@pytest.mark.parametrize(
    ("body", "coding", "status", "text"),
    [
        (b"x", "br", 415, "compressed by br are not taken"),
        (BODY, "gzip", 400, "is not gzip"),
        (gzip.compress(BODY, mtime=0)[:-2], "gzip", 400, "ends too soon"),
        (
            gzip.compress(bytes(BODY_BYTES_MAX + 1), mtime=0),
            "gzip",
            413,
            "inflates to more than the limit",
        ),
    ],
)
def test_a_bad_compressed_request_is_refused_by_name(
    body: bytes, coding: str, status: int, text: str
) -> None:
    api = Api()
    found, _, content = answered(api, True, body, f"Content-Encoding: {coding}")
    assert found == status
    assert text in json.loads(content)["error"]["message"]
    assert api.asked == []

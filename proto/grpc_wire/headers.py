"""Header blocks that we send: the ready block of a request, and the fields of an answer.

Our blocks are stateless (every literal never-indexed), so a block is made once and sent many
times; no state of the connection goes into it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote_from_bytes

from hpack import Encoder, NeverIndexedHeaderTuple

from grpc_wire.errors import HeaderError
from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start
from grpc_wire.limits import MAX_REQUEST_BLOCK_BYTES, MAX_STATUS_TEXT_BYTES, REMEMBERED_SIZES

USER_AGENT: Final = "grpc-python-loadgen/1"
# A dynamic table size update to 0 (RFC 7541 6.3). Our first block on a connection starts with
# it, so that whatever table size the peer announces later asks nothing of us.
TABLE_SIZE_ZERO: Final = b"\x20"

_NAME: Final = re.compile(r"[0-9a-z_.\-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_RESERVED: Final = frozenset(
    ("te", "content-type", "host", "connection", "transfer-encoding", "upgrade", "keep-alive")
)
_TIMEOUT_UNITS: Final = (
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("S", 1_000_000_000),
    ("M", 60_000_000_000),
    ("H", 3_600_000_000_000),
)


def encode_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a stateless header block: static references and never-indexed literals."""
    encoder = Encoder()
    return encoder.encode([NeverIndexedHeaderTuple(name, value) for name, value in fields])


class HeaderBlock:
    """A ready request header block. Made by ``request_headers``; shared by any connections."""

    __slots__ = ("block", "middles", "start")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.start = frame_start(len(block), HEADERS, END_HEADERS)
        self.middles: dict[int, bytes] = {}
        """What ``middle`` made, by size."""

    def with_field(self, name: bytes, value: bytes) -> HeaderBlock:
        """Return this block with one more field, for a single request.

        ``name``: lower case; both in printable ASCII, of at most 126 bytes, sent as they stand.
        Never indexed (RFC 7541 6.2.3), so the block stays stateless.
        """
        field = b"\x10%c%b%c%b" % (len(name), name, len(value), value)
        return HeaderBlock(self.block + field)

    def middle(self, size: int) -> bytes:
        """Return the bytes between the stream ids of HEADERS and of a closing DATA frame.

        ``size``: the bytes of that DATA frame.
        """
        found = self.middles.get(size)
        if found is None:
            if len(self.middles) >= REMEMBERED_SIZES:
                self.middles.clear()
            found = self.block + frame_start(size, DATA, END_STREAM)
            self.middles[size] = found
        return found


def request_headers(
    *,
    path: str,
    authority: str,
    scheme: str = "http",
    metadata: Sequence[tuple[str, str | bytes]] = (),
    timeout_ns: int | None = None,
    encoding: str = "",
    accept_encoding: str = "",
) -> HeaderBlock:
    """Return the header block of a gRPC request.

    ``encoding`` names how its messages are compressed, ``accept_encoding`` how answers may be.
    ``metadata`` names ending in ``-bin`` carry base64 of the value's bytes (of text: UTF-8). Raises
    HeaderError for a name or value that must not be sent.
    """
    if not path.startswith("/"):
        raise HeaderError(f"path {path!r} must start with '/'")
    fields = [(":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority)]
    fields += [("te", "trailers"), ("content-type", "application/grpc")]
    if not any(name.lower() == "user-agent" for name, _ in metadata):
        fields.append(("user-agent", USER_AGENT))
    if timeout_ns is not None:
        fields.append(("grpc-timeout", timeout_text(timeout_ns)))
    if encoding:
        fields.append(("grpc-encoding", encoding))
    if accept_encoding:
        fields.append(("grpc-accept-encoding", accept_encoding))
    fields += [checked_metadata(name, value) for name, value in metadata]
    block = encode_block(fields)
    if len(block) > MAX_REQUEST_BLOCK_BYTES:
        limit = MAX_REQUEST_BLOCK_BYTES
        raise HeaderError(f"headers take {len(block)} bytes, more than the {limit} servers accept")
    return HeaderBlock(block)


def checked_metadata(name: str, value: str | bytes) -> tuple[str, str]:
    """Return a metadata item as it is sent; raises HeaderError."""
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise HeaderError(f"header name {name!r} may hold only 0-9 a-z _ . -")
    if name in _RESERVED or name.startswith("grpc-"):
        raise HeaderError(f"header {name!r} is set by gRPC itself")
    if name.endswith("-bin"):
        raw = value.encode() if isinstance(value, str) else value
        return name, base64.b64encode(raw).decode("ascii").rstrip("=")
    if isinstance(value, bytes):
        raise HeaderError(f"the value of header {name!r} is bytes, which only -bin names carry")
    if not _VALUE.fullmatch(value):
        raise HeaderError(
            f"the value of header {name!r} must be printable ASCII without blanks at its ends"
        )
    return name, value


def timeout_text(timeout_ns: int) -> str:
    """Return a grpc-timeout value: at most eight digits, rounded up, never below 1 ns."""
    for unit, unit_ns in _TIMEOUT_UNITS:
        count = max(1, -(-timeout_ns // unit_ns))
        if count < 100_000_000:
            return f"{count}{unit}"
    return "99999999H"


def status_fields(code: int, text: str) -> list[tuple[str, str]]:
    """Return the trailers of an answer; ``text`` is cut so that one frame holds them."""
    fields = [("grpc-status", str(code))]
    if text:
        cut = text.encode("utf-8", "replace")[:MAX_STATUS_TEXT_BYTES]
        safe = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"
        fields.append(("grpc-message", quote_from_bytes(cut, safe=safe)))
    return fields

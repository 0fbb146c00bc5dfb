"""Header blocks: the ready block of a request, the blocks of answers, and reading the peer's.

Our blocks are stateless (every literal never-indexed), so a block is made once and sent many
times. The peer's blocks are decoded by ``hpack`` and remembered by their bytes while the
dynamic table is empty: then a block's meaning depends on nothing but its bytes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple, OversizedHeaderListError

from grpc_wire.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault, HeaderError
from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start

USER_AGENT: Final = "grpc-python-loadgen/1"
# A dynamic table size update to 0 (RFC 7541 6.3). Our first block on a connection starts with
# it, so that whatever table size the peer announces later asks nothing of us.
TABLE_SIZE_ZERO: Final = b"\x20"
# gRPC servers refuse more request metadata than 8 to 16 KiB; one frame always holds this.
MAX_REQUEST_BLOCK_BYTES: Final = 16_000
# Blocks remembered; past it all are forgotten, so that changing values cannot fill the memory.
REMEMBERED_BLOCKS: Final = 1_024
_REMEMBERED_SIZES: Final = 4_096
_MAX_TEXT_BYTES: Final = 2_048

_NAME: Final = re.compile(r"[0-9a-z_.\-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_RESERVED: Final = frozenset(
    ("te", "content-type", "host", "connection", "transfer-encoding", "upgrade", "keep-alive")
)
_CONNECTION_HEADERS: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_WIRE_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
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

    __slots__ = ("_middles", "block", "start")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.start = frame_start(len(block), HEADERS, END_HEADERS)
        self._middles: dict[int, bytes] = {}

    def middle(self, size: int) -> bytes:
        """Return the bytes between the stream ids of HEADERS and of a closing DATA frame.

        ``size``: the bytes of that DATA frame.
        """
        found = self._middles.get(size)
        if found is None:
            if len(self._middles) >= _REMEMBERED_SIZES:
                self._middles.clear()
            found = self.block + frame_start(size, DATA, END_STREAM)
            self._middles[size] = found
        return found


def request_headers(
    *,
    path: str,
    authority: str,
    scheme: str = "http",
    metadata: Sequence[tuple[str, str]] = (),
    timeout_ns: int | None = None,
) -> HeaderBlock:
    """Return the header block of a gRPC request.

    ``metadata`` names ending in ``-bin`` carry base64 of the value's bytes (UTF-8). Raises
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
    fields += [checked_metadata(name, value) for name, value in metadata]
    block = encode_block(fields)
    if len(block) > MAX_REQUEST_BLOCK_BYTES:
        limit = MAX_REQUEST_BLOCK_BYTES
        raise HeaderError(f"headers take {len(block)} bytes, more than the {limit} servers accept")
    return HeaderBlock(block)


def checked_metadata(name: str, value: str) -> tuple[str, str]:
    """Return a metadata item as it is sent; raises HeaderError."""
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise HeaderError(f"header name {name!r} may hold only 0-9 a-z _ . -")
    if name in _RESERVED or name.startswith("grpc-"):
        raise HeaderError(f"header {name!r} is set by gRPC itself")
    if name.endswith("-bin"):
        return name, base64.b64encode(value.encode()).decode("ascii").rstrip("=")
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
        cut = text.encode("utf-8", "replace")[:_MAX_TEXT_BYTES]
        safe = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"
        fields.append(("grpc-message", quote_from_bytes(cut, safe=safe)))
    return fields


@dataclass(frozen=True, slots=True)
class Response:
    """What a client reads from one block: ``status`` is HTTP's, ``code`` gRPC's, where present."""

    status: int | None
    code: int | None
    text: str
    content_type: str
    fault: str


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a server reads from one block. ``fault``: malformed; ``refused``: an HTTP status."""

    path: bytes
    metadata: Mapping[str, str]
    fault: str = ""
    refused: int = 0
    text: str = ""


Fields = list[tuple[bytes, bytes]]


class BlockReader:
    """Decodes the peer's blocks, and says when a block's meaning may be remembered."""

    __slots__ = ("_decoder", "_max_header_bytes")

    def __init__(self, max_header_bytes: int, *, table_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_header_bytes)
        self._max_header_bytes = max_header_bytes
        if not table_bytes:
            self._decoder.header_table_size = 0
            self._decoder.max_allowed_table_size = 0

    @property
    def is_stateless(self) -> bool:
        """True while the dynamic table is empty: a block then means the same each time."""
        return not self._decoder.header_table.dynamic_entries

    def forbid_table(self) -> None:
        """The peer has acknowledged our table size 0: its next block must say so."""
        self._decoder.max_allowed_table_size = 0

    def read(self, block: bytes) -> Fields:
        """Return the fields of a block; raises ConnectionFault, since its state is then lost."""
        try:
            return [(bytes(name), bytes(value)) for name, value in self._fields(block)]
        except OversizedHeaderListError as error:
            text = f"headers of more than {self._max_header_bytes} bytes"
            raise ConnectionFault(ENHANCE_YOUR_CALM, text) from error
        except HPACKError as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"header block: {error}") from error

    def _fields(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        return self._decoder.decode(block, raw=True)


def read_response(fields: Fields) -> Response:
    """Return what an answer's block says."""
    fault = _field_fault(fields, allowed=(b":status",))
    found = dict(fields)
    status = _number(found.get(b":status"))
    code = _number(found.get(b"grpc-status"))
    if b"grpc-status" in found and code is None:
        fault = f"grpc-status is {found[b'grpc-status']!r}"
    text = unquote_to_bytes(found.get(b"grpc-message", b"")).decode("utf-8", "replace")
    content_type = found.get(b"content-type", b"").decode("latin-1")
    return Response(status, code, text, content_type, fault)


def read_request(fields: Fields) -> RequestHead:
    """Return what a request's block says."""
    fault = _field_fault(fields, allowed=(b":method", b":scheme", b":path", b":authority"))
    found = dict(fields)
    path = found.get(b":path", b"")
    if not fault and not (path and b":scheme" in found and b":method" in found):
        fault = "request without :method, :scheme or :path"
    metadata = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in fields
        if not name.startswith(b":") and name not in (b"te", b"content-type")
    }
    head = RequestHead(path, MappingProxyType(metadata), fault)
    content_type = found.get(b"content-type", b"")
    if fault:
        return head
    if found[b":method"] != b"POST":
        text = f"gRPC needs POST, not {found[b':method'].decode('latin-1')}"
        return RequestHead(path, head.metadata, refused=405, text=text)
    if not is_grpc(content_type.decode("latin-1")):
        text = f"content-type {content_type.decode('latin-1')!r} is not application/grpc"
        return RequestHead(path, head.metadata, refused=415, text=text)
    return head


def is_grpc(content_type: str) -> bool:
    """True for application/grpc, alone or with a message format or parameters."""
    return re.fullmatch(r"application/grpc(?:[+;].*)?", content_type, re.IGNORECASE) is not None


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 6 else None


def _field_fault(fields: Fields, *, allowed: tuple[bytes, ...]) -> str:
    """Return why a block is malformed (RFC 9113 8.2), or nothing."""
    seen: set[bytes] = set()
    regular = False
    for name, _value in fields:
        if not _WIRE_NAME.fullmatch(name):
            return f"header name {name!r}"
        if not name.startswith(b":"):
            regular = True
            if name in _CONNECTION_HEADERS:
                return f"header {name!r} has no place in HTTP/2"
        elif regular or name in seen or name not in allowed:
            return f"pseudo-header {name!r} out of place"
        seen.add(name)
    return ""

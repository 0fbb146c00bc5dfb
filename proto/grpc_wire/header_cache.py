"""Header blocks that the peer sends: decoded by ``hpack``, remembered by their bytes, judged.

A block may be remembered while the peer's dynamic table is empty: then its meaning depends on
nothing but its bytes. We announce table size 0, so that is so from the peer's first
acknowledgement on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from hpack import Decoder, HPACKError, OversizedHeaderListError

from grpc_wire import errors
from grpc_wire.errors import ConnectionFault
from grpc_wire.limits import HEADER_BYTES_FACTOR, REMEMBERED_BLOCK_BYTES, REMEMBERED_BLOCKS

# The header table that a client may use before it has seen our SETTINGS (RFC 7541 4.2).
_INITIAL_TABLE_BYTES: Final = 4_096

_FIELD_BYTES: Final = 32
"""Counted for each field of a header list beside its name and value (RFC 9113 6.5.2)."""

_CONNECTION_HEADERS: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_LENGTH_DIGITS: Final = 16
_WIRE_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_GRPC: Final = re.compile(r"application/grpc(?:[+;].*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Response:
    """What a client reads from one block: ``status`` is HTTP's, ``code`` gRPC's, where present.

    ``fault``: why the block is not acceptable, and ``fault_code`` what its call becomes.
    ``encoding``: how messages that are marked as compressed are; "" where it is not said.
    """

    status: int | None
    code: int | None
    text: str
    content_type: str
    fault: str
    encoding: str = ""
    fault_code: int = errors.INTERNAL


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a server reads from one block. ``fault``: malformed; ``refused``: an HTTP status.

    ``code``: the gRPC status that goes with it, -1 where the HTTP status tells it.
    ``content_bytes``: the content-length, -1 where there is none.
    """

    path: bytes
    metadata: Mapping[str, str]
    fault: str = ""
    refused: int = 0
    text: str = ""
    code: int = -1
    content_bytes: int = -1


Fields = list[tuple[bytes, bytes]]
Meaning = TypeVar("Meaning")


class KnownBlocks(Generic[Meaning]):
    """Meanings by the bytes of their blocks: ``by_block``, bounded in number and in bytes."""

    def __init__(self) -> None:
        self.by_block: dict[bytes, Meaning] = {}
        self._bytes = 0

    def add(self, block: bytes, meaning: Meaning) -> None:
        """Remember a block. A table size update (RFC 7541 6.3) must be seen each time."""
        if not block or block[0] & 0xE0 == 0x20 or len(block) > REMEMBERED_BLOCK_BYTES:
            return
        self._bytes += len(block)
        if len(self.by_block) >= REMEMBERED_BLOCKS or self._bytes > REMEMBERED_BLOCK_BYTES:
            self.clear()
            self._bytes = len(block)
        self.by_block[block] = meaning

    def clear(self) -> None:
        """Know none."""
        self.by_block.clear()
        self._bytes = 0


class BlockReader:
    """Decodes the peer's blocks, and says when a block's meaning may be remembered.

    A list of more than ``max_header_bytes`` is still decoded, since the connection's state depends
    on it, up to ``HEADER_BYTES_FACTOR`` times as many.
    """

    def __init__(self, max_header_bytes: int, *, table_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_BYTES_FACTOR * max_header_bytes)
        self._max_header_bytes = max_header_bytes
        if not table_bytes:
            self._decoder.header_table_size = 0
            self._decoder.max_allowed_table_size = 0

    @property
    def is_stateless(self) -> bool:
        """True while the dynamic table is empty: a block then means the same each time."""
        return not self._decoder.header_table.dynamic_entries

    def forbid_table(self) -> None:
        """The peer has acknowledged our table size 0, so its table is empty from here on.

        Its next block must say so (RFC 7541 4.2); one that does not but uses no table is taken.
        """
        self._decoder.max_allowed_table_size = 0
        self._decoder.header_table_size = 0

    def read(self, block: bytes) -> Fields:
        """Return the fields of a block; raises ConnectionFault, since its state is then lost."""
        try:
            return [(bytes(name), bytes(value)) for name, value in self._fields(block)]
        except OversizedHeaderListError as error:
            limit = HEADER_BYTES_FACTOR * self._max_header_bytes
            text = f"headers of more than {limit} bytes"
            raise ConnectionFault(errors.ENHANCE_YOUR_CALM, text) from error
        except HPACKError as error:
            raise ConnectionFault(errors.COMPRESSION_ERROR, f"header block: {error}") from error

    def excess(self, fields: Fields) -> str:
        """Return what is to be said of a header list above our limit, or nothing."""
        size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in fields)
        if size <= self._max_header_bytes:
            return ""
        return f"headers of {size} bytes are over the limit of {self._max_header_bytes}"

    def _fields(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        return self._decoder.decode(block, raw=True)


class ResponseReader:
    """Reads answer blocks. The table size is 0, so a block may always be remembered."""

    def __init__(self, max_header_bytes: int) -> None:
        self._reader = BlockReader(max_header_bytes, table_bytes=0)
        self._known: KnownBlocks[Response] = KnownBlocks()

    def read(self, block: bytes) -> Response:
        """Return what the block says; raises ConnectionFault if it is no header block."""
        response = self._known.by_block.get(block)
        if response is None:
            fields = self._reader.read(block)
            excess = self._reader.excess(fields)
            if excess:
                return Response(None, None, "", "", excess, fault_code=errors.RESOURCE_EXHAUSTED)
            response = read_response(fields)
            self._known.add(block, response)
        return response


class RequestReader:
    """Reads request blocks; remembers them only while the peer's header table is empty."""

    def __init__(self, max_header_bytes: int) -> None:
        self._reader = BlockReader(max_header_bytes, table_bytes=_INITIAL_TABLE_BYTES)
        self._known: KnownBlocks[RequestHead] = KnownBlocks()

    def forbid_table(self) -> None:
        """The client has acknowledged our table size 0."""
        self._reader.forbid_table()

    def read(self, block: bytes) -> tuple[RequestHead, bool]:
        """Return what the block says, and whether the same bytes will always say so.

        Raises ConnectionFault if it is no header block.
        """
        reader = self._reader
        if reader.is_stateless:
            head = self._known.by_block.get(block)
            if head is not None:
                return head, True
        fields = reader.read(block)
        excess = reader.excess(fields)
        if excess:
            refused = RequestHead(b"", {}, "", 200, excess, errors.RESOURCE_EXHAUSTED)
            return refused, False
        head = read_request(fields)
        # A table size update must be seen each time, and a block that filled the table is
        # worth nothing to the next one.
        if not reader.is_stateless or not block or block[0] & 0xE0 == 0x20:
            return head, False
        self._known.add(block, head)
        return head, True


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
    encoding = found.get(b"grpc-encoding", b"").decode("latin-1")
    return Response(status, code, text, content_type, fault, encoding)


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
    length = found.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < _LENGTH_DIGITS):
        fault = fault or f"content-length is {length!r}"
    content_bytes = -1 if fault or length is None else int(length)
    head = RequestHead(path, MappingProxyType(metadata), fault, content_bytes=content_bytes)
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
    return _GRPC.fullmatch(content_type) is not None


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

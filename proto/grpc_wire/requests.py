"""How a server recognises requests: blocks by their bytes, and the usual request as one shape.

A client that makes its header block once sends HEADERS + DATA with the same bytes around the
message, so a whole request is one ``struct`` per message length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from grpc_wire.answers import PATIENCE, REMEMBERED_SIZES
from grpc_wire.events import Metadata
from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start
from grpc_wire.headers import REMEMBERED_BLOCKS, BlockReader, RequestHead, read_request
from grpc_wire.messages import PREFIX_BYTES, frame_prefix

Unpack = Callable[[bytes, int], tuple[bytes, int, bytes, int, bytes, bytes]]
# unpack_from, bytes of the whole request, bytes between its two stream ids, the message's
# prefix, bytes of DATA
Shape = tuple[Unpack, int, bytes, bytes, int]

# The header table that a client may use before it has seen our SETTINGS (RFC 7541 4.2).
_INITIAL_TABLE_BYTES = 4_096


class RequestReader:
    """Reads request blocks; remembers them only while the peer's header table is empty."""

    __slots__ = ("_known", "_reader")

    def __init__(self, max_header_bytes: int) -> None:
        self._reader = BlockReader(max_header_bytes, table_bytes=_INITIAL_TABLE_BYTES)
        self._known: dict[bytes, RequestHead] = {}

    def forbid_table(self) -> None:
        """The client has acknowledged our table size 0."""
        self._reader.forbid_table()

    def read(self, block: bytes) -> tuple[RequestHead, bool]:
        """Return what the block says, and whether the same bytes will always say so.

        Raises ConnectionFault if it is no header block.
        """
        reader = self._reader
        if reader.is_stateless:
            head = self._known.get(block)
            if head is not None:
                return head, True
        head = read_request(reader.read(block))
        # A table size update must be seen each time, and a block that filled the table is
        # worth nothing to the next one.
        if not reader.is_stateless or not block or block[0] & 0xE0 == 0x20:
            return head, False
        if len(self._known) >= REMEMBERED_BLOCKS:
            self._known.clear()
        self._known[block] = head
        return head, True


class RequestShapes:
    """The usual request's shapes by the length of DATA, as its three bytes on the wire."""

    __slots__ = ("_block", "_misses", "by_size", "mark", "metadata", "path", "start")

    def __init__(self) -> None:
        self.by_size: dict[bytes, Shape] = {}
        self.mark = 0  # where the DATA frame starts within the request
        self.start = b""
        self.path = b""
        self.metadata: Metadata = {}
        self._block = b""
        self._misses = 0

    def forget(self) -> None:
        """The header table is no longer empty: no block says the same each time."""
        self.by_size.clear()
        self._block = b""

    def learn(self, block: bytes, head: RequestHead, size: int) -> None:
        """Take a good unary request that was read the slow way; ``size``: the length of its DATA."""
        if block != self._block:
            self._misses += 1
            if self._block and self._misses < PATIENCE:
                return
            self._misses = 0
            self._block = block
            self.by_size.clear()
            self.mark = 9 + len(block)
            self.start = frame_start(len(block), HEADERS, END_HEADERS)
            self.path = head.path
            self.metadata = head.metadata
        if len(self.by_size) >= REMEMBERED_SIZES:
            self.by_size.clear()
        self.by_size[size.to_bytes(3, "big")] = self._shape(size)

    def _shape(self, size: int) -> Shape:
        middle = self._block + frame_start(size, DATA, END_STREAM)
        layout = struct.Struct(f">5sI{len(middle)}sI{PREFIX_BYTES}s{size - PREFIX_BYTES}s")
        prefix = frame_prefix(size - PREFIX_BYTES)
        return layout.unpack_from, layout.size, middle, prefix, size

"""gRPC messages: the five-byte prefix, and reading messages out of a stream's DATA.

A set compressed flag is refused, since neither half ever offers a compression.
"""

from __future__ import annotations

from grpc_wire.errors import INTERNAL, RESOURCE_EXHAUSTED, MessageFault
from grpc_wire.windows import Piece

PREFIX_BYTES = 5


def frame_prefix(length: int) -> bytes:
    """Return the prefix of an uncompressed message of ``length`` bytes."""
    return b"\0" + length.to_bytes(4, "big")


def frame_message(*parts: Piece) -> bytes:
    """Return ``parts`` joined as one gRPC message with its prefix."""
    return b"".join((frame_prefix(sum(map(len, parts))), *parts))


class Deframer:
    """Cuts the DATA of one stream into messages of at most ``max_message_bytes``.

    ``compressed_code`` is the status for a compressed message: INTERNAL for a client,
    UNIMPLEMENTED for a server (gRPC over HTTP/2, "Compression").
    """

    __slots__ = ("_chunks", "_code", "_held", "_max_message_bytes", "_needed")

    def __init__(self, max_message_bytes: int, compressed_code: int = INTERNAL) -> None:
        self._max_message_bytes = max_message_bytes
        self._code = compressed_code
        self._chunks: list[Piece] = []
        self._held = 0
        self._needed = PREFIX_BYTES

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""
        return self._held

    def feed(self, data: Piece, start: int, stop: int) -> list[Piece]:
        """Take ``data[start:stop]``; return the messages that became whole.

        Raises MessageFault. Each byte is joined once, however small the pieces are; a message
        that lies in a view as a whole is a view of the same memory.
        """
        if not self._held and stop - start >= PREFIX_BYTES:
            length = self._length(data, start)
            if start + PREFIX_BYTES + length == stop:
                return [data[start + PREFIX_BYTES : stop]]
        if self._held:
            self._chunks.append(data[start:stop])
            self._held += stop - start
            if self._held < self._needed:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
            start, stop = 0, len(data)
        return self._cut(data, start, stop)

    def _cut(self, data: Piece, start: int, stop: int) -> list[Piece]:
        """Return the whole messages of ``data[start:stop]`` and hold what is left."""
        messages: list[Piece] = []
        self._needed = PREFIX_BYTES
        while stop - start >= PREFIX_BYTES:
            after = start + PREFIX_BYTES + self._length(data, start)
            if after > stop:
                self._needed = after - start
                break
            messages.append(data[start + PREFIX_BYTES : after])
            start = after
        if start < stop:
            self._chunks.append(data[start:stop])
        self._held = stop - start
        return messages

    def _length(self, data: Piece, start: int) -> int:
        if data[start]:
            kind = "compressed" if data[start] == 1 else f"marked {data[start]}"
            text = f"message is {kind}; no compression was offered"
            raise MessageFault(self._code, text)
        length = int.from_bytes(data[start + 1 : start + PREFIX_BYTES], "big")
        if length > self._max_message_bytes:
            limit = self._max_message_bytes
            text = f"message of {length} bytes is over the limit of {limit}"
            raise MessageFault(RESOURCE_EXHAUSTED, text)
        return length

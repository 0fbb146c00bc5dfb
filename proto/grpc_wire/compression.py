"""gzip as messages and bodies carry it: made whole or in pieces, read within a bound.

Sans I/O. What would inflate to more than allowed is refused while it inflates, so that a few bytes
of a peer cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from grpc_wire.errors import INTERNAL, RESOURCE_EXHAUSTED, MessageFault
from grpc_wire.messages import PREFIX_BYTES, Deframer
from grpc_wire.windows import Piece, listed

GZIP: Final = "gzip"
IDENTITY: Final = "identity"
ACCEPTED: Final = "identity,gzip"
"""What ``grpc-accept-encoding`` says of a half that reads gzip."""

ENCODING: Final = "grpc-encoding"
ACCEPT_ENCODING: Final = "grpc-accept-encoding"

LEVEL: Final = 1
"""zlib's fastest. Pictures as floats: 43 MB/s to 0.38 of their size, against 7 MB/s to 0.33 at its
usual level 6; a client that prepares thousands of tensors would wait for minutes."""

WINDOW_BYTES: Final = 1 << 16

MEMBERS_MAX: Final = 4_096
"""Members of one body: each costs its reader some 10 us, and a peer 20 bytes."""

_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_COMPRESSED: Final = 1


def gzip_bytes(*parts: bytes | memoryview) -> bytes:
    """Return ``parts`` joined as one gzip member; the same bytes for the same parts."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    return b"".join((*map(stream.compress, parts), stream.flush()))


def compressed_message(framed: Piece | Sequence[Piece]) -> bytes:
    """Return a message with its five-byte prefix compressed, with the prefix that says so."""
    whole = framed if isinstance(framed, bytes) else b"".join(listed(framed))
    message = gzip_bytes(memoryview(whole)[PREFIX_BYTES:])
    return b"\1" + len(message).to_bytes(4, "big") + message


class Deflater:
    """A gzip body in pieces, each of which can be read as soon as it has arrived."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_FORMAT)

    def piece(self, data: bytes) -> bytes:
        """Return what ``data`` adds to the body."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def last(self) -> bytes:
        """Return what ends the body."""
        return self._stream.flush()


class Inflater:
    """Reads one gzip body as it comes, of any number of members and ``max_bytes`` in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._stream: zlib._Decompress | None = None
        self._members = 0

    @property
    def is_whole(self) -> bool:
        """The last member has ended, or none has begun."""
        return self._stream is None

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return what ``data`` inflates to. Raises MessageFault for no gzip, or too much of it."""
        pieces: list[bytes] = []
        for window in _windows(data):
            self._feed(window, pieces)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed(self, data: bytes | memoryview, pieces: list[bytes]) -> None:
        """Append what a window of the body inflates to."""
        while len(data):
            if self._stream is None:
                self._members += 1
                if self._members > MEMBERS_MAX:
                    text = f"has over {MEMBERS_MAX} gzip members"
                    raise MessageFault(RESOURCE_EXHAUSTED, text)
            stream = self._stream or zlib.decompressobj(_GZIP_FORMAT)
            try:
                piece = stream.decompress(data, self._left + 1)
            except zlib.error as error:
                raise MessageFault(INTERNAL, f"is not gzip ({error})") from error
            self._left -= len(piece)
            if self._left < 0:
                text = f"inflates to more than the limit of {self._max_bytes} bytes"
                raise MessageFault(RESOURCE_EXHAUSTED, text)
            pieces.append(piece)
            self._stream = None if stream.eof else stream
            data = stream.unused_data  # of the next member; empty while this one goes on


def _windows(data: bytes | memoryview) -> Iterator[memoryview]:
    """Pieces of ``data``: what is behind a member is copied, so that it must not be much."""
    view = memoryview(data)
    return (view[at : at + WINDOW_BYTES] for at in range(0, len(view), WINDOW_BYTES))


def inflated(data: Piece, max_bytes: int) -> bytes:
    """Return what a whole gzip body inflates to. Raises MessageFault."""
    inflater = Inflater(max_bytes)
    content = inflater.feed(data)
    if not data or not inflater.is_whole:
        raise MessageFault(INTERNAL, "is gzip that ends too soon")
    return content


class InflatingDeframer(Deframer):
    """A Deframer that takes compressed messages where ``encoding`` (the peer's) is gzip.

    The limit holds for a message as it comes and as it is. ``other_code`` is the status for any
    other encoding.
    """

    __slots__ = ("_encoding", "has_inflated")

    def __init__(self, max_message_bytes: int, encoding: str, other_code: int = INTERNAL) -> None:
        super().__init__(max_message_bytes, other_code)
        self._encoding = encoding
        self.has_inflated = False

    def feed(self, data: Piece, start: int, stop: int) -> list[Piece]:
        """See ``Deframer``."""
        return super().feed(data, start, stop) if self._held else self._cut(data, start, stop)

    def _cut(self, data: Piece, start: int, stop: int) -> list[Piece]:
        flags = self._flags(data, start, stop)
        messages = super()._cut(data, start, stop)
        if not any(flags):
            return messages
        self.has_inflated = True
        return [
            self._inflated(message) if flag else message
            for flag, message in zip(flags, messages, strict=True)
        ]

    def _flags(self, data: Piece, start: int, stop: int) -> bytes:
        """Return the flag of each whole message."""
        flags = bytearray()
        while stop - start >= PREFIX_BYTES:
            after = start + PREFIX_BYTES + self._length(data, start)
            if after > stop:
                break
            flags.append(data[start])
            start = after
        return bytes(flags)

    def _length(self, data: Piece, start: int) -> int:
        if data[start] != _COMPRESSED:
            return super()._length(data, start)
        if self._encoding != GZIP:
            by = self._encoding if self._encoding not in ("", IDENTITY) else "nothing"
            raise MessageFault(self._code, f"message is compressed by {by}, not by gzip")
        return super()._length(b"\0" + data[start + 1 : start + PREFIX_BYTES], 0)

    def _inflated(self, message: Piece) -> bytes:
        try:
            return inflated(message, self._max_message_bytes)
        except MessageFault as fault:
            raise MessageFault(fault.code, f"compressed message {fault.text}") from fault


def accepts_gzip(said: str) -> bool:
    """Whether a list of codings, as ``gzip, deflate;q=0.5``, lets an answer be gzip.

    A weight of 0 forbids one (RFC 9110 12.5.3); ``*`` is not taken for gzip.
    """
    for one in said.lower().split(","):
        name, _, weight = one.replace(" ", "").partition(";q=")
        if name == GZIP:
            return weight.strip("0.") != "" or not weight
    return False

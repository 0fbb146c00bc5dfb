"""Both halves with gzip: a client that asks for it, a server that takes it and gives it.

Only who wants compression makes these; the plain halves know nothing of it. A compressed message
always takes the slow path: it costs more than that path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from grpc_wire.client import ClientConnection
from grpc_wire.client_stream import Answer, Ending
from grpc_wire.compression import (
    ACCEPTED,
    GZIP,
    IDENTITY,
    InflatingDeframer,
    compressed_message,
)
from grpc_wire.errors import UNIMPLEMENTED
from grpc_wire.events import OPENED, REQUEST, Metadata, ServerEvent
from grpc_wire.header_cache import RequestHead, Response
from grpc_wire.headers import encode_block
from grpc_wire.response_template import HEAD_FIELDS
from grpc_wire.server import ServerConnection
from grpc_wire.server_stream import Request
from grpc_wire.windows import Piece

ENCODING: Final = "grpc-encoding"
ACCEPT_ENCODING: Final = "grpc-accept-encoding"

_GZIP_HEAD: Final = encode_block([*HEAD_FIELDS, (ENCODING, GZIP)])


class GzipAnswer(Answer):
    """An answer whose messages may be gzip."""

    __slots__ = ("_inflating", "_max_message_bytes")

    def __init__(
        self, key: int, max_message_bytes: int, stream_window: int, *, streaming: bool
    ) -> None:
        super().__init__(key, max_message_bytes, stream_window, streaming=streaming)
        self._max_message_bytes = max_message_bytes
        self._inflating: InflatingDeframer | None = None

    def take_block(self, block: bytes, response: Response, end_stream: bool) -> Ending | None:
        """See ``Answer``."""
        was_begun = self.is_begun
        ending = super().take_block(block, response, end_stream)
        if self.is_begun and not was_begun:
            limit, encoding = self._max_message_bytes, response.encoding
            self._deframer = self._inflating = InflatingDeframer(limit, encoding)
        return ending

    def usual(self) -> tuple[bytes, int] | None:
        """See ``Answer``; a compressed one is never the usual one."""
        is_compressed = self._inflating is not None and self._inflating.has_inflated
        return None if is_compressed else super().usual()


class GzipClientConnection(ClientConnection):
    """A client half that reads answers compressed by gzip; its headers must say that it does."""

    __slots__ = ()

    def _answer(self, key: int, *, streaming: bool) -> Answer:
        limit, window = self._max_message_bytes, self._stream_window
        return GzipAnswer(key, limit, window, streaming=streaming)


class GzipRequest(Request):
    """A request whose messages may be gzip; one that says so is never learned as the usual one."""

    __slots__ = ()

    def __init__(
        self, head: RequestHead, block: bytes, max_message_bytes: int, *, streaming: bool = False
    ) -> None:
        encoding = head.metadata.get(ENCODING, IDENTITY)
        is_plain = encoding == IDENTITY
        super().__init__(head, block if is_plain else b"", max_message_bytes, streaming=streaming)
        self._deframer = InflatingDeframer(max_message_bytes, encoding, UNIMPLEMENTED)


class GzipServerConnection(ServerConnection):
    """A server half that takes gzip, and answers by it those who say that they read it."""

    __slots__ = ("_accepting",)

    _request = GzipRequest
    _accepted = (ACCEPT_ENCODING, ACCEPTED)

    def __init__(self, **options: Any) -> None:
        """``options``: those of ``ServerConnection``."""
        super().__init__(**options)
        self._accepting: set[int] = set()

    def receive(self, data: bytes) -> list[ServerEvent]:
        """See ``ServerConnection``."""
        return self._noted(super().receive(data))

    def frame_filled(self, count: int) -> list[ServerEvent]:
        """See ``ServerConnection``."""
        return self._noted(super().frame_filled(count))

    def _noted(self, events: list[ServerEvent]) -> list[ServerEvent]:
        for event in events:
            if event[0] == REQUEST:
                self._note(event[1], event[4])
            elif event[0] == OPENED:
                self._note(event[1], event[3])
        return events

    def respond(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """See ``ServerConnection``."""
        if stream_id in self._accepting:
            return self._respond_slowly(stream_id, compressed_message(parts))
        return super().respond(stream_id, parts)

    def send_message(self, stream_id: int, parts: Piece | Sequence[Piece]) -> bool:
        """See ``ServerConnection``."""
        if stream_id in self._accepting:
            parts = compressed_message(parts)
        return super().send_message(stream_id, parts)

    def _note(self, stream_id: int, metadata: Metadata) -> None:
        if stream_id in self._open and accepts_gzip(metadata.get(ACCEPT_ENCODING, "")):
            self._accepting.add(stream_id)

    def _start_answer(self, stream_id: int, stream: Request) -> None:
        if stream_id in self._accepting and not stream.is_started:
            stream.is_started = True
            self.output.append(self._headers_frame(stream_id, _GZIP_HEAD, 0))
        else:
            super()._start_answer(stream_id, stream)

    def _forget(self, stream_id: int) -> bool:
        self._accepting.discard(stream_id)
        return super()._forget(stream_id)


def accepts_gzip(said: str) -> bool:
    """Whether a list of codings, as ``gzip, deflate;q=0.5``, lets an answer be gzip.

    A weight of 0 forbids one (RFC 9110 12.5.3); ``*`` is not taken for gzip.
    """
    for one in said.lower().split(","):
        name, _, weight = one.replace(" ", "").partition(";q=")
        if name == GZIP:
            return weight.strip("0.") != "" or not weight
    return False

"""One request as a server reads it: messages, limits and windows of one stream. It decides what
is wrong; the connection acts.
"""

from __future__ import annotations

from grpc_wire.compression import ENCODING, IDENTITY, InflatingDeframer
from grpc_wire.connection import DataFrame
from grpc_wire.errors import INTERNAL, UNIMPLEMENTED, MessageFault
from grpc_wire.header_cache import RequestHead
from grpc_wire.messages import Deframer
from grpc_wire.windows import Piece


class Request:
    """A stream with more to remember than that its unary request was delivered."""

    __slots__ = (
        "_content_bytes",
        "_deframer",
        "_received",
        "head",
        "is_ended",
        "is_half_closed",
        "is_known",
        "is_started",
        "message",
        "streaming",
    )

    def __init__(
        self,
        head: RequestHead,
        max_message_bytes: int,
        *,
        streaming: bool = False,
        takes_gzip: bool = False,
    ) -> None:
        self.head = head
        self.streaming = streaming
        self.message: Piece | None = None  # of a unary call, once whole
        self.is_half_closed = False  # the client has ended its side
        self.is_known = False  # the application has heard of this stream
        self.is_started = False  # our HEADERS have gone
        self.is_ended = False  # our END_STREAM is queued
        self._deframer = Deframer(max_message_bytes, UNIMPLEMENTED)
        if takes_gzip:
            encoding = head.metadata.get(ENCODING, IDENTITY)
            self._deframer = InflatingDeframer(max_message_bytes, encoding, UNIMPLEMENTED)
        self._content_bytes = 0  # DATA without padding
        self._received = 0  # DATA not given back to the stream's window

    @property
    def held_bytes(self) -> int:
        """Bytes kept here: part of a message, or a whole one that END_STREAM has yet to follow."""
        return self._deframer.held_bytes + len(self.message or b"")

    def take_data(self, frame: DataFrame) -> list[Piece]:
        """Take DATA; return a streaming call's messages.

        A unary call's message is kept. Raises MessageFault.
        """
        self._received += frame.size
        self._content_bytes += frame.stop - frame.start
        messages = self._deframer.feed(frame.data, frame.start, frame.stop)
        if self.streaming or not messages:
            return messages
        if len(messages) > 1 or self.message is not None:
            raise MessageFault(INTERNAL, "more than one message in a unary request")
        self.message = messages[0]
        return []

    def refill(self, stream_window: int) -> int:
        """Return the bytes to give back to the stream's window, -1 if the client overran it."""
        received = self._received
        if received * 2 <= stream_window:
            return 0
        self._received = 0
        return received if received <= stream_window else -1

    @property
    def has_said_length(self) -> bool:
        """The DATA is as long as the content-length says, if there is one (RFC 9113 8.1.1)."""
        return self.head.content_bytes in (-1, self._content_bytes)

    def check_whole(self) -> None:
        """The client has ended its side; raises MessageFault if a message is missing."""
        if self._deframer.held_bytes:
            raise MessageFault(INTERNAL, "the request ends within a message")
        if self.message is None and not self.streaming:
            raise MessageFault(INTERNAL, "request without a message")

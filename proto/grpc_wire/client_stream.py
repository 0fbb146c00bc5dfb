"""One answer as a client reads it: which blocks and data may come in which order, and what a
bad one means for the call. It decides; the connection acts.
"""

from __future__ import annotations

from grpc_wire.compression import InflatingDeframer
from grpc_wire.errors import (
    CANCEL,
    FLOW_CONTROL_ERROR,
    INTERNAL,
    OK,
    PROTOCOL_ERROR,
    UNKNOWN,
    CallFault,
    MessageFault,
    grpc_of_http,
)
from grpc_wire.header_cache import Response, is_grpc
from grpc_wire.messages import PREFIX_BYTES, Deframer
from grpc_wire.windows import Piece

Ending = tuple[int, str]  # gRPC code, text


class Answer:
    """A call with more to remember than its key: a part of its answer, or data yet to send."""

    __slots__ = (
        "_deframer",
        "_max_message_bytes",
        "_reads_gzip",
        "_received",
        "_stream_window",
        "is_begun",
        "key",
        "message",
        "streaming",
    )

    def __init__(
        self,
        key: int,
        max_message_bytes: int,
        stream_window: int,
        *,
        streaming: bool = False,
        reads_gzip: bool = False,
    ) -> None:
        self.key = key
        self.streaming = streaming
        self.message: bytes | None = None  # of a unary call, once whole
        self.is_begun = False  # the final HEADERS have come
        self._max_message_bytes = max_message_bytes
        self._reads_gzip = reads_gzip
        self._deframer = Deframer(max_message_bytes)
        self._received = 0  # DATA not given back to the stream's window
        self._stream_window = stream_window

    def resume(self, message: bytes | None) -> None:
        """Go on behind known HEADERS and, if there is one, a whole message in one DATA frame."""
        self._begin("")
        if message is not None:
            self.message = message
            self._received = PREFIX_BYTES + len(message)

    def _begin(self, encoding: str) -> None:
        self.is_begun = True
        if self._reads_gzip:
            self._deframer = InflatingDeframer(self._max_message_bytes, encoding)

    def take_block(self, response: Response, end_stream: bool) -> Ending | None:
        """Take HEADERS; return how the call ended, if it did. Raises CallFault."""
        if response.fault:
            reset_code = PROTOCOL_ERROR if response.fault_code == INTERNAL else CANCEL
            raise CallFault(response.fault_code, response.fault, reset_code)
        if self.is_begun:
            if not end_stream:
                raise CallFault(INTERNAL, "trailers without END_STREAM", PROTOCOL_ERROR)
            return self._end(response, "trailers without grpc-status")
        status = response.status
        if status is None or (status < 200 and end_stream):
            raise CallFault(INTERNAL, "answer without a final :status", PROTOCOL_ERROR)
        if status < 200:
            return None
        if end_stream and response.code is not None:
            return self._end(response, "")
        refusal = _refusal(status, response.content_type)
        if refusal is not None and not end_stream:
            raise CallFault(*refusal, CANCEL)
        if end_stream:
            return refusal or (UNKNOWN, "answer without grpc-status")
        self._begin(response.encoding)
        return None

    def take_data(self, size: int, data: Piece, start: int, stop: int) -> list[bytes]:
        """Take DATA of ``size`` bytes with padding; return a streaming call's messages.

        A unary call's message is kept. Raises CallFault.
        """
        if not self.is_begun:
            raise CallFault(INTERNAL, "DATA before HEADERS", PROTOCOL_ERROR)
        self._received += size
        if self._received > self._stream_window:
            raise CallFault(INTERNAL, "stream window overrun", FLOW_CONTROL_ERROR)
        try:
            messages = self._deframer.feed(data, start, stop)
        except MessageFault as fault:
            raise CallFault(fault.code, fault.text, CANCEL) from fault
        if self.streaming or not messages:
            return [bytes(message) for message in messages]
        if len(messages) > 1 or self.message is not None:
            raise CallFault(INTERNAL, "more than one message answers a unary call", CANCEL)
        self.message = bytes(messages[0])
        return []

    def refill(self) -> int:
        """Return the bytes to give back to the stream's window: nothing before half is used."""
        received = self._received
        if received * 2 <= self._stream_window:
            return 0
        self._received = 0
        return received

    def _end(self, response: Response, missing: str) -> Ending:
        if response.code is None:
            return UNKNOWN, missing
        if response.code != OK:
            return response.code, response.text
        if self._deframer.held_bytes:
            return INTERNAL, "the answer ends within a message"
        if self.message is None and not self.streaming:
            return INTERNAL, "status OK without a message"
        return OK, response.text


def _refusal(status: int, content_type: str) -> Ending | None:
    """Return what it means that something other than gRPC answers, None if gRPC does."""
    if status != 200:
        return grpc_of_http(status), f"HTTP status {status}"
    if not is_grpc(content_type):
        return UNKNOWN, f"content-type {content_type!r} is not application/grpc"
    return None

"""One answer as a client reads it: which blocks and data may come in which order, and what a
bad one means for the call. It decides; the connection acts.
"""

from __future__ import annotations

from grpc_wire import errors
from grpc_wire.compression import InflatingDeframer
from grpc_wire.connection import DataFrame
from grpc_wire.errors import CallFault, MessageFault
from grpc_wire.header_cache import Response, is_grpc
from grpc_wire.messages import PREFIX_BYTES, Deframer

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
            reset_code = (
                errors.PROTOCOL_ERROR if response.fault_code == errors.INTERNAL else errors.CANCEL
            )
            raise CallFault(response.fault_code, response.fault, reset_code)
        if self.is_begun:
            if not end_stream:
                raise CallFault(
                    errors.INTERNAL, "trailers without END_STREAM", errors.PROTOCOL_ERROR
                )
            return self._end(response, "trailers without grpc-status")
        status = response.status
        if status is None or (status < 200 and end_stream):
            raise CallFault(
                errors.INTERNAL, "answer without a final :status", errors.PROTOCOL_ERROR
            )
        if status < 200:
            return None
        if end_stream and response.code is not None:
            return self._end(response, "")
        refusal = _refusal(status, response.content_type)
        if refusal is not None and not end_stream:
            raise CallFault(*refusal, errors.CANCEL)
        if end_stream:
            return refusal or (errors.UNKNOWN, "answer without grpc-status")
        self._begin(response.encoding)
        return None

    def take_data(self, frame: DataFrame) -> list[bytes]:
        """Take DATA; return a streaming call's messages.

        A unary call's message is kept. Raises CallFault.
        """
        if not self.is_begun:
            raise CallFault(errors.INTERNAL, "DATA before HEADERS", errors.PROTOCOL_ERROR)
        self._received += frame.size
        if self._received > self._stream_window:
            raise CallFault(errors.INTERNAL, "stream window overrun", errors.FLOW_CONTROL_ERROR)
        try:
            messages = self._deframer.feed(frame.data, frame.start, frame.stop)
        except MessageFault as fault:
            raise CallFault(fault.code, fault.text, errors.CANCEL) from fault
        if self.streaming or not messages:
            return [bytes(message) for message in messages]
        if len(messages) > 1 or self.message is not None:
            raise CallFault(
                errors.INTERNAL, "more than one message answers a unary call", errors.CANCEL
            )
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
            return errors.UNKNOWN, missing
        if response.code != errors.OK:
            return response.code, response.text
        if self._deframer.held_bytes:
            return errors.INTERNAL, "the answer ends within a message"
        if self.message is None and not self.streaming:
            return errors.INTERNAL, "status OK without a message"
        return errors.OK, response.text


def _refusal(status: int, content_type: str) -> Ending | None:
    """Return what it means that something other than gRPC answers, None if gRPC does."""
    if status != 200:
        return errors.grpc_of_http(status), f"HTTP status {status}"
    if not is_grpc(content_type):
        return errors.UNKNOWN, f"content-type {content_type!r} is not application/grpc"
    return None

"""The client half: calls out, answers in. One call is two frames out and one tuple in.

The caller's ``key`` names a call (its slot number); stream ids stay inside. Nothing is sent again
here, and no clock is read: the caller cancels what is over its deadline.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpc_wire import errors, frames
from grpc_wire.answer_table import AnswerTable
from grpc_wire.client_stream import Answer
from grpc_wire.compression import IDENTITY
from grpc_wire.connection import Connection, DataFrame
from grpc_wire.errors import CallFault, ConnectionFault
from grpc_wire.events import CLOSED, DONE, MESSAGE, REFUSED, ROOM, ClientEvent
from grpc_wire.header_cache import ResponseReader
from grpc_wire.headers import TABLE_SIZE_ZERO, HeaderBlock
from grpc_wire.limits import LARGE_PIECE_BYTES, MAX_MESSAGE_BYTES, MAX_RESPONSE_HEADER_BYTES
from grpc_wire.messages import PREFIX_BYTES
from grpc_wire.windows import Piece, pieces_of

__all__ = ["CLOSED", "DONE", "MESSAGE", "REFUSED", "ROOM", "ClientConnection"]


class ClientConnection(Connection[ClientEvent]):
    """One connection to a server; bytes in, events out, bytes out."""

    def __init__(
        self,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_header_bytes: int = MAX_RESPONSE_HEADER_BYTES,
        max_frame_bytes: int = frames.DEFAULT_FRAME_BYTES,
        reads_gzip: bool = False,
    ) -> None:
        """``reads_gzip``: messages may be compressed; the request headers must say so."""
        super().__init__(max_message_bytes, max_header_bytes, max_frame_bytes)
        self._reads_gzip = reads_gzip
        self._next_id = 1
        self._peer_limit = frames.LARGEST_STREAM_ID
        self._limit = 0  # calls open at once; 0 until the peer's SETTINGS, and when draining
        self._is_refused = False  # the peer had no room for a call, though its limit says so
        largest = min(max_message_bytes, max_frame_bytes - PREFIX_BYTES)
        self._calls = AnswerTable(largest, self._answer)
        self._sent = self._calls.sent
        self._by_key: dict[int, int] = {}  # key -> stream, made when a cancel asks, never trusted
        self._blocks = ResponseReader(max_header_bytes)
        self._goaway = ""
        self.open_count = 0
        """Calls opened and not settled."""
        # No call will ever be opened again: GOAWAY, used-up stream ids, or closed.
        self.is_draining = False

    # ------------------------------------------------------------------ for the shell
    def start(self) -> None:
        """Queue the preface, our SETTINGS and a large connection window."""
        self.output.append(frames.PREFACE)
        self._announce({frames.ENABLE_PUSH: 0})

    @property
    def room(self) -> int:
        """Calls that may be opened now; 0 before the peer's SETTINGS and with a full window."""
        if self._send.window <= 0 or self._next_id > frames.LARGEST_STREAM_ID or self._is_refused:
            return 0
        return max(0, self._limit - self.open_count)

    @property
    def is_ready(self) -> bool:
        """The peer's SETTINGS have arrived and calls are taken."""
        return self._limit > 0

    def call(
        self,
        key: int,
        headers: HeaderBlock,
        parts: Piece | Sequence[Piece],
        *,
        streaming: bool = False,
    ) -> bool:
        """Open a call with one request message; False: no room, nothing was done.

        ``parts`` is the message with its five-byte prefix, in bytes or views of single bytes.
        ``streaming``: the answer may be many messages.
        """
        if streaming or not isinstance(parts, bytes):
            return self._call_slowly(key, headers, parts, streaming)
        size = len(parts)
        send = self._send
        if size > self._single_max or size > send.window:
            return self._call_slowly(key, headers, parts, streaming)
        if self.open_count >= self._limit or self._is_refused:
            return False
        stream_id = self._next_id
        if stream_id >= frames.LARGEST_STREAM_ID:
            self.is_draining = True
            if stream_id > frames.LARGEST_STREAM_ID:
                return False
        self._next_id = stream_id + 2
        self._sent[stream_id] = key
        self.open_count += 1
        send.window -= size
        word = stream_id.to_bytes(4, "big")
        middle = headers.middles.get(size) or headers.middle(size)
        if size < LARGE_PIECE_BYTES:
            self.output.append(word.join((headers.start, middle, parts)))
        else:
            self.output += (headers.start, word, middle, word, parts)
            self._is_mixed = True
        return True

    def call_each(
        self, keys: Sequence[int], headers: HeaderBlock, messages: Sequence[Piece | Sequence[Piece]]
    ) -> int:
        """``call`` for each, as far as that needs nothing but appending frames; returns how many.

        The next one, if any is left, is for ``call``: it is large, in parts, or there is no room.
        """
        send, middles, start = self._send, headers.middles, headers.start
        size_max = min(self._single_max, LARGE_PIECE_BYTES - 1)
        stream_id, window = self._next_id, send.window
        last_id = frames.LARGEST_STREAM_ID - 2
        room = 0 if self._is_refused else self._limit - self.open_count
        sent, append = self._sent, self.output.append
        count = 0
        for key, message in zip(keys[: max(0, room)], messages, strict=False):
            if not isinstance(message, bytes):
                break
            size = len(message)
            if size > size_max or size > window or stream_id > last_id:
                break
            sent[stream_id] = key
            word = stream_id.to_bytes(4, "big")
            append(word.join((start, middles.get(size) or headers.middle(size), message)))
            window -= size
            stream_id += 2
            count += 1
        self._next_id, send.window = stream_id, window
        self.open_count += count
        return count

    def cancel(self, key: int, error_code: int = errors.CANCEL) -> None:
        """Give a call up by RST_STREAM; no further event for its key. Unknown keys are ignored."""
        stream_id = self._stream_of(key)
        if stream_id:
            self._calls.forget(stream_id)
            self._end_one()
            self._reset(stream_id, error_code)

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take bytes from the transport; return what they say; see ``Connection.receive``."""
        if self.open_count < self._limit and self._send.window > 0 and not self._is_refused:
            return super().receive(data)
        events = super().receive(data)
        if self.room > 0:
            events.append((ROOM,))
        return events

    def eof(self) -> list[ClientEvent]:
        """The transport is closed: every open call is settled with BROKEN_CONNECTION."""
        events: list[ClientEvent] = []
        after = f" after {self._goaway}" if self._goaway else ""
        self._close(f"connection closed by the peer{after}", events)
        return events

    # ------------------------------------------------------------------ calls out
    def _call_slowly(
        self, key: int, headers: HeaderBlock, parts: Piece | Sequence[Piece], streaming: bool
    ) -> bool:
        """Open a call that is the first, large, in several parts, or answered by many messages."""
        if self.room <= 0:
            return False
        stream_id = self._next_id
        self._next_id = stream_id + 2
        self.is_draining = self._next_id > frames.LARGEST_STREAM_ID
        block = headers.block
        if stream_id == 1:
            block = TABLE_SIZE_ZERO + block
            self._allow_single()
        self.output.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block))
        self._calls.slow[stream_id] = self._answer(key, streaming=streaming)
        self.open_count += 1
        self._send.push(stream_id, pieces_of(parts), None)
        self._pump([])
        return True

    def _stream_of(self, key: int) -> int:
        """Return the stream of an open call, 0 if there is none.

        The index is made again only when it proves stale, so a storm of cancels costs one scan.
        """
        calls = self._calls
        for _ in range(2):
            stream_id = self._by_key.get(key, 0)
            if calls.key_of(stream_id) == key:
                return stream_id
            self._by_key = {key: stream_id for stream_id, key in calls.open_keys()}
        return 0

    def _answer(self, key: int, *, streaming: bool = False) -> Answer:
        return Answer(
            key,
            self._max_message_bytes,
            self._stream_window,
            streaming=streaming,
            reads_gzip=self._reads_gzip,
        )

    # ------------------------------------------------------------------ answers in
    def _greet(self, data: bytes) -> int:
        if b"HTTP/".startswith(data[:5]):
            if len(data) >= 5:
                raise ConnectionFault(errors.PROTOCOL_ERROR, "the peer speaks HTTP/1, not HTTP/2")
            return 0
        self._is_greeted = True
        return 0

    def _take_known(self, data: bytes, pos: int, end: int, events: list[ClientEvent]) -> int:
        before = len(events)
        pos, data_bytes = self._calls.take_known(data, pos, end, events)
        settled_count = len(events) - before
        if settled_count:
            self.open_count -= settled_count
            self._is_refused = False
        self._inbound -= data_bytes
        if self._inbound * 2 < self._inbound_target:
            self._count_inbound(0)
        return pos

    def _on_block(
        self, stream_id: int, end_stream: bool, block: bytes, events: list[ClientEvent]
    ) -> None:
        call = self._call_of(stream_id)
        if call is None:
            return
        was_begun = call.is_begun
        try:
            response = self._blocks.read(block)
            ending = call.take_block(response, end_stream)
        except CallFault as fault:
            self._abort(stream_id, call, fault, events)
            return
        if ending is None:
            if call.is_begun and response.encoding in ("", IDENTITY):
                self._calls.heads.add(block, None)
            return
        if was_begun and ending == (errors.OK, ""):
            self._calls.tails.add(block, None)
        self._finish(stream_id, call, *ending, events)

    def _call_of(self, stream_id: int) -> Answer | None:
        """Return an open call as the slow path knows it; None: settled or cancelled."""
        call = self._calls.find_slow(stream_id)
        if call is None and (not stream_id & 1 or stream_id >= self._next_id):
            text = f"frame on stream {stream_id}, which was never opened"
            raise ConnectionFault(errors.PROTOCOL_ERROR, text)
        return call

    def _on_data(self, frame: DataFrame, events: list[ClientEvent]) -> None:
        stream_id = frame.stream_id
        call = self._call_of(stream_id)
        if call is None:
            return
        try:
            for message in call.take_data(frame):
                events.append((MESSAGE, call.key, message))
        except CallFault as fault:
            self._abort(stream_id, call, fault, events)
            return
        if frame.flags & frames.END_STREAM:
            self._finish(stream_id, call, errors.INTERNAL, "the answer has no trailers", events)
            return
        increment = call.refill()
        if increment:
            self.output.append(frames.window_update_frame(stream_id, increment))

    # ------------------------------------------------------------------ ends
    def _finish(
        self, stream_id: int, call: Answer, code: int, text: str, events: list[ClientEvent]
    ) -> None:
        """Settle a call whose stream the peer has ended; what was still to be sent is dropped."""
        del self._calls.slow[stream_id]
        self._end_one()
        if stream_id in self._send:
            self._reset(stream_id, errors.CANCEL)
        events.append((DONE, call.key, code, None if code else call.message, text))

    def _abort(
        self, stream_id: int, call: Answer, fault: CallFault, events: list[ClientEvent]
    ) -> None:
        """Settle a call whose answer is unacceptable, and reset its stream."""
        self._reset(stream_id, fault.reset_code)
        self._finish(stream_id, call, fault.code, fault.text, events)

    def _end_one(self) -> None:
        self.open_count -= 1
        self._is_refused = False

    def _refuse(self, stream_id: int, call: Answer, text: str, events: list[ClientEvent]) -> None:
        """Settle a call that the peer has not processed (RFC 9113 8.7)."""
        self._send.drop(stream_id)
        del self._calls.slow[stream_id]
        self._end_one()
        events.append((REFUSED, call.key, text))

    def _on_reset(self, stream_id: int, code: int, events: list[ClientEvent]) -> None:
        call = self._call_of(stream_id)
        if call is None:
            return
        text = f"stream reset by the peer: {errors.error_name(code)}"
        if code == errors.REFUSED_STREAM and not call.is_begun:
            self._refuse(stream_id, call, text, events)
            self._is_refused = self.open_count > 0
        else:
            self._send.drop(stream_id)
            self._finish(stream_id, call, errors.grpc_of_reset(code), text, events)

    def _on_goaway(
        self, last_stream_id: int, code: int, text: str, events: list[ClientEvent]
    ) -> None:
        self._goaway = f"GOAWAY {errors.error_name(code)}" + (f" ({text})" if text else "")
        self._limit = 0
        self.is_draining = True
        opened = [stream_id for stream_id, _ in self._calls.open_keys()]
        for stream_id in sorted(one for one in opened if one > last_stream_id):
            call = self._call_of(stream_id)
            if call is not None:
                why = f"refused by {self._goaway}: not processed"
                self._refuse(stream_id, call, why, events)

    def _on_closed(self, reason: str, events: list[ClientEvent]) -> None:
        self._limit = 0
        self.is_draining = True
        for _, key in sorted(self._calls.open_keys()):
            events.append((DONE, key, errors.BROKEN_CONNECTION, None, reason))
        self._calls.clear()
        self.open_count = 0
        events.append((CLOSED, reason))

    # ------------------------------------------------------------------ settings and windows
    def _on_peer_settings(self, settings: dict[int, int]) -> None:
        self._peer_limit = settings.get(frames.MAX_CONCURRENT_STREAMS, self._peer_limit)
        if not self.is_draining:
            self._limit = self._peer_limit

    def _on_stream_window(self, stream_id: int, increment: int, events: list[ClientEvent]) -> None:
        if stream_id in self._send:
            if not self._send.grow_stream(stream_id, increment):
                call = self._calls.slow[stream_id]
                text = "stream window above 2^31-1"
                fault = CallFault(errors.INTERNAL, text, errors.FLOW_CONTROL_ERROR)
                self._abort(stream_id, call, fault, events)
        elif not stream_id & 1 or stream_id >= self._next_id:
            raise ConnectionFault(
                errors.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}"
            )

    def _on_sent(self, stream_id: int, events: list[ClientEvent]) -> None:
        """A request sent whole, with nothing received: the fast path may take its answer."""
        self._send.drop(stream_id)
        call = self._calls.slow.get(stream_id)
        if call is not None and not call.is_begun and not call.streaming:
            del self._calls.slow[stream_id]
            self._sent[stream_id] = call.key

    def _last_peer_stream(self) -> int:
        return 0

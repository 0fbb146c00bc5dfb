"""An asyncio protocol around the server half of grpc_wire: bytes in, calls out, answers back.

Large requests are read where they stay, all else into memory that the connections share. Owns no
decision about answers. Paths in ``ready`` are answered here with the same bytes every time; every
other call goes to the servicer.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from grpc_wire.events import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    Request,
    ServerEvent,
)
from grpc_wire.messages import frame_message, frame_prefix
from grpc_wire.server import ServerConnection
from grpc_wire.windows import WRITEV_PIECES_MAX, Piece, unsent

from sut_server.connection_limits import ConnectionLimits, ConnectionWatch
from sut_server.engines.calls import Call
from sut_server.engines.null import FIRST_INPUT, ReadyAnswer
from sut_server.errors import Code
from sut_server.grpc.streams import Stream
from sut_server.portions import PORTIONS_MAX, WHOLE_COUNT_MAX, portion_bytes
from sut_server.wakefulness import NextRequest

if TYPE_CHECKING:
    from sut_server.tracing import Tracer

JOINED_BYTES: Final = 16_384
"""Answers up to this size are copied into one piece with their prefix; larger ones are not."""

READ_BYTES: Final = 1 << 18
"""The most that is read at once into the memory that connections share."""

HEAD_BYTES: Final = 4_096
"""Read after a large request: the head of the next, and little of what is to be read in place."""

LOOK_BYTES: Final = 1 << 16
"""The most that is read by a look: what allocators have at hand."""

UNSENT_BYTES_MAX: Final = 1 << 30
"""Answers that wait for a caller's windows; past it the caller asks and does not take."""


@dataclass(slots=True)
class Connections:
    """What all connections of a server share, and the connections that are open."""

    handle: Callable[[Call, bytes, Piece], None]
    clock_ns: Callable[[], int]
    make_wire: Callable[[], ServerConnection]
    ready_path: bytes | None = None
    """The method that always answers ``ready``."""
    ready: ReadyAnswer | None = None
    count_ready: Callable[[int, int], None] = lambda count, now_ns: None
    """Told how many ready answers were given at one instant."""
    handle_streamed: Callable[[Call, Piece], None] = lambda call, message: call.refuse(
        Code.UNIMPLEMENTED, "this server answers no streams"
    )
    """One request of a streaming call."""
    next_request: NextRequest | None = None
    """Told of ready answers: the next request may come soon."""
    tracer: Tracer | None = None
    memory: Callable[[int], memoryview] = lambda size_bytes: memoryview(bytearray(size_bytes))
    """Gives so many writable bytes for a large request."""
    open: set[KserveConnection] = field(default_factory=set)
    connection_watch: ConnectionWatch = field(
        default_factory=lambda: ConnectionWatch(ConnectionLimits())
    )
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    """What is read stays here until it is taken in, before anything else is read."""

    def look(self) -> bool:
        """Read from a single connection, if it gets ready answers; whether anything had come."""
        if len(self.open) != 1:
            return False
        (only,) = self.open
        return only.look()


class KserveConnection(asyncio.BufferedProtocol):
    """One caller's connection."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._wire = shared.make_wire()
        self._calls: dict[int, Call] = {}
        self._streams: dict[int, Stream] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_flush_due = False
        self._is_paused = False
        self._is_in_place = False
        """What is read now is the rest of a large request."""
        self._scratch = shared.scratch
        self.received_bytes = 0
        self._unanswered_bytes = 0
        self._request_bytes = math.inf
        """Of one request with the ready answer, by the last read that brought some."""
        self._fd = -1
        """Of a plain socket whose caller gets ready answers."""

    @property
    def is_unfinished(self) -> bool:
        """The caller has begun a greeting, a frame or a header block, and not ended it."""
        return self._wire.is_unfinished

    @property
    def is_stalled(self) -> bool:
        """The caller does not read, or gives no window for what waits."""
        return self._is_paused or self._wire.blocked_bytes > 0

    @property
    def is_busy(self) -> bool:
        """A call waits for our answer."""
        return self.open_count > 0

    def abort(self) -> None:
        """End it without waiting for anything to be written."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def open_count(self) -> int:
        """Calls that wait for their answer."""
        return len(self._calls) + len(self._streams)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._shared.open.add(self)
        if not self._shared.connection_watch.admit(self):
            self.abort()
            return
        plain = transport.get_extra_info("socket")
        is_plain = plain is not None and transport.get_extra_info("sslcontext") is None
        if is_plain and self._shared.ready is not None:
            self._fd = plain.fileno()
        self._wire.start()
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport is to read to."""
        place = self._wire.frame_buffer(self._shared.memory)
        self._is_in_place = place is not None
        return self._scratch if place is None else place

    def buffer_updated(self, nbytes: int) -> None:
        """The transport has read so many bytes there."""
        shared = self._shared
        if self._is_in_place:
            now_ns = shared.clock_ns()
            self._scratch = shared.scratch[:HEAD_BYTES]
            count = self._take(self._wire.frame_filled(nbytes), now_ns)
            self._flush()
            self._note_read(nbytes, count, now_ns)
        else:
            data = self._scratch[:nbytes].tobytes()
            self._scratch = shared.scratch
            self._take_read(data)

    def look(self) -> bool:
        """Read and take in what has come, if anything has; see ``Connections.look``."""
        if self._fd < 0 or self._is_paused or self._wire.is_unfinished:
            return False
        try:
            data = os.read(self._fd, LOOK_BYTES)
        except OSError:
            return False  # nothing has come; whatever is wrong, the transport finds it too
        if data:  # so it does the end
            self._take_read(data)
        return bool(data)

    def _take_read(self, data: bytes) -> None:
        """Take in one read and write the answers there are: ready ones before all else is done."""
        read_bytes = len(data)
        is_long = read_bytes > WHOLE_COUNT_MAX * self._request_bytes and self._fd >= 0
        count, data = self._answer_alike(data, is_long) if self._fd >= 0 else (0, data)
        now_ns = self._shared.clock_ns()
        if count:
            self._shared.count_ready(count, now_ns)
        if is_long and data:
            count += self._take_in_portions(data, now_ns)
        elif data:
            count += self._take(self._wire.receive(data), now_ns)
            self._flush()
        self._note_read(read_bytes, count, now_ns)

    def _note_read(self, read_bytes: int, ready_count: int, now_ns: int) -> None:
        """So much was read, and so many requests in it got the ready answer."""
        self.received_bytes += read_bytes
        self._unanswered_bytes += read_bytes
        if ready_count:
            self._request_bytes = self._unanswered_bytes / ready_count
            self._unanswered_bytes = 0
            if self._shared.next_request is not None:
                self._shared.next_request.note(now_ns)
        if self._wire.blocked_bytes > UNSENT_BYTES_MAX:
            self.abort()

    def _answer_alike(self, data: bytes, is_long: bool) -> tuple[int, bytes]:
        """Answer a read that is ready requests alike; return how many, and what is left of it.

        Of a long one, the first answer leaves while the others are made: it keeps the caller awake.
        """
        ready, path, wire = self._shared.ready, self._shared.ready_path, self._wire
        if ready is None or path is None or not wire.answer_first(data, path, ready.to_many):
            return 0, data
        if is_long:
            self._flush_now()
        others, left = wire.answer_others(data)
        self._flush_now()
        wire.expect_alike()
        return 1 + others, left

    def _take_in_portions(self, data: bytes, now_ns: int) -> int:
        """Take in a read of many requests, and let the first answers go meanwhile."""
        request_bytes = self._request_bytes
        least_bytes = len(data) // PORTIONS_MAX
        count = start = 0
        while start < len(data):
            stop = start + max(least_bytes, portion_bytes(len(data) - start, request_bytes))
            count += self._take(self._wire.receive(data[start:stop]), now_ns)
            self._flush_now()
            start = stop
        return count

    def _take(self, events: Sequence[ServerEvent], now_ns: int) -> int:
        """Take in what came; returns how many requests got the ready answer."""
        shared = self._shared
        ready_path = shared.ready_path
        asked: list[Request] = []
        for event in events:
            if event[0] == REQUEST:
                if event[2] == ready_path:
                    asked.append(event)
                    continue
                if shared.tracer is None:
                    call = Call(self, event[1], now_ns)
                else:
                    call = shared.tracer.call(event[4], event[2], self, event[1], now_ns)
                self._calls[event[1]] = call
                shared.handle(call, event[2], event[3])
            else:
                self._take_rare(event, now_ns)
        if asked:
            self._answer_ready(asked)
            shared.count_ready(len(asked), now_ns)
        return len(asked)

    def _answer_ready(self, asked: Sequence[Request]) -> None:
        """Give the one answer; requests with an id get it with their id."""
        answer = self._shared.ready
        assert answer is not None
        at, plain = answer.tag_at, []
        for _, stream_id, _, request, _ in asked:
            if request[at : at + 1] == FIRST_INPUT:
                plain.append(stream_id)
            else:
                self._wire.respond(stream_id, answer.to(request))
        self._wire.respond_same(plain, answer.plain)

    def _take_rare(self, event: ServerEvent, now_ns: int) -> None:
        """Whatever is no unary request."""
        if event[0] == MESSAGE:
            stream = self._streams.get(event[1])
            if stream is not None:
                self._shared.handle_streamed(stream.open_call(now_ns), event[2])
        elif event[0] == OPENED:
            tracer = self._shared.tracer
            make = Call if tracer is None else partial(tracer.call, event[3], event[2])
            self._streams[event[1]] = Stream(self, event[1], make)
        elif event[0] == HALF_CLOSED:
            stream = self._streams.get(event[1])
            if stream is not None:
                stream.half_close()
        elif event[0] == CANCELLED:
            self._gone(event[1])
        elif event[0] == CLOSED:
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open.discard(self)
        self._shared.connection_watch.forget(self)
        self._transport = None
        self._fd = -1
        self._wire.eof()
        for stream_id in [*self._calls, *self._streams]:
            self._gone(stream_id)

    def pause_writing(self) -> None:
        """The caller does not read its answers: take no more requests from it meanwhile."""
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._transport is not None:
            self._transport.resume_reading()
            self._flush()

    def answer(self, stream_id: int, parts: list[bytes]) -> None:
        del self._calls[stream_id]
        length = sum(map(len, parts))
        if length <= JOINED_BYTES:
            self._wire.respond(stream_id, frame_message(*parts))
        else:
            self._wire.respond(stream_id, (frame_prefix(length), *parts))
        self._flush_soon()

    def send(self, stream_id: int, parts: list[bytes]) -> None:
        raise NotImplementedError("a unary call has one answer")

    def send_message(self, stream_id: int, parts: list[bytes]) -> None:
        """One message of a streaming call."""
        self._wire.send_message(stream_id, frame_message(*parts))
        self._flush_soon()

    def end_stream(self, stream_id: int) -> None:
        """The last message of a streaming call was sent."""
        self._streams.pop(stream_id, None)
        self._wire.finish(stream_id)
        self._flush_soon()

    def refuse(self, stream_id: int, code: Code, text: str) -> None:
        del self._calls[stream_id]
        self._wire.finish(stream_id, int(code), text)
        self._flush_soon()

    def forget(self, stream_id: int) -> None:
        del self._calls[stream_id]

    def go_away(self) -> None:
        """Ask the caller to open no more calls here; open ones are still answered."""
        self._wire.goaway()
        self._flush()

    def close(self) -> None:
        """Write what is ready and close."""
        self._flush()
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            output = self._wire.take_output()
            if output:
                self._transport.writelines(output)
            self._transport.close()

    def _gone(self, stream_id: int) -> None:
        call = self._calls.pop(stream_id, None) or self._streams.pop(stream_id, None)
        if call is not None:
            call.gone()

    def _flush_soon(self) -> None:
        """One write for all the answers of one turn of the loop."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._is_paused or self._transport is None:
            return
        output = self._wire.take_output()
        if output:
            self._transport.writelines(output)

    def _flush_now(self) -> None:
        """Write by ourselves; the transport would wait for the end of this turn of the loop."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._is_paused:
            return
        if transport.get_write_buffer_size():
            self._flush()
            return
        output = self._wire.take_output()
        try:
            sent = os.writev(self._fd, output[:WRITEV_PIECES_MAX]) if output else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            transport.abort()
            return
        left = unsent(output, sent)
        if left:
            transport.writelines(left)

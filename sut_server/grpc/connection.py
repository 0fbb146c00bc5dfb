"""An asyncio protocol around the server half of grpc_wire: bytes in, calls out, answers back.

Large requests are read where they stay, all else into memory that the connections share. Owns no
decision about answers. Paths in ``ready`` are answered here with the same bytes every time; every
other call goes to the servicer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from grpc_wire.events import (
    CANCELLED,
    CLOSED,
    HALF_CLOSED,
    MESSAGE,
    OPENED,
    REQUEST,
    ServerEvent,
)
from grpc_wire.messages import frame_message, frame_prefix
from grpc_wire.server import ServerConnection
from grpc_wire.windows import Piece

from sut_server.connection_limits import ConnectionLimits, ConnectionWatch, acknowledged_bytes
from sut_server.engines.calls import Call
from sut_server.errors import Code, no_method
from sut_server.grpc.streams import Stream
from sut_server.memory_budget import DEFAULT_BYTES

if TYPE_CHECKING:
    from sut_server.tracing import Tracer

JOINED_BYTES: Final = 16_384
"""Answers up to this size are copied into one piece with their prefix; larger ones are not."""

READ_BYTES: Final = 1 << 18
"""The most that is read at once into the memory that connections share."""

HEAD_BYTES: Final = 4_096
"""Read after a large request: the head of the next, and little of what is to be read in place."""

UNREAD_BYTES_MAX: Final = 1 << 30
"""Answers of all connections that wait for their callers to read them."""


@dataclass(slots=True)
class Connections:
    """What all connections of a server share, and the connections that are open."""

    handle: Callable[[Call, bytes, Piece], None]
    clock_ns: Callable[[], int]
    make_wire: Callable[[], ServerConnection]
    ready_path: bytes | None = None
    """The method whose requests ``ready_answer`` answers at once."""
    ready_answer: Callable[[Piece], bytes] = bytes
    """Gives the framed answer to a request."""
    count_ready: Callable[[int, int], None] = lambda count, now_ns: None
    """Told how many ready answers were given at one instant."""
    handle_streamed: Callable[[Call, Piece], None] = lambda call, message: call.refuse(
        Code.UNIMPLEMENTED, "this server answers no streams"
    )
    """One request of a streaming call."""
    streaming_paths: frozenset[bytes] = frozenset()
    """Methods that ``handle_streamed`` serves; another that the wire tells is refused at once."""
    tracer: Tracer | None = None
    open: set[KserveConnection] = field(default_factory=set)
    connection_watch: ConnectionWatch = field(
        default_factory=lambda: ConnectionWatch(ConnectionLimits())
    )
    held_bytes_max: int = DEFAULT_BYTES
    """Of requests that are not whole yet, on all connections. Whole ones are the servicer's."""
    held_bytes: int = 0
    unread_bytes: int = 0
    """Of answers on all connections that their callers have not taken."""
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    """What is read stays here until it is taken in, before anything else is read."""


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
        self._dropped: set[int] = set()
        """Calls that are never answered, as an injected fault wants."""
        self.received_bytes = 0
        self.held_bytes = 0
        """Of messages that are not whole yet."""
        self.unread_bytes = 0
        """Of answers that the caller has not taken."""

    @property
    def is_unfinished(self) -> bool:
        """The caller has begun a greeting, a frame, a header block or a request, and not ended it.

        Streams may rest between messages.
        """
        wire = self._wire
        if wire.is_unfinished or wire.held_bytes > 0:
            return True
        return wire.open_count > self.open_count + len(self._dropped)

    @property
    def is_stalled(self) -> bool:
        """The caller does not read, or gives no window for what waits."""
        return self._is_paused or self._wire.blocked_bytes > 0

    @property
    def is_busy(self) -> bool:
        """A call waits for our answer."""
        return self.open_count > 0

    def acknowledged_bytes(self) -> int:
        """Bytes of answers that have reached the caller's host."""
        return acknowledged_bytes(self._transport)

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
        self._wire.start()
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport is to read to."""
        region = self._wire.frame_buffer(_memory)
        self._is_in_place = region is not None
        return self._scratch if region is None else region

    def buffer_updated(self, nbytes: int) -> None:
        """The transport has read ``nbytes`` there."""
        shared = self._shared
        now_ns = shared.clock_ns()
        self.received_bytes += nbytes
        if self._is_in_place:
            self._scratch = shared.scratch[:HEAD_BYTES]
            events = self._wire.frame_filled(nbytes)
        else:
            data = self._scratch[:nbytes].tobytes()
            self._scratch = shared.scratch
            events = self._wire.receive(data)
        self._take(events, now_ns)
        self._flush()
        self._note_held()

    def _note_held(self) -> None:
        """Count what is not whole yet; past the server's limit the largest holder goes."""
        shared, held = self._shared, self._wire.held_bytes
        shared.held_bytes += held - self.held_bytes
        self.held_bytes = held
        if held and shared.held_bytes > shared.held_bytes_max:
            max(shared.open, key=lambda one: one.held_bytes).abort()

    def _note_unread(self) -> None:
        """Count answers that are not read; past the server's limit the slowest reader goes."""
        shared, transport, unread = self._shared, self._transport, 0
        if self.is_stalled and transport is not None:
            unread = self._wire.blocked_bytes + transport.get_write_buffer_size()
        shared.unread_bytes += unread - self.unread_bytes
        self.unread_bytes = unread
        if shared.unread_bytes > UNREAD_BYTES_MAX:
            max(shared.open, key=lambda one: one.unread_bytes).abort()

    def _take(self, events: Sequence[ServerEvent], now_ns: int) -> None:
        """Take in what came."""
        shared = self._shared
        ready_path, ready_count = shared.ready_path, 0
        for event in events:
            if event[0] == REQUEST:
                if event[2] == ready_path:
                    self._wire.respond(event[1], shared.ready_answer(event[3]))
                    ready_count += 1
                    continue
                if shared.tracer is None:
                    call = Call(self, event[1], now_ns)
                else:
                    call = shared.tracer.call(event[4], event[2], self, event[1], now_ns)
                self._calls[event[1]] = call
                shared.handle(call, event[2], event[3])
            else:
                self._take_rare(event, now_ns)
        if ready_count:
            shared.count_ready(ready_count, now_ns)

    def _take_rare(self, event: ServerEvent, now_ns: int) -> None:
        """Whatever is no unary request."""
        if event[0] == MESSAGE:
            stream = self._streams.get(event[1])
            if stream is not None:
                self._shared.handle_streamed(stream.open_call(now_ns), event[2])
        elif event[0] == OPENED and event[2] not in self._shared.streaming_paths:
            self._wire.finish(event[1], int(Code.UNIMPLEMENTED), no_method(event[2]))
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
        self._shared.held_bytes -= self.held_bytes
        self.held_bytes = 0
        self._note_unread()
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
        self._dropped.add(stream_id)

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
        self._dropped.discard(stream_id)
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
        if self._transport is None:
            return
        output = self._wire.take_output()
        if output:
            self._transport.writelines(output)
        if self.unread_bytes or self.is_stalled:
            self._note_unread()


def _memory(size_bytes: int) -> memoryview:
    """Writable memory for a large request; it is not cleared before it is read into."""
    return np.empty(size_bytes, dtype=np.uint8).data

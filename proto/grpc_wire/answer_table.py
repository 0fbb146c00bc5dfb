"""The open calls of a client's connection, and the tight loop that settles most of them.

A call goes through these tables by its stream: ``sent``, ``headed``, ``answered``, settled. Frames
of different streams may come in any order. A call with more to remember is ``slow``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from grpc_wire.client_stream import Answer
from grpc_wire.errors import OK
from grpc_wire.events import DONE, ClientEvent, Done
from grpc_wire.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_AND_PREFIX,
    FRAME_HEADER_BYTES,
    HEADERS,
)
from grpc_wire.header_cache import KnownBlocks
from grpc_wire.messages import PREFIX_BYTES

_TRAILERS = END_HEADERS | END_STREAM
_LEAST_BYTES = FRAME_AND_PREFIX.size
_MESSAGE_AT = FRAME_HEADER_BYTES + PREFIX_BYTES


class AnswerTable:
    """Calls by stream. ``sent``: the key of a unary call sent whole, nothing received.

    ``headed``: the same, once known headers have come; ``answered``: the event that known trailers
    will give. Each is all there is to know of its call. ``slow``: every other call.
    """

    def __init__(self, largest_message: int, new_answer: Callable[[int], Answer]) -> None:
        """``largest_message``: bytes of one that may come in one DATA frame."""
        self._largest_message = largest_message
        self._new_answer = new_answer
        self.sent: dict[int, int] = {}
        self.headed: dict[int, int] = {}
        self.answered: dict[int, Done] = {}
        self.slow: dict[int, Answer] = {}
        self.heads: KnownBlocks[None] = KnownBlocks()
        self.tails: KnownBlocks[None] = KnownBlocks()

    def take_known(
        self, data: bytes, pos: int, end: int, events: list[ClientEvent]
    ) -> tuple[int, int]:
        """Take frames from ``pos`` while each is known headers, one whole message, or trailers.

        Returns where the first other frame begins, and the bytes of DATA that were taken.
        """
        headed, answered = self.headed, self.answered
        pop_sent, pop_headed, pop_answered = self.sent.pop, headed.pop, answered.pop
        heads, tails, largest = self.heads.by_block, self.tails.by_block, self._largest_message
        unpack = FRAME_AND_PREFIX.unpack_from
        append = events.append
        data_bytes = 0
        last = end - _LEAST_BYTES
        while pos <= last:
            word, flags, stream_id, is_compressed, length = unpack(data, pos)
            stop = pos + FRAME_HEADER_BYTES + (word >> 8)
            if stop > end:
                break
            kind = word & 255
            if not kind:  # DATA
                message_at = pos + _MESSAGE_AT
                if flags or is_compressed or length != stop - message_at or length > largest:
                    break
                key = pop_headed(stream_id, None)
                if key is None:
                    break
                answered[stream_id] = (DONE, key, OK, data[message_at:stop], "")
                data_bytes += length + PREFIX_BYTES
            elif kind != HEADERS:
                break
            elif flags == _TRAILERS:
                if data[pos + FRAME_HEADER_BYTES : stop] not in tails:
                    break
                event = pop_answered(stream_id, None)
                if event is None:
                    break
                append(event)
            elif flags == END_HEADERS:
                if data[pos + FRAME_HEADER_BYTES : stop] not in heads:
                    break
                key = pop_sent(stream_id, None)
                if key is None:
                    break
                headed[stream_id] = key
            else:
                break
            pos = stop
        return pos, data_bytes

    def find_slow(self, stream_id: int) -> Answer | None:
        """An open call, with room to remember what the fast path does not; None: it is not open."""
        call = self.slow.get(stream_id)
        if call is not None:
            return call
        key = self.sent.pop(stream_id, None)
        if key is not None:
            call = self._new_answer(key)
        elif (key := self.headed.pop(stream_id, None)) is not None:
            call = self._new_answer(key)
            call.resume(None)
        elif (event := self.answered.pop(stream_id, None)) is not None:
            call = self._new_answer(event[1])
            call.resume(event[3])
        else:
            return None
        self.slow[stream_id] = call
        return call

    def open_keys(self) -> Iterator[tuple[int, int]]:
        """(stream, key) of every open call."""
        yield from self.sent.items()
        yield from self.headed.items()
        yield from ((stream_id, event[1]) for stream_id, event in self.answered.items())
        yield from ((stream_id, call.key) for stream_id, call in self.slow.items())

    def forget(self, stream_id: int) -> None:
        """Take a call out."""
        self.find_slow(stream_id)
        self.slow.pop(stream_id, None)

    def key_of(self, stream_id: int) -> int | None:
        """The key of the call on a stream, if it is open."""
        call = self.slow.get(stream_id)
        if call is not None:
            return call.key
        event = self.answered.get(stream_id)
        if event is not None:
            return event[1]
        return self.sent.get(stream_id, self.headed.get(stream_id))

    def clear(self) -> None:
        """No call is open."""
        self.sent.clear()
        self.headed.clear()
        self.answered.clear()
        self.slow.clear()

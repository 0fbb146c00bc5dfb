"""Answers by shared memory: every request out has places of its own for the tensors to come.

A place is used again only after the SUT has answered the request that it was given to. One whose
request was given up is not used again: the SUT may still write there. Kept answers get their
tensors back, so that what reads answers later need not know which way they came.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any, Final

from tritonclient.grpc import service_pb2

from loadgen_service.core.records.columns import NEVER
from loadgen_service.sut.interface import (
    CODE_BROKEN_CONNECTION,
    CODE_CANCELLED,
    CODE_UNAVAILABLE,
    DONE,
    ISSUED,
    REFUSED,
    Cell,
    Event,
    Parts,
    Sink,
    SystemUnderTest,
)
from loadgen_service.sut.kserve.grpc_request import ITEM_BYTES
from loadgen_service.sut.shm.requests import REGION_KEY, framed, set_place

CODE_DEADLINE_EXCEEDED: Final = 4
CODE_INTERNAL: Final = 13
_PREFIX_BYTES: Final = 5
_UNSETTLED: Final = frozenset({CODE_CANCELLED, CODE_DEADLINE_EXCEEDED, CODE_BROKEN_CONNECTION})


def unsettled(adapter: str) -> frozenset[int]:
    """Codes of calls that nobody may have answered: the SUT may still be at work on them.

    grpc.aio says UNAVAILABLE of a broken connection too; from our own wire it is an answer.
    """
    return _UNSETTLED | {CODE_UNAVAILABLE} if adapter == "grpc_aio" else _UNSETTLED


class OutputSlots:
    """Places for the outputs of ``count`` requests, ``size`` bytes each output, in one region."""

    def __init__(
        self, region: str, view: memoryview, names: Sequence[str], size: int, count: int
    ) -> None:
        self._view = view
        self._names = tuple(names)
        self._size = size
        self._stride = size * len(self._names)
        self._free = list(range(count - 1, -1, -1))
        self.tails = [self._tail(region, slot) for slot in range(count)]
        """What is appended to a request that gets the slot: a protobuf message's last fields."""

    def _tail(self, region: str, slot: int) -> bytes:
        message = service_pb2.ModelInferRequest()
        for place, name in enumerate(self._names):
            offset = slot * self._stride + place * self._size
            set_place(message.outputs.add(name=name).parameters, region, offset, self._size)
        return bytes(message.SerializeToString())

    def take(self) -> int | None:
        """A free slot; None where all are out."""
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """The SUT has answered: the slot may be used again."""
        self._free.append(slot)

    def joined(self, slot: int, message: bytes) -> bytes:
        """An answer with its tensors as raw contents. Raises ValueError for what does not fit."""
        answer = service_pb2.ModelInferResponse.FromString(message)
        placed = [REGION_KEY in output.parameters for output in answer.outputs]
        if not any(placed) and any(output.HasField("contents") for output in answer.outputs):
            return message  # typed contents: the SUT put nothing into a place
        contents = list(answer.raw_output_contents)
        # Triton lists an empty content for a placed output and does not say that it is placed;
        # others say so, and list only what the message carries.
        lists_all = len(contents) == len(answer.outputs)
        carried = iter(contents)
        del answer.raw_output_contents[:]
        for output, is_placed in zip(answer.outputs, placed, strict=True):
            own = next(carried, b"") if lists_all or not is_placed else b""
            answer.raw_output_contents.append(own or self._written(slot, output))
            output.parameters.clear()
        return bytes(answer.SerializeToString())

    def _written(self, slot: int, output: Any) -> bytes:
        """What the SUT wrote into an output's place."""
        if output.name not in self._names:
            raise ValueError(f"output {output.name!r} has neither content nor a place")
        start = slot * self._stride + self._names.index(output.name) * self._size
        place = self._view[start : start + self._size]
        item = ITEM_BYTES.get(output.datatype)
        count = prod(output.shape)
        size = count * item if item else _strings_bytes(place, count)
        if not 0 <= size <= self._size:
            raise ValueError(f"output {output.name!r}: {size} bytes, its place has {self._size}")
        return bytes(place[:size])


def _strings_bytes(place: memoryview, count: int) -> int:
    """Bytes of a BYTES tensor's elements at the start of ``place``; beyond it if they do not end.

    Each element is a little-endian length and its bytes.
    """
    size = 0
    for _ in range(count):
        if size + 4 > len(place):
            return size + 4
        size += 4 + int.from_bytes(place[size : size + 4], "little")
    return size


class PlacedAnswers:
    """The sink between adapters and the loop: frees slots, gives kept answers their tensors."""

    def __init__(
        self, slots: OutputSlots, keep: bool, target: Sink, unsettled: frozenset[int] = _UNSETTLED
    ) -> None:
        """``unsettled``: codes after which a slot is not used again."""
        self.slots = slots
        self._unsettled = unsettled
        self.out: dict[int, int] = {}
        """Slot of each request that is out."""
        self._keep = keep
        self._target = target
        self.suts: list[PlacedSut] = []

    def __call__(self, now_ns: int, events: Sequence[Event]) -> None:
        told = [
            self._settled(event) if event[0] == DONE else self._refused(event)
            for event in events
            if event[0] == DONE or event[0] == REFUSED
        ]
        self._target(now_ns, told)
        for sut in self.suts:
            sut.drain()

    def _refused(self, event: Event) -> Event:
        """The SUT has not seen the request: its slot is free."""
        slot = self.out.pop(event[1], None)
        for sut in self.suts:
            sut.settle(event[1])
        if slot is not None:
            self.slots.give_back(slot)
        return event

    def _settled(self, event: Event) -> Event:
        slot = self.out.pop(event[1], None)
        for sut in self.suts:
            sut.settle(event[1])
        if slot is None:
            return event
        if event[2] == 0 and self._keep and event[3] is not None:
            try:
                event = (*event[:3], self.slots.joined(slot, event[3]), *event[4:])
            except Exception as error:  # protobuf's DecodeError differs between implementations
                text = f"the answer's tensors cannot be read: {error}"
                event = (DONE, event[1], CODE_INTERNAL, None, text)
        if event[2] not in self._unsettled:
            self.slots.give_back(slot)
        return event


class PlacedSut:
    """An adapter whose requests name places for their outputs; without a free one they wait."""

    def __init__(self, inner: SystemUnderTest, answers: PlacedAnswers) -> None:
        self.address = inner.address
        self._inner = inner
        self._answers = answers
        self._waited = 0
        self._waiting: OrderedDict[int, tuple[bytes, Cell, str]] = OrderedDict()
        self._cells: dict[int, tuple[Cell, Cell]] = {}
        answers.suts.append(self)

    @property
    def blocked_count(self) -> int:
        """Calls that waited, here for a place or further down."""
        return self._waited + self._inner.blocked_count

    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""
        return len(self._waiting) + self._inner.waiting_count

    async def open(self) -> None:
        """The adapter within is open already."""

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``."""
        return self.issue_traced(key, parts, released_ns, "")

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """See ``interface.SystemUnderTest``; without a ``traceparent`` it is ``issue``."""
        message = parts if isinstance(parts, bytes) else b"".join(parts)
        slot = None if self._waiting else self._answers.slots.take()
        if slot is not None:
            return self._hand_over(key, message, slot, released_ns, traceparent)
        self._waited += 1
        cell = [released_ns, NEVER]
        self._waiting[key] = (message, cell, traceparent)
        return cell

    def _hand_over(
        self, key: int, message: bytes, slot: int, released_ns: int, traceparent: str
    ) -> Cell:
        self._answers.out[key] = slot
        request = framed(message[_PREFIX_BYTES:] + self._answers.slots.tails[slot])
        if traceparent:
            return self._inner.issue_traced(key, request, released_ns, traceparent)
        return self._inner.issue(key, request, released_ns)

    def drain(self) -> None:
        """Hand over what waits, oldest first, as far as there are places."""
        if not self._waiting:
            return
        while self._waiting and (slot := self._answers.slots.take()) is not None:
            key, (message, cell, traceparent) = self._waiting.popitem(last=False)
            self._cells[key] = (cell, self._hand_over(key, message, slot, cell[0], traceparent))
        self.flush()

    def settle(self, key: int) -> None:
        """The call ended: its cell gets the instant at which it was handed over."""
        pair = self._cells.pop(key, None)
        if pair is not None:
            pair[0][ISSUED] = pair[1][ISSUED]

    def flush(self) -> None:
        """See ``interface.SystemUnderTest``."""
        self._inner.flush()

    def cancel(self, key: int) -> None:
        """See ``interface.SystemUnderTest``."""
        if self._waiting.pop(key, None) is not None:
            return
        self.settle(key)
        self._answers.out.pop(key, None)  # the slot is not used again
        self._inner.cancel(key)

    def sweep(self, now_ns: int) -> None:
        """See ``interface.SystemUnderTest``."""
        self._inner.sweep(now_ns)
        self.drain()
        for ours, theirs in self._cells.values():
            ours[ISSUED] = theirs[ISSUED]

    async def close(self) -> None:
        """See ``interface.SystemUnderTest``."""
        self._waiting.clear()
        await self._inner.close()

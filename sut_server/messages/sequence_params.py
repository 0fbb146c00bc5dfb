"""KServe v2's sequence parameters, and the sequences that are live at a stateful model.

Strict where real servers are lenient: a request out of order is refused, so a client that sends one
is found out. Knows no socket and no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sut_server.errors import CallError, Code

ID_KEY: Final = "sequence_id"
START_KEY: Final = "sequence_start"
END_KEY: Final = "sequence_end"

IDLE_NS: Final = 1_000_000_000
"""A sequence left alone for so long gives way to a new one of its id: Triton's default."""

ID_BYTES_MAX: Final = 128
"""Triton's limit for ids of text. Ids are kept while their sequences are live."""

LIVE_MAX: Final = 65_536
"""Live sequences; beyond them the one left alone for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class SequencePlace:
    """Where a request stands: the id of its sequence, and whether it is the first or the last."""

    sequence_id: int | str
    is_start: bool
    is_end: bool


def sequence_place(parameters: Mapping[str, Any]) -> SequencePlace | None:
    """What a request's parameters say; None where they name no sequence (id 0 or "" is none).

    Raises CallError (INVALID_ARGUMENT) for an id that is neither a number nor text.
    """
    if ID_KEY not in parameters:
        return None
    kind = parameters[ID_KEY].WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param", "string_param"):
        raise CallError(Code.INVALID_ARGUMENT, f"{ID_KEY} must be a number or text")
    named = getattr(parameters[ID_KEY], kind)
    if not named:
        return None
    if isinstance(named, str) and len(named.encode()) > ID_BYTES_MAX:
        text = f"{ID_KEY} has at most {ID_BYTES_MAX} bytes"
        raise CallError(Code.INVALID_ARGUMENT, text)
    flags = [key in parameters and parameters[key].bool_param for key in (START_KEY, END_KEY)]
    return SequencePlace(named, *flags)


@dataclass(slots=True)
class _Live:
    total: int = 0
    step: int = 0
    is_busy: bool = False
    touched_ns: int = 0


class LiveSequences:
    """Running sums by sequence. ``begin`` a request, then ``end`` it when it is answered."""

    def __init__(self) -> None:
        self._live: OrderedDict[int | str, _Live] = OrderedDict()
        self.ended_count = 0

    @property
    def live_count(self) -> int:
        """Sequences that have begun and not ended."""
        return len(self._live)

    def begin(self, place: SequencePlace | None, value: int, now_ns: int) -> tuple[int, int]:
        """(sum with ``value``, number of the request in its sequence from 1 on).

        Raises CallError (INVALID_ARGUMENT) for a request outside its order.
        """
        if place is None:
            raise _refusal("the model is stateful: a request needs sequence_id, not 0")
        live = self._live.get(place.sequence_id)
        name = f"sequence {place.sequence_id!r}"
        if live is not None and live.is_busy:
            raise _refusal(f"{name}: its request before this one is not answered yet")
        if place.is_start:
            if live is not None and now_ns - live.touched_ns <= IDLE_NS:
                raise _refusal(f"{name} has begun already")
            live = self._live[place.sequence_id] = _Live()
        elif live is None:
            raise _refusal(f"{name} is not known: it has not begun, or it has ended")
        live.total = (live.total + value + 2**63) % 2**64 - 2**63
        live.step += 1
        live.is_busy, live.touched_ns = True, now_ns
        self._live.move_to_end(place.sequence_id)
        if len(self._live) > LIVE_MAX:
            self._live.popitem(last=False)
        return live.total, live.step

    def end(self, place: SequencePlace, now_ns: int) -> None:
        """The request is answered, whatever the answer; an ended sequence is forgotten."""
        live = self._live.get(place.sequence_id)
        if live is None:
            return
        live.is_busy, live.touched_ns = False, now_ns
        if place.is_end:
            del self._live[place.sequence_id]
            self.ended_count += 1


def _refusal(text: str) -> CallError:
    return CallError(Code.INVALID_ARGUMENT, text)

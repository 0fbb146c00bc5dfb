"""Kept answers get the tensors back that a SUT wrote into shared memory, however it says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tritonclient.grpc import service_pb2

from loadgen_service.core.records.columns import NEVER
from loadgen_service.sut.interface import CODE_CANCELLED, DONE, Cell, Event, Parts
from loadgen_service.sut.null import NullSut
from loadgen_service.sut.shm.outputs import OutputSlots, PlacedAnswers, PlacedSut
from loadgen_service.sut.shm.requests import REGION_KEY

SIZE = 16
SLOT = 1
NUMBERS = bytes(range(8))
WORDS = b"\2\0\0\0ab\1\0\0\0c"


def slots() -> OutputSlots:
    """Two slots of the outputs a (INT32) and b (BYTES); the second is written."""
    view = memoryview(bytearray(b"\xff" * (SIZE * 4)))
    view[SIZE * 2 : SIZE * 2 + len(NUMBERS)] = NUMBERS
    view[SIZE * 3 : SIZE * 3 + len(WORDS)] = WORDS
    return OutputSlots("ours", view, ["a", "b"], SIZE, 2)


def answer(raw: list[bytes], says: str = "", a_shape: int = 2, b_shape: int = 2) -> bytes:
    """``says``: the outputs whose place the SUT names."""
    message = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=raw)
    for name, datatype, size in (("a", "INT32", a_shape), ("b", "BYTES", b_shape)):
        output = message.outputs.add(name=name, datatype=datatype, shape=[size])
        if name in says:
            output.parameters[REGION_KEY].string_param = "ours"
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    ("message", "want"),
    [
        (answer([], "ab"), [NUMBERS, WORDS]),
        (answer([b"", b""]), [NUMBERS, WORDS]),  # as Triton
        (answer([b"", b"inline"]), [NUMBERS, b"inline"]),
        (answer([b"inline"], "b"), [b"inline", WORDS]),
        (answer([b"inlined1", b"inline"]), [b"inlined1", b"inline"]),
        (answer([], "ab", a_shape=0), [b"", WORDS]),
    ],
)
def test_tensors_come_from_the_message_or_from_their_place(
    message: bytes, want: list[bytes]
) -> None:
    joined = service_pb2.ModelInferResponse.FromString(slots().joined(SLOT, message))
    assert list(joined.raw_output_contents) == want
    assert not any(output.parameters for output in joined.outputs)


def test_typed_contents_stay_as_they_are() -> None:
    message = service_pb2.ModelInferResponse(model_name="m")
    output = message.outputs.add(name="a", datatype="INT32", shape=[2])
    output.contents.int_contents.extend([1, 2])
    said = bytes(message.SerializeToString())
    assert slots().joined(SLOT, said) == said


@pytest.mark.parametrize(
    "message", [answer([], "ab", a_shape=5), answer([], "ab", b_shape=3), answer([], a_shape=-1)]
)
def test_what_does_not_fit_its_place_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="its place has 16"):
        slots().joined(SLOT, message)


def test_an_unknown_output_without_content_is_refused() -> None:
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="c", datatype="INT32", shape=[1])
    with pytest.raises(ValueError, match="neither content nor a place"):
        slots().joined(SLOT, bytes(message.SerializeToString()))


class Recording(NullSut):
    """Answers nothing; keeps what it was given, with the trace context."""

    def __init__(self) -> None:
        super().__init__(ignore)
        self.given: list[tuple[int, str]] = []

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        self.given.append((key, ""))
        return [released_ns, NEVER]

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        self.given.append((key, traceparent))
        return [released_ns, NEVER]

    def flush(self) -> None:
        pass


def ignore(now_ns: int, events: Sequence[Event]) -> None:
    pass


def test_a_call_that_waits_for_a_place_keeps_its_trace_context() -> None:
    inner, answers = Recording(), PlacedAnswers(slots(), False, ignore)
    sut = PlacedSut(inner, answers)
    sut.issue(0, bytes(5), 1)
    sut.issue_traced(1, bytes(5), 1, "one")
    sut.issue_traced(2, bytes(5), 1, "two")
    sut.issue(3, bytes(5), 1)
    assert (sut.waiting_count, sut.blocked_count) == (2, 2)
    answers(9, [(DONE, 1, 0, None, ""), (DONE, 0, 0, None, "")])
    assert inner.given == [(0, ""), (1, "one"), (2, "two"), (3, "")]
    assert sut.waiting_count == 0


def test_the_place_of_a_call_that_was_given_up_is_not_used_again() -> None:
    inner, answers = Recording(), PlacedAnswers(slots(), False, ignore)
    sut = PlacedSut(inner, answers)
    for key in range(4):
        sut.issue(key, bytes(5), 1)
    answers(9, [(DONE, 0, CODE_CANCELLED, None, "given up")])
    assert sut.waiting_count == 2
    answers(9, [(DONE, 1, 0, None, "")])
    assert [key for key, _ in inner.given] == [0, 1, 2]

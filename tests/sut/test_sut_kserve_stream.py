"""ModelStreamInfer: a failure on the stream settles its call once; the stream may end itself."""

from __future__ import annotations

from tritonclient.grpc import service_pb2

from loadgen_service.sut.grpc.stream_reader import CODE_UNKNOWN, StreamReader
from loadgen_service.sut.interface import DONE, MESSAGE, Event

FAILED = service_pb2.ModelStreamInferResponse(error_message="out of memory").SerializeToString()
PIECE = service_pb2.ModelStreamInferResponse(
    infer_response=service_pb2.ModelInferResponse(model_name="m")
).SerializeToString()


def reader() -> tuple[StreamReader, list[int]]:
    cancelled: list[int] = []
    return StreamReader(cancelled.append, keep=False), cancelled


def message(key: int, content: bytes) -> Event:
    return (MESSAGE, key, content)


def done(key: int) -> Event:
    return (DONE, key, 0, None, "")


def test_a_failed_call_is_settled_once_and_its_stream_left_to_end() -> None:
    made, cancelled = reader()
    assert made.read([message(1, PIECE)]) == [message(1, PIECE)]
    assert made.read([message(1, FAILED)]) == [(DONE, 1, CODE_UNKNOWN, None, "out of memory")]
    assert made.read([done(1)]) == []
    assert cancelled == []


def test_what_ends_in_the_same_read_is_settled_once_too() -> None:
    made, cancelled = reader()
    events = [message(1, FAILED), done(1), message(2, PIECE)]
    assert [event[:2] for event in made.read(events)] == [(DONE, 1), (MESSAGE, 2)]
    assert cancelled == []


def test_a_stream_that_goes_on_after_its_failure_is_cancelled() -> None:
    made, cancelled = reader()
    made.read([message(1, FAILED)])
    assert made.read([message(1, PIECE), message(2, PIECE)]) == [message(2, PIECE)]
    assert cancelled == [1]

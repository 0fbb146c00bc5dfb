"""Server timings are found by their bytes, and only where they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen_service.sut.kserve.server_timings import NAMES, find_timings

INT63 = st.integers(min_value=0, max_value=2**63 - 1)


def response(values: dict[str, int]) -> bytes:
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="x")
    for name, value in values.items():
        message.parameters[name].int64_param = value
    message.outputs.add(name="o", datatype="FP32", shape=[1, 1])
    message.raw_output_contents.append(b"abcd")
    return bytes(message.SerializeToString())


@given(st.tuples(INT63, INT63, INT63, INT63))
def test_what_protobuf_writes_is_read(values: tuple[int, int, int, int]) -> None:
    assert find_timings(response(dict(zip(NAMES, values, strict=True)))) == values


def test_a_response_without_timings_has_none() -> None:
    assert find_timings(response({})) is None
    assert find_timings(b"") is None


def test_a_missing_timing_is_minus_one() -> None:
    assert find_timings(response({"received_ns": 5, "sent_ns": 9})) == (5, -1, -1, 9)


def test_other_types_and_cut_messages_are_minus_one() -> None:
    message = service_pb2.ModelInferResponse()
    message.parameters["received_ns"].string_param = "now"
    message.parameters["queue_ns"].int64_param = -3
    assert find_timings(message.SerializeToString()) == (-1, -1, -1, -1)
    assert find_timings(b"received_ns\x12") == (-1, -1, -1, -1)

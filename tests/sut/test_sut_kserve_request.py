"""Ready requests are what protobuf would have serialised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen_service.errors import SettingsError
from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import (
    JOINED_BYTES_MAX,
    RequestBuilder,
    RequestTensor,
    request_parts,
    varint,
)


def parsed(parts: Parts) -> service_pb2.ModelInferRequest:
    whole = parts if isinstance(parts, bytes) else b"".join(parts)
    assert whole[0] == 0
    assert int.from_bytes(whole[1:5], "big") == len(whole) - 5
    return service_pb2.ModelInferRequest.FromString(whole[5:])


def builder(
    tensors: list[RequestTensor], contents: dict[int, tuple[bytes, ...]], batched: bool = True
) -> RequestBuilder:
    return RequestBuilder("m", "2", tensors, batched, contents.__getitem__)


def test_one_sample_carries_its_tensors_in_order() -> None:
    tensors = [RequestTensor("a", "FP32", (2,)), RequestTensor("b", "INT64", (1,))]
    contents = {7: (b"12345678", b"abcdefgh")}
    request = parsed(builder(tensors, contents).build([7]))
    assert (request.model_name, request.model_version) == ("m", "2")
    assert [(t.name, t.datatype, list(t.shape)) for t in request.inputs] == [
        ("a", "FP32", [1, 2]),
        ("b", "INT64", [1, 1]),
    ]
    assert list(request.raw_input_contents) == [b"12345678", b"abcdefgh"]


def test_without_a_batch_dimension_shapes_stay() -> None:
    tensors = [RequestTensor("a", "UINT8", (3,))]
    request = parsed(builder(tensors, {0: (b"abc",)}, batched=False).build([0]))
    assert list(request.inputs[0].shape) == [3]


def test_several_samples_are_joined_tensor_by_tensor() -> None:
    tensors = [RequestTensor("a", "UINT8", (1,)), RequestTensor("b", "UINT8", (2,))]
    contents = {1: (b"x", b"11"), 2: (b"y", b"22"), 3: (b"z", b"33")}
    request = parsed(builder(tensors, contents).build([3, 1, 2]))
    assert list(request.raw_input_contents) == [b"zxy", b"331122"]
    assert [list(t.shape) for t in request.inputs] == [[3, 1], [3, 2]]


def test_large_requests_are_not_copied() -> None:
    raw = memoryview(bytes(JOINED_BYTES_MAX))
    parts = request_parts(b"head", [(raw,)])
    assert isinstance(parts, tuple)
    assert parts[-1] is raw
    assert parsed(builder([RequestTensor("a", "UINT8", (1,))], {0: (b"s",)}).build([0]))


@given(st.integers(min_value=0, max_value=2**40))
def test_varints_are_protobufs(value: int) -> None:
    message = service_pb2.InferParameter(int64_param=value)
    assert message.SerializeToString() == b"\x10" + varint(value)


def test_an_open_dimension_follows_the_content() -> None:
    tensors = [RequestTensor("a", "INT32", (-1, 2)), RequestTensor("s", "BYTES", (-1,))]
    text = b"\x02\0\0\0hi\x00\0\0\0"
    contents = {0: (np.arange(6, dtype="<i4").tobytes(), text)}
    request = parsed(builder(tensors, contents).build([0]))
    assert [list(t.shape) for t in request.inputs] == [[1, 3, 2], [1, 2]]


def test_samples_of_open_length_cannot_share_a_request() -> None:
    tensors = [RequestTensor("a", "UINT8", (-1,))]
    with pytest.raises(SettingsError, match="cannot share"):
        builder(tensors, {0: (b"a",), 1: (b"bc",)}).build([0, 1])


def test_an_unsettled_shape_names_the_tensor() -> None:
    tensors = [RequestTensor("odd", "UINT8", (-1, 2))]
    with pytest.raises(SettingsError, match="odd"):
        builder(tensors, {0: (b"abc",)}).build([0])


def test_samples_of_their_own_shapes_are_requests_of_their_own() -> None:
    raw = {0: [bytes(4), b""], 1: [bytes(8), b"\1"], 2: [bytes(4), b""]}
    shapes: dict[int, list[tuple[int, ...] | None]] = {
        0: [(1,), None],
        1: [(2,), (1,)],
        2: [(1,), None],
    }
    tensors = [RequestTensor("x", "FP32", (-1,)), RequestTensor("s", "BOOL", (1,))]
    builder = RequestBuilder("m", "", tensors, False, raw.__getitem__, shapes.__getitem__)

    def inputs(*samples: int) -> list[tuple[str, list[int]]]:
        made = builder.build(samples)
        joined = made if isinstance(made, bytes) else b"".join(made)
        message = service_pb2.ModelInferRequest.FromString(joined[5:])
        return [(one.name, list(one.shape)) for one in message.inputs]

    assert inputs(0) == [("x", [1])]
    assert inputs(1) == [("x", [2]), ("s", [1])]
    assert inputs(0, 2) == [("x", [1])]
    with pytest.raises(SettingsError, match="different shapes"):
        inputs(0, 1)

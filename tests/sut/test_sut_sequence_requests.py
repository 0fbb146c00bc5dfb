"""A marked request is the ready one with its place in a sequence, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import JOINED_BYTES_MAX, RequestBuilder, RequestTensor
from loadgen_service.sut.kserve.http_request import HttpInferBuilder
from loadgen_service.sut.kserve.sequence_params import marked_grpc, marked_http

SIZES = (8, JOINED_BYTES_MAX + 8)
"""Of a tensor: a request is one piece of bytes, and several."""


def tensor(size: int) -> list[RequestTensor]:
    return [RequestTensor("input", "UINT8", (size,))]


def joined(parts: Parts) -> bytes:
    return parts if isinstance(parts, bytes) else b"".join(parts)


def grpc_message(parts: Parts) -> Any:
    whole = joined(parts)
    assert whole[0] == 0
    assert int.from_bytes(whole[1:5], "big") == len(whole) - 5
    return service_pb2.ModelInferRequest.FromString(whole[5:])


@pytest.mark.parametrize("size", SIZES)
@given(number=st.integers(1, 2**63 - 1), start=st.booleans(), end=st.booleans())
def test_grpc_parameters_are_added_to_the_message(
    size: int, number: int, start: bool, end: bool
) -> None:
    content = bytes(size)
    ready = RequestBuilder("m", "2", tensor(size), True, lambda _: [content]).build((0,))
    assert isinstance(ready, bytes) == (size == SIZES[0])
    made = grpc_message(marked_grpc(ready, number, start, end))
    said = made.parameters
    assert {key: said[key].WhichOneof("parameter_choice") for key in said} == {
        "sequence_id": "int64_param",
        "sequence_start": "bool_param",
        "sequence_end": "bool_param",
    }
    assert said["sequence_id"].int64_param == number
    assert (said["sequence_start"].bool_param, said["sequence_end"].bool_param) == (start, end)
    made.ClearField("parameters")
    assert made == grpc_message(ready)


def http_request(parts: Parts) -> tuple[dict[str, str], dict[str, Any], bytes]:
    head, _, body = joined(parts).partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n"))
    length = int(headers["Inference-Header-Content-Length"])
    assert int(headers["Content-Length"]) == len(body)
    return headers, json.loads(body[:length]), body[length:]


@pytest.mark.parametrize("size", SIZES)
@given(number=st.integers(1, 2**63 - 1), start=st.booleans(), end=st.booleans())
def test_http_parameters_are_added_to_the_json(
    size: int, number: int, start: bool, end: bool
) -> None:
    content = bytes(range(8)) + bytes(size - 8)
    ready = HttpInferBuilder(tensor(size), True, lambda _: [content]).build((0,))
    _, before, raw_before = http_request(ready)
    headers, said, raw = http_request(marked_http(ready, number, start, end))
    assert list(headers) == ["Inference-Header-Content-Length", "Content-Length"]
    marks = {"sequence_id": number, "sequence_start": start, "sequence_end": end}
    assert said["parameters"] == before["parameters"] | marks
    assert said["inputs"] == before["inputs"]
    assert raw == raw_before == content


def test_the_ready_request_stays_as_it_was() -> None:
    ready = RequestBuilder("m", "", tensor(8), True, lambda _: [bytes(8)]).build((0,))
    before = joined(ready)
    assert marked_grpc(ready, 1, True, False) != marked_grpc(ready, 2, True, False)
    assert joined(ready) == before

"""Requests known by what does not change in them, against the way that reads them whole."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from sut_server.engines.engine import Desk
from sut_server.engines.null import NullEngine
from sut_server.errors import CallError
from sut_server.grpc.request_cache import REMEMBERED, REST_BYTES_MAX, RequestCache
from sut_server.messages.infer import InferRequest, decode_request
from sut_server.messages.request_split import ModelInferRequest
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import TensorSpec

SPEC = ModelSpec(
    "m",
    "test",
    (
        TensorSpec("a", "FP32", (-1, 2)),
        TensorSpec("b", "INT64", (-1,)),
        TensorSpec("c", "BYTES", (-1, 1)),
    ),
    (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "FP32", (-1, 2))),
)
ENGINE = NullEngine(Desk(SPEC, lambda: 0))


def drawn_message(drawn: random.Random, rows: int = 2) -> Any:
    message = service_pb2.ModelInferRequest(model_name="m", id=str(drawn.randrange(100)))
    texts = [drawn.randbytes(drawn.randrange(5)) for _ in range(rows)]
    raw = {
        "a": ("FP32", [rows, 2], drawn.randbytes(8 * rows)),
        "b": ("INT64", [rows], drawn.randbytes(8 * rows)),
        "c": ("BYTES", [rows, 1], b"".join(len(t).to_bytes(4, "little") + t for t in texts)),
    }
    for name in drawn.sample(sorted(raw), 3):
        datatype, shape, content = raw[name]
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(content)
    if drawn.random() < 0.5:
        message.outputs.add(name="z")
    return message


def read(message: Any) -> ModelInferRequest:
    content = message if isinstance(message, bytes) else message.SerializeToString()
    return ModelInferRequest.FromString(content)


def decoded(request: ModelInferRequest) -> InferRequest:
    return decode_request(request.message, SPEC, 8, None, request.raw)


def remembered(message: Any) -> RequestCache:
    known, request = RequestCache(), read(message)
    known.remember(request, ENGINE, decoded(request))
    return known


def same(one: InferRequest, other: InferRequest) -> None:
    assert list(one.inputs) == list(other.inputs)
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        assert np.array_equal(array, other.inputs[name], equal_nan=array.dtype.kind == "f")
    for name in ("request_id", "rows", "merge_key", "wanted_outputs", "places", "sequence"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("seed", range(60))
def test_a_known_request_is_read_as_a_new_one_is(seed: int) -> None:
    drawn = random.Random(seed)
    order = drawn.getrandbits(30)
    first = drawn_message(random.Random(order), rows=3)
    second = drawn_message(random.Random(order), rows=3)
    second.id = str(drawn.random())
    for position, tensor in enumerate(second.inputs):
        if tensor.name != "c":
            size = len(second.raw_input_contents[position])
            second.raw_input_contents[position] = drawn.randbytes(size)
    known = remembered(first)
    request = read(second)
    found = known.find(request)
    assert found is not None
    assert found.engine is ENGINE
    checked = found.read(request)
    assert checked is not None
    same(checked, decoded(request))


def test_a_request_that_differs_in_anything_else_is_not_known() -> None:
    message = drawn_message(random.Random(1))
    known = remembered(message)
    assert known.find(read(message)) is not None
    for change in (
        lambda m: setattr(m, "model_name", "n"),
        lambda m: setattr(m, "model_version", "1"),
        lambda m: setattr(m.inputs[0], "name", "d"),
        lambda m: m.inputs[0].shape.append(1),
        lambda m: m.outputs.add(name="y"),
        lambda m: m.parameters["p"].MergeFrom(service_pb2.InferParameter(int64_param=1)),
    ):
        other = service_pb2.ModelInferRequest()
        other.CopyFrom(message)
        change(other)
        assert known.find(read(other)) is None


def test_contents_that_do_not_fit_are_refused_in_the_same_words() -> None:
    message = drawn_message(random.Random(2))
    known = remembered(message)
    message.raw_input_contents[0] = message.raw_input_contents[0] + b"more"
    request = read(message)
    found = known.find(request)
    assert found is not None
    with pytest.raises(CallError) as by_known:
        found.read(request)
    with pytest.raises(CallError) as by_decoding:
        decoded(request)
    assert str(by_known.value) == str(by_decoding.value)


def test_too_few_contents_are_for_the_other_way_to_refuse() -> None:
    message = drawn_message(random.Random(3))
    known = remembered(message)
    del message.raw_input_contents[-1]
    request = read(message)
    found = known.find(request)
    assert found is not None
    assert found.read(request) is None


def test_an_id_that_is_no_text_is_refused() -> None:
    message = drawn_message(random.Random(4))
    known = remembered(message)
    request = read(message.SerializeToString() + b"\x1a\x01\xff")
    found = known.find(request)
    assert found is not None
    with pytest.raises(DecodeError):
        found.read(request)
    with pytest.raises(DecodeError):
        _ = request.message


def test_what_stands_in_the_rest_is_not_remembered() -> None:
    typed = drawn_message(random.Random(5))
    at = [tensor.name for tensor in typed.inputs].index("b")
    sequence = drawn_message(random.Random(6))
    sequence.parameters["sequence_id"].int64_param = 5
    long = drawn_message(random.Random(7))
    long.parameters["p"].string_param = "x" * REST_BYTES_MAX
    for message in (sequence, long):
        assert remembered(message).find(read(message)) is None
    one = ModelSpec("m", "test", (SPEC.inputs[1],), SPEC.outputs)
    message = service_pb2.ModelInferRequest(model_name="m")
    message.inputs.add(name="b", datatype="INT64", shape=[1]).contents.int64_contents.append(at)
    known, request = RequestCache(), read(message)
    known.remember(request, ENGINE, decode_request(request.message, one, 8, None, request.raw))
    assert known.find(request) is None


def test_changing_requests_do_not_fill_the_memory() -> None:
    known = RequestCache()
    message = drawn_message(random.Random(8))
    for number in range(2 * REMEMBERED + 10):
        message.parameters["p"].int64_param = number
        request = read(message)
        known.remember(request, ENGINE, decoded(request))
        assert known.find(request) is not None
    message.parameters["p"].int64_param = 0
    assert known.find(read(message)) is None

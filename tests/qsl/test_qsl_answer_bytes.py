"""The bytes that LoadGen would log of an answer: whole, by sample, and of a stream's pieces."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from loadgen_service.qsl.logged_bytes import (
    answer_bytes,
    first_piece_bytes,
    piece_bytes,
    sample_bytes,
)


def response(*outputs: tuple[str, str, list[int], bytes]) -> service_pb2.ModelInferResponse:
    message = service_pb2.ModelInferResponse(model_name="m")
    for name, datatype, shape, raw in outputs:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_output_contents.append(raw)
    return message


def elements(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def numbers(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def test_outputs_follow_one_another():
    message = response(
        ("a", "INT32", [1, 2], numbers(1, 2)), ("b", "BYTES", [1, 2], elements(b"x", b"yz"))
    )
    assert answer_bytes(message.SerializeToString()) == numbers(1, 2) + b"xyz"


def test_typed_contents_are_the_bytes_of_their_datatype():
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="a", datatype="INT16", shape=[2, 1]).contents.int_contents[:] = [1, -2]
    message.outputs.add(name="b", datatype="FP32", shape=[2, 1]).contents.fp32_contents[:] = [3, 4]
    texts = message.outputs.add(name="c", datatype="BYTES", shape=[2, 1])
    texts.contents.bytes_contents[:] = [b"x", b"yz"]
    whole = np.array([1, -2], "<i2").tobytes() + np.array([3, 4], "<f4").tobytes() + b"xyz"
    assert answer_bytes(message.SerializeToString()) == whole
    assert sample_bytes(message.SerializeToString(), 2) == [
        np.array([1], "<i2").tobytes() + np.array([3], "<f4").tobytes() + b"x",
        np.array([-2], "<i2").tobytes() + np.array([4], "<f4").tobytes() + b"yz",
    ]


def test_typed_contents_that_their_datatype_cannot_hold_give_nothing():
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="a", datatype="INT8", shape=[1]).contents.int_contents[:] = [300]
    message.outputs.add(name="b", datatype="FP16", shape=[1])
    assert answer_bytes(message.SerializeToString()) == b""


def test_a_batched_answer_is_cut_by_sample():
    message = response(
        ("a", "INT32", [2, 2], numbers(1, 2, 3, 4)), ("b", "BYTES", [2, 1], elements(b"x", b"yz"))
    ).SerializeToString()
    assert sample_bytes(message, 2) == [numbers(1, 2) + b"x", numbers(3, 4) + b"yz"]
    assert sample_bytes(message, 3) == [b""] * 3


def test_the_first_piece_of_a_joined_stream():
    pieces = [
        response(("a", "INT32", [1, 1], numbers(n)), ("b", "INT32", [1, 1], numbers(-n)))
        for n in (7, 8)
    ]
    joined = service_pb2.ModelInferResponse()
    for piece in pieces:
        joined.MergeFrom(piece)
    whole = joined.SerializeToString()
    assert answer_bytes(whole) == numbers(7, -7, 8, -8)
    assert first_piece_bytes(whole) == numbers(7, -7)
    wrapped = service_pb2.ModelStreamInferResponse(infer_response=pieces[0])
    assert piece_bytes(wrapped.SerializeToString()) == numbers(7, -7)


def test_the_text_of_an_openai_answer():
    message = json.dumps({"text": "ä b", "usage": None}).encode()
    assert answer_bytes(message) == "ä b".encode()
    assert first_piece_bytes(message) == b""


@pytest.mark.parametrize("broken", [b"\xff\xff", b"{", b'{"a": 1}', b""])
def test_what_is_broken_gives_nothing(broken):
    assert answer_bytes(broken) == b""
    assert first_piece_bytes(broken) == b""
    assert piece_bytes(broken) == b""

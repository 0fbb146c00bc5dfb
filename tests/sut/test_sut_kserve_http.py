"""KServe v2 over HTTP, the pure half: requests as bytes, and answers good and bad."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen_service.errors import SettingsError
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.sut.kserve.http_request import (
    CODE_INTERNAL,
    HttpInferAnswer,
    HttpInferBuilder,
    infer_head,
    infer_response,
    model_path,
)
from sut_server.http.kserve import infer_answer, read_request


def split(request: bytes) -> tuple[dict[str, str], bytes]:
    """Header lines in lower case and the body of what a builder made."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.split(": ") for line in head.decode().split("\r\n")]
    return {name.lower(): value for name, value in lines}, body


def build(samples: list[bytes], shape: tuple[int, ...], batched: bool = True) -> bytes:
    builder = HttpInferBuilder(
        [RequestTensor("x", "FP32", shape)], batched, lambda sample: [samples[sample]]
    )
    parts = builder.build(range(len(samples)))
    assert isinstance(parts, bytes)
    return parts


def test_a_request_is_what_the_extension_says() -> None:
    one, two = np.arange(3, dtype="<f4").tobytes(), np.ones(3, dtype="<f4").tobytes()
    headers, body = split(build([one, two], (3,)))
    head_bytes = int(headers["inference-header-content-length"])
    assert int(headers["content-length"]) == len(body) == head_bytes + 24
    assert json.loads(body[:head_bytes]) == {
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [2, 3],
                "parameters": {"binary_data_size": 24},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    message, binary = read_request(headers, body)
    assert binary
    assert list(message.raw_input_contents) == [one + two]


def test_an_open_length_is_filled_in_and_shared_by_equal_samples_only() -> None:
    headers, body = split(build([bytes(20)], (-1,)))
    message, _ = read_request(headers, body)
    assert list(message.inputs[0].shape) == [1, 5]
    message, _ = read_request(*split(build([bytes(20), bytes(20)], (-1,))))
    assert list(message.inputs[0].shape) == [2, 5]
    with pytest.raises(SettingsError, match="cannot share a request"):
        build([bytes(20), bytes(24)], (-1,))


def test_large_tensors_are_not_copied_and_texts_keep_their_sizes() -> None:
    image = memoryview(bytes(200_000))
    large = HttpInferBuilder([RequestTensor("x", "FP32", (50_000,))], True, lambda _: [image])
    parts = large.build((0,))
    assert isinstance(parts, tuple)
    assert parts[1] is image
    texts = [b"\x01\0\0\0a", b"\x03\0\0\0abc"]
    builder = HttpInferBuilder([RequestTensor("t", "BYTES", (1,))], True, lambda i: [texts[i]])
    for sample, text in enumerate(texts):
        made = builder.build((sample,))
        assert isinstance(made, bytes)
        message, _ = read_request(*split(made))
        assert list(message.raw_input_contents) == [text]


def test_names_with_odd_characters_stay_in_the_path() -> None:
    assert model_path("a b/c", "1") == "/v2/models/a%20b%2Fc/versions/1"
    head = infer_head(model_path("m"), "[::1]:80", [("x-key", "v")])
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: [::1]:80\r\n")
    assert head.endswith(b"x-key: v\r\n")


def read(status: int, body: bytes, head_bytes: int | None = None, keep: bool = True) -> Any:
    answer = HttpInferAnswer(keep)
    length = {} if head_bytes is None else {b"inference-header-content-length": b"%d" % head_bytes}
    answer.begin(status, length)
    for start in range(0, len(body), 7):
        assert answer.feed(body[start : start + 7]) == b""
    assert answer.end() == b""
    return answer.ending()


@given(
    st.lists(st.lists(st.integers(-1000, 1000), min_size=1, max_size=5), min_size=1, max_size=3),
    st.booleans(),
)
def test_answers_come_through_both_ways(tensors: list[list[int]], binary: bool) -> None:
    reply = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="7")
    for index, values in enumerate(tensors):
        reply.outputs.add(name=f"o{index}", datatype="INT32", shape=[1, len(values)])
        reply.raw_output_contents.append(np.array(values, "<i4").tobytes())
    sent = infer_answer(binary, reply)
    head_bytes = int(sent.headers.split(": ")[1]) if binary else None
    code, message, text, usage = read(200, sent.body, head_bytes)
    assert (code, text, usage) == (0, "", None)
    assert service_pb2.ModelInferResponse.FromString(message) == reply


def test_texts_come_through_both_ways() -> None:
    reply = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    reply.outputs.add(name="o", datatype="BYTES", shape=[2])
    reply.raw_output_contents.append(b"\x02\0\0\0ab\0\0\0\0")
    body = infer_answer(False, reply).body
    assert service_pb2.ModelInferResponse.FromString(infer_response(body, -1)) == reply


def test_answers_that_nobody_keeps_are_not_read() -> None:
    assert read(200, b"anything", keep=False) == (0, None, "", None)


def test_a_refusal_is_told_in_the_servers_words() -> None:
    assert read(404, b'{"error":"no such model"}') == (5, None, "HTTP 404: no such model", None)
    assert read(429, b"slow down", keep=False)[:3] == (8, None, "HTTP 429: slow down")
    assert read(204, b"")[0] != 0


@pytest.mark.parametrize(
    ("body", "head_bytes"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"outputs":[{}]}', None),
        (b'{"outputs":[{"name":"o","datatype":"FP16X","shape":[1],"data":[1]}]}', None),
        (b'{"outputs":[{"name":"o","datatype":"FP32","shape":[1],"data":["x"]}]}', None),
        (b'{"outputs":[]}', 99),
        (b'{"outputs":[{"name":"o","datatype":"FP32","shape":["a"],"data":[1]}]}', None),
        (
            b'{"outputs":[{"name":"o","datatype":"FP32","shape":[1],'
            b'"parameters":{"binary_data_size":4}}]}',
            None,
        ),
    ],
)
def test_an_answer_that_is_none_fails_its_query(body: bytes, head_bytes: int | None) -> None:
    code, message, text, _ = read(200, body, head_bytes)
    assert (code, message) == (CODE_INTERNAL, None)
    assert text.startswith("the answer is not KServe v2's: ")


@given(st.binary(max_size=200), st.integers(0, 250))
def test_no_answer_raises(body: bytes, head_bytes: int) -> None:
    read(200, body, head_bytes)
    read(200, body)

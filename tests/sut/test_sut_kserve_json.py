"""KServe v2 over HTTP without binary tensors: what is asked, and what JSON cannot say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.sut.kserve.http_request import infer_head
from loadgen_service.sut.kserve.json_request import JSON, JsonInferBuilder
from sut_server.http.kserve import read_request


def builder(datatype: str, shape: tuple[int, ...], *samples: bytes) -> JsonInferBuilder:
    return JsonInferBuilder(
        [RequestTensor("x", datatype, shape)], True, lambda number: [samples[number]]
    )


def split(request: Any) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.split(": ") for line in head.decode().split("\r\n")]
    return {name.lower(): value for name, value in lines}, body


def test_two_samples_are_one_tensor_of_numbers() -> None:
    one, two = np.array([1.5, -2], "<f4"), np.array([0.1, 4], "<f4")
    headers, body = split(builder("FP32", (2,), one.tobytes(), two.tobytes()).build((0, 1)))
    assert int(headers["content-length"]) == len(body)
    assert "inference-header-content-length" not in headers
    message, binary = read_request(headers, body)
    assert not binary
    assert list(message.inputs[0].shape) == [2, 2]
    sent = np.array(message.inputs[0].contents.fp32_contents, "<f4")
    assert sent.tobytes() == one.tobytes() + two.tobytes()
    assert b"Content-Type: application/json\r\n" in infer_head("/v2", "h", (), JSON)


def test_an_open_length_is_filled_in_and_texts_are_texts() -> None:
    _, body = split(builder("BYTES", (-1,), b"\x01\0\0\0a\x02\0\0\0\xc3\xa4").build((0,)))
    assert json.loads(body)["inputs"] == [
        {"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "ä"]}
    ]
    _, body = split(builder("BOOL", (2,), b"\1\0").build((0,)))
    assert json.loads(body)["inputs"][0]["data"] == [True, False]


def test_what_json_cannot_say_is_refused_before_the_run() -> None:
    nan = np.array([np.nan], "<f4").tobytes()
    with pytest.raises(SettingsError, match=r"sample 0: JSON has no infinite numbers and no NaN"):
        builder("FP32", (1,), nan).build((0,))
    with pytest.raises(SettingsError, match="not UTF-8"):
        builder("BYTES", (1,), b"\x01\0\0\0\xff").build((0,))
    with pytest.raises(SettingsError, match="no BF16"):
        builder("BF16", (1,))
    with pytest.raises(SettingsError, match="cannot share a request"):
        builder("FP32", (-1,), nan, nan + nan).build((0, 1))


def test_more_text_than_there_is_room_for_is_refused_before_the_run() -> None:
    tensors = [RequestTensor("x", "FP32", (2,))]
    made = JsonInferBuilder(tensors, True, lambda _: [bytes(8)], bytes_max=100)
    made.build((0,))
    made.build((0, 1))  # made when it is issued: not kept
    with pytest.raises(SettingsError, match="--performance-sample-count"):
        made.build((1,))


@pytest.mark.parametrize("sut", ["grpc://h:1", "openai://h:1/v1"])
def test_it_is_for_http_only(sut: str) -> None:
    with pytest.raises(ValueError, match="http_tensors: json is for http://"):
        Settings(sut=[sut], http_tensors="json")


def test_sequences_are_binary() -> None:
    with pytest.raises(ValueError, match="http_tensors: sequences are sent as binary"):
        Settings(
            sut=["http://h:1"],
            http_tensors="json",
            sequences="a.json",
            scenario="concurrency",
        )

"""gzip on the way to a SUT, the pure half: requests made before the run, answers inflated."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence

import pytest
from grpc_wire.compression import Deflater, compressed_message, inflated
from grpc_wire.messages import frame_message
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.sut.factory import request_compressor
from loadgen_service.sut.grpc.aio_client import GzipUse
from loadgen_service.sut.http.compression import (
    InflatingAnswer,
    RequestCompressor,
    compressed_http,
)
from loadgen_service.sut.http.connection import Answer
from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.sut.kserve.http_request import HttpInferAnswer, HttpInferBuilder
from loadgen_service.sut.openai.request import OpenAiBuilder
from loadgen_service.sut.openai.response import OpenAiAnswer
from sut_server.http.kserve import read_request

GZIP = {b"content-encoding": b"gzip"}
SSE = {b"content-type": b"text/event-stream"}
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
END = b"data: [DONE]\n\n"


# ---------------------------------------------------------------------- requests
def head_and_body(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.split(": ") for line in head.decode().split("\r\n")]
    assert len({name.lower() for name, _ in lines}) == len(lines)
    return {name.lower(): value for name, value in lines}, body


def kserve(content: bytes) -> Parts:
    return HttpInferBuilder([RequestTensor("x", "UINT8", (-1,))], True, lambda _: [content]).build(
        (0,)
    )


@pytest.mark.parametrize("size", [10, 1 << 20])  # joined, and in parts
def test_a_request_over_http_is_what_it_inflates_to(size: int) -> None:
    plain = kserve(b"\r\n\r\n" + bytes(size))
    whole = plain if isinstance(plain, bytes) else b"".join(plain)
    before, content = head_and_body(whole)
    after, body = head_and_body(compressed_http(plain))
    assert gzip.decompress(body) == content
    assert int(after.pop("content-length")) == len(body)
    assert after.pop("content-encoding") == "gzip"
    before.pop("content-length")
    assert after == before  # the length of KServe's JSON is that within the inflated body
    message, _ = read_request(after, gzip.decompress(body))
    assert message.raw_input_contents[0][:4] == b"\r\n\r\n"


def test_a_prompt_is_compressed_alike() -> None:
    plain = OpenAiBuilder({"model": "m"}, lambda _: [b'{"prompt": "a b"}']).build((0,))
    headers, body = head_and_body(compressed_http(plain))
    assert gzip.decompress(body) == b'{"prompt":"a b","model":"m"}'
    assert headers == {"content-encoding": "gzip", "content-length": str(len(body))}


class Builder:
    """Counts what is built."""

    def __init__(self) -> None:
        self.built: list[tuple[int, ...]] = []

    def build(self, samples: Sequence[int]) -> bytes:
        self.built.append(tuple(samples))
        return frame_message(b"sample %d" % samples[0] * 50)


def test_a_sample_is_compressed_once_for_all_series() -> None:
    compressor, builder = RequestCompressor(compressed_message), Builder()
    first = compressor.begin_series(builder.build)
    requests = {sample: first((sample,)) for sample in (0, 1, 2, 1)}
    assert builder.built == [(0,), (1,), (2,)]
    assert inflated(requests[2][5:], 1000) == b"sample 2" * 50
    second = compressor.begin_series(builder.build)
    assert second((1,)) is requests[1]
    assert builder.built == [(0,), (1,), (2,)]
    third = compressor.begin_series(builder.build)  # of what the last series did not use: nothing
    assert third((1,)) is requests[1]
    third((2,))
    assert builder.built == [(0,), (1,), (2,), (2,)]


def test_requests_of_several_samples_are_made_when_they_are_wanted() -> None:
    builder = Builder()
    made = RequestCompressor(compressed_message).begin_series(builder.build)
    assert made((0, 1)) == made((0, 1)) == compressed_message(builder.build((0, 1)))
    assert len(builder.built) == 3


def test_more_than_a_worker_may_spend_is_refused() -> None:
    noise = {
        sample: frame_message(zlib.crc32(b"%d" % sample).to_bytes(4, "big")) for sample in (0, 1)
    }
    one = len(compressed_message(noise[0]))
    compressor = RequestCompressor(compressed_message, bytes_max=2 * one - 1)
    for _ in range(2):  # what was kept before is counted again
        made = compressor.begin_series(lambda samples: noise[samples[0]])
        made((0,))
        with pytest.raises(SettingsError, match="of 2 samples take more than") as info:
            made((1,))
        assert "--performance-sample-count" in str(info.value)


def settings(target: str, **given: str) -> Settings:
    return Settings(sut=[target], model="m", request_compression="gzip", **given)


def test_who_compresses_requests() -> None:
    assert request_compressor(Settings(sut=["grpc://h:1"])) is None
    assert request_compressor(settings("grpc://h:1", adapter="grpc_aio")) is None
    for target, parts in (("grpc://h:1", frame_message(b"m")), ("http://h:1", b"a: b\r\n\r\nbody")):
        compressor = request_compressor(settings(target))
        assert compressor is not None
        made = compressor.begin_series(lambda _, parts=parts: parts)((0,))
        expected = compressed_message if target.startswith("grpc") else compressed_http
        assert made == expected(parts)


def test_grpcio_has_one_list_for_both_ways() -> None:
    assert GzipUse(compresses=False, inflates=False).enabled == 0b001
    assert GzipUse(compresses=False, inflates=True).enabled == 0b101
    assert GzipUse(compresses=True, inflates=False).enabled == 0b101


# ---------------------------------------------------------------------- answers
def read(answer: Answer, headers: dict[bytes, bytes], body: bytes, step: int, status: int = 200):
    """Pieces after each read, and the end."""
    answer.begin(status, headers)
    counts = [len(answer.feed(body[at : at + step])) for at in range(0, len(body), step)]
    counts.append(len(answer.end()))
    return counts, answer.ending()


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_stream_is_the_same_when_it_comes_by_gzip(step: int) -> None:
    body = PIECE * 3 + END
    plain = read(OpenAiAnswer(True), SSE, body, step)
    packed = read(InflatingAnswer(OpenAiAnswer(True)), SSE | GZIP, gzip.compress(body), step)
    untouched = read(InflatingAnswer(OpenAiAnswer(True)), SSE, body, step)
    assert packed[1] == plain[1] == untouched[1]
    assert plain[1][0] == 0
    assert sum(packed[0]) == sum(plain[0]) == 3
    assert untouched[0] == plain[0]


def test_a_piece_counts_when_it_arrives() -> None:
    deflater = Deflater()
    answer = InflatingAnswer(OpenAiAnswer())
    answer.begin(200, SSE | GZIP)
    assert [answer.feed(deflater.piece(PIECE)) for _ in range(3)] == [b"\0"] * 3
    assert answer.feed(deflater.piece(END) + deflater.last()) == b""
    assert answer.end() == b""
    assert answer.ending()[0] == 0


def test_kserve_tensors_come_by_gzip() -> None:
    said = b'{"outputs":[{"name":"y","datatype":"UINT8","shape":[3],"parameters":'
    said += b'{"binary_data_size":3}}]}'
    headers = {b"inference-header-content-length": b"%d" % len(said)}
    body = gzip.compress(said + b"abc")
    _, ending = read(InflatingAnswer(HttpInferAnswer(keep=True)), headers | GZIP, body, 5)
    assert ending[0] == 0
    assert service_pb2.ModelInferResponse.FromString(ending[1]).raw_output_contents == [b"abc"]


def test_an_error_text_comes_by_gzip() -> None:
    for inner in (HttpInferAnswer(), OpenAiAnswer()):
        body = gzip.compress(b'{"error": "no such model"}')
        _, ending = read(InflatingAnswer(inner), GZIP, body, 5, status=404)
        assert ending[:3] == (5, None, "HTTP 404: no such model")


@pytest.mark.parametrize(
    ("headers", "body", "code", "text"),
    [
        (
            GZIP,
            gzip.compress(bytes(2000), mtime=0),
            8,
            "inflates to more than the limit of 1000 bytes",
        ),
        (GZIP, b"{}", 13, "the compressed answer is not gzip"),
        (GZIP, gzip.compress(b"{}", mtime=0)[:-1], 13, "gzip that ends too soon"),
        ({b"content-encoding": b"br"}, b"x", 13, "compressed by br, not by gzip"),
    ],
)
def test_a_bad_compressed_answer_is_a_failure_by_name(
    headers: dict[bytes, bytes], body: bytes, code: int, text: str
) -> None:
    for inner in (HttpInferAnswer(), HttpInferAnswer(keep=True), OpenAiAnswer()):
        counts, ending = read(InflatingAnswer(inner, max_bytes=1000), headers, body, 9)
        assert sum(counts) == 0
        assert ending[:2] == (code, None)
        assert text in ending[2]


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_nobody_asked_to_compress_is_a_failure_by_name(status: int) -> None:
    body = gzip.compress(b'{"outputs": []}')
    for inner in (HttpInferAnswer(), HttpInferAnswer(keep=True), OpenAiAnswer()):
        for headers in (GZIP, GZIP | SSE):
            _, ending = read(inner, headers, body, 100, status)
            assert ending[:2] == (13, None)
            assert f"HTTP {status}, compressed by gzip, which was not asked for" in ending[2]
            assert "--accept-compression gzip" in ending[2]


def test_identity_is_no_compression() -> None:
    headers = {b"content-encoding": b"identity"}
    for answer in (HttpInferAnswer(keep=True), InflatingAnswer(HttpInferAnswer(keep=True))):
        _, ending = read(answer, headers, b'{"outputs": []}', 100)
        assert ending[0] == 0

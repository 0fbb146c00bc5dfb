"""gzip with the real Triton over every way to it: the answers are those without."""

from __future__ import annotations

import gzip
import http.client
import json

import numpy as np
import pytest
from test_triton_runs import TOP1, run

from loadgen_service.sut.compression import compressed_http
from loadgen_service.sut.kserve_http import HttpInferBuilder
from loadgen_service.sut.kserve_request import RequestTensor

pytestmark = pytest.mark.triton

GZIP = ("--request-compression", "gzip", "--accept-compression", "gzip")
MODEL = "efficientnet-lite0"


@pytest.mark.parametrize(
    ("scheme", "adapter"), [("grpc", "wire"), ("grpc", "grpc_aio"), ("http", "wire")]
)
def test_accuracy_by_gzip_is_that_without(
    triton_address, triton_http_address, tmp_path, scheme, adapter
):
    address = triton_address if scheme == "grpc" else triton_http_address
    flags = ("--scenario", "offline", "--mode", "accuracy", "--adapter", adapter, *GZIP)
    summary = run(address, tmp_path / "run", *flags, scheme=scheme)
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] == TOP1
    counts = summary["counts"]["queries"]
    assert counts["planned"] == counts["completed"] > 0


def ask(address: str, request: bytes, *headers: tuple[str, str]) -> tuple[dict[str, str], bytes]:
    """Headers in lower case and the body of one answer to a builder's request."""
    lines, _, body = request.partition(b"\r\n\r\n")
    given = dict(line.split(": ") for line in lines.decode().split("\r\n"))
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        path = f"/v2/models/{MODEL}/infer"
        connection.request("POST", path, body, {**given, **dict(headers)})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return {name.lower(): value for name, value in response.getheaders()}, content
    finally:
        connection.close()


def test_lengths_of_kserve_are_those_of_what_is_inflated(triton_http_address):
    """What Triton itself takes and gives: the JSON's length is that before compression."""
    picture = np.linspace(-1, 1, 3 * 224 * 224, dtype="<f4").tobytes()
    tensors = [RequestTensor("input", "FP32", (3, 224, 224))]
    parts = HttpInferBuilder(tensors, True, lambda _: [picture]).build((0,))
    whole = b"".join(parts) if isinstance(parts, tuple) else parts
    plain_headers, plain = ask(triton_http_address, whole)
    headers, packed = ask(triton_http_address, compressed_http(parts), ("Accept-Encoding", "gzip"))
    assert "content-encoding" not in plain_headers
    assert headers["content-encoding"] == "gzip"
    inflated = gzip.decompress(packed)
    length = int(headers["inference-header-content-length"])
    said = json.loads(inflated[:length])
    assert said["outputs"][0]["name"] == "logits"
    own = int(plain_headers["inference-header-content-length"])
    ours, theirs = (np.frombuffer(x, "<f4") for x in (inflated[length:], plain[own:]))
    assert np.array_equal(ours, theirs)

"""gzip with the real Triton over every way to it: the answers are those without."""

from __future__ import annotations

import gzip
import http.client
import json
import socket

import numpy as np
import pytest
from grpc_wire.client import ClientConnection
from grpc_wire.events import DONE
from grpc_wire.headers import HeaderBlock, request_headers
from triton_runs import TOP1, run
from triton_server import environment_path, make_repository, triton

from loadgen_service.sut.http.compression import compressed_http
from loadgen_service.sut.kserve.grpc_request import (
    MODEL_INFER_PATH,
    RequestTensor,
    request_head,
    request_parts,
)
from loadgen_service.sut.kserve.http_request import HttpInferBuilder
from sut_server.models.zoo import onnx_path

pytestmark = pytest.mark.triton

GZIP = ("--request-compression", "gzip", "--accept-compression", "gzip")
MODEL = "efficientnet-lite0"
TENSORS = [RequestTensor("input", "FP32", (3, 224, 224))]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_accuracy_by_gzip_is_that_without(triton_address, triton_http_address, tmp_path, scheme):
    address = triton_address if scheme == "grpc" else triton_http_address
    flags = ("--scenario", "offline", "--mode", "accuracy", *GZIP)
    summary = run(address, tmp_path / "run", *flags, scheme=scheme)
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] == TOP1
    counts = summary["counts"]["queries"]
    assert counts["planned"] == counts["completed"] > 0


def first_done(address: str, asked: HeaderBlock, picture: bytes) -> tuple:
    """How one call ends for a client half that reads no gzip."""
    host, _, port = address.rpartition(":")
    head = request_head(MODEL, "", TENSORS, 1, batched=True)
    client = ClientConnection()
    client.start()
    with socket.create_connection((host, int(port)), 30) as link:
        link.settimeout(30)
        is_asked = False
        while True:
            link.sendall(b"".join(client.take_output()))
            for event in client.receive(link.recv(65_536)):
                if event[0] == DONE:
                    return event
            if client.is_ready and not is_asked:
                is_asked = client.call(1, asked, request_parts(head, [(picture,)]))


def test_answers_that_triton_compresses(tmp_path):
    """Told to by its own flag, it does so for those only who read it."""
    environment = environment_path()
    if environment is None:
        pytest.skip("no Triton here: make triton")
    repository = make_repository(tmp_path, onnx_path(MODEL))
    flag = "--grpc-infer-response-compression-level=high"
    with triton(environment, repository, tmp_path / "log", flag) as (address, *_):
        for accepted, code in (("", 0), ("identity,gzip", 13)):
            asked = request_headers(path=MODEL_INFER_PATH, authority="h", accept_encoding=accepted)
            done = first_done(address, asked, bytes(4 * 3 * 224 * 224))
            assert done[2] == code, done
            assert ("message is compressed" in done[4]) is bool(code)
        flags = ("--scenario", "offline", "--mode", "accuracy", "--adapter", "grpc_aio", *GZIP)
        summary = run(address, tmp_path / "run", *flags)
        assert summary["errors"] == []
        assert summary["accuracy"]["top1"] == TOP1


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
    parts = HttpInferBuilder(TENSORS, True, lambda _: [picture]).build((0,))
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

"""``--header`` of a whole run reaches the server with every call, over each protocol; its secret is
in no file of the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from openai_server import openai_server
from recording_relay import RecordingRelay, recording_relay
from sut_process import sut_server

COMMAND_S = 90.0
SECRET = "secret-of-a-header-on-its-way"
QUICK = (
    *("--scenario", "server", "--target-qps", "40", "--min-duration-ms", "500"),
    *("--min-query-count", "20", "--target-latency-ms", "5000", "--quiet"),
)
INFER = "/inference.GRPCInferenceService/ModelInfer"


def run(folder: Path, target: str, model: str, *flags: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--out", "out", *QUICK),
            *("--sut", target, "--model", model, *flags),
            *("--header", "x-tenant=blue", "--header", "x-secret=env:LOADGEN_HEADER_SECRET"),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "LOADGEN_HEADER_SECRET": SECRET},
        timeout=COMMAND_S,
    )
    assert done.returncode in (0, 1), done.stderr
    assert SECRET not in done.stdout + done.stderr
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert {"summary.json", "settings.yaml", "records.parquet", "report.html"} <= {
        path.name for path in files
    }
    assert not [path.name for path in files if SECRET.encode() in path.read_bytes()]


def grpc_heads(sent: bytes) -> list[dict[str, str]]:
    """Headers of every call in what a caller sent, by another implementation of HTTP/2."""
    config = h2.config.H2Configuration(client_side=False, header_encoding="ascii")
    server = h2.connection.H2Connection(config)
    server.initiate_connection()
    found = []
    for event in server.receive_data(sent):
        if isinstance(event, h2.events.RequestReceived):
            found.append(dict(event.headers))
    return found


def http_heads(sent: bytes) -> list[tuple[str, dict[str, str]]]:
    """Request line and headers of every request in what a caller sent."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
        found.append((first, headers))
        sent = rest[int(headers.get("content-length", "0")) :]
    return found


def assert_given(headers: dict[str, str]) -> None:
    assert headers["x-tenant"] == "blue"
    assert headers["x-secret"] == SECRET


def test_over_grpc(tmp_path: Path) -> None:
    """Over grpc.aio: ``test_adapters.py``; control calls are grpcio's in any case."""
    with sut_server("--model", "null") as sut, recording_relay(sut.port) as relay:
        run(tmp_path, f"grpc://127.0.0.1:{relay.port}", "null")
    heads = [head for sent in relay.sent for head in grpc_heads(bytes(sent))]
    for head in heads:  # control calls too
        assert_given(head)
    paths = [head[":path"] for head in heads]
    assert paths.count(INFER) >= 20
    assert any(path.endswith("/ModelMetadata") for path in paths)


def requests_of(relay: RecordingRelay) -> list[str]:
    """Request lines of all that came; each had the headers."""
    found = [one for sent in relay.sent for one in http_heads(bytes(sent))]
    for _, headers in found:
        assert_given(headers)
    return [line for line, _ in found]


def test_over_http(tmp_path: Path) -> None:
    with sut_server("--model", "synthetic", "--http-port", "0") as sut:
        assert sut.process.stdout is not None
        port = int(sut.process.stdout.readline().rpartition(":")[2])
        with recording_relay(port) as relay:
            run(tmp_path, f"http://127.0.0.1:{relay.port}", "synthetic")
    lines = requests_of(relay)
    assert lines.count("POST /v2/models/synthetic/infer HTTP/1.1") >= 20
    assert "GET /v2/models/synthetic HTTP/1.1" in lines


def test_over_openai(tmp_path: Path) -> None:
    with openai_server("--token-count", "constant:2") as target:
        host, _, path = target.partition("/")
        with recording_relay(int(host.rpartition(":")[2])) as relay:
            run(tmp_path, f"openai://127.0.0.1:{relay.port}/{path}", "synthetic-stream")
    lines = requests_of(relay)
    assert lines.count("POST /v1/chat/completions HTTP/1.1") >= 20
    assert "GET /v1/models HTTP/1.1" in lines

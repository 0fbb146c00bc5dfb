"""Connections that end and streams that are refused by others' servers: no query fails of it.

What HTTP/2 says was not processed is sent again; the server's own count proves that nothing was
processed twice.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from sut_process import sut_server
from tritonclient.grpc import service_pb2, service_pb2_grpc

RUN_S = 100.0
READY_S = 20.0
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")

CONFIGURATION = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream sut {{ server {sut}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} http2; keepalive_requests {requests};
    location / {{ grpc_pass grpc://sut; }}
  }}
}}
"""


def load(target: str, out: Path, *flags: str) -> dict[str, Any]:
    """The summary of a closed loop of 32 queries outstanding."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--quiet"),
            *("--out", str(out), "--sut", f"grpc://{target}", "--model", "null"),
            *("--scenario", "concurrency", "--concurrency", "32", "--min-duration-ms", "500"),
            *("--min-query-count", "2000", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode in (0, 1), done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@contextlib.contextmanager
def nginx(folder: Path, sut: str, requests: int) -> Iterator[str]:
    """nginx before ``sut``, which ends each connection after so many requests: HOST:PORT."""
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, sut=sut, port=port, requests=requests))
    process = subprocess.Popen([NGINX, "-c", str(file), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=READY_S)


def served_count(target: str) -> int:
    with triton.InferenceServerClient(target) as client:
        statistics = client.get_inference_statistics("null", client_timeout=READY_S)
        return int(statistics.model_stats[0].inference_count)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("requests", [100, 1000])
def test_connections_that_nginx_ends_cost_no_query(tmp_path: Path, requests: int) -> None:
    with sut_server("--model", "null") as server:
        with nginx(tmp_path, server.host_port, requests) as target:
            summary = load(target, tmp_path / "out")
        counts = summary["counts"]["queries"]
        assert counts["completed"] == counts["issued"] == counts["planned"]
        assert summary["errors"] == []
        resent = sum(worker["resent_count"] for worker in summary["workers"])
        assert resent > 0
        assert any("sent again" in note for note in summary["notes"])
        assert served_count(server.host_port) == counts["completed"]


class NullServicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """As little of KServe v2 as a run asks for; ``served`` counts the requests."""

    def __init__(self) -> None:
        self.served = 0

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])
        answer.inputs.add(name="input", datatype="FP32", shape=[-1, 16])
        answer.outputs.add(name="output", datatype="FP32", shape=[-1, 1])
        return answer

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.served += 1
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        answer.outputs.add(name="output", datatype="FP32", shape=[1, 1])
        answer.raw_output_contents.append(bytes(4))
        return answer


def test_streams_that_grpcs_own_server_refuses_are_sent_again(tmp_path: Path) -> None:
    servicer = NullServicer()
    options = [("grpc.max_concurrent_streams", 8)]
    server = grpc.server(ThreadPoolExecutor(1), options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        summary = load(f"127.0.0.1:{port}", tmp_path / "out", "--min-query-count", "500")
    finally:
        server.stop(None).wait(READY_S)
    counts = summary["counts"]["queries"]
    assert counts["completed"] == counts["issued"]
    assert summary["errors"] == []
    assert servicer.served == counts["completed"]
    (finding,) = [one for one in summary["findings"] if one["name"] == "concurrency"]
    assert not finding["met"]
    assert "at most 8 at the SUT at once" in finding["measured"]

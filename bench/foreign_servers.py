"""Servers that nobody here wrote, each started by a command and ended by its process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from answers import answer_folder
from processes import BENCH_VENV, ROOT, SERVER_CORE, MissingPeer, RowFailed, on_core, started


def peer_binary(name: str) -> str:
    """A peer's program as ``make bench-setup`` builds it. Raises MissingPeer."""
    path = BENCH_VENV / "bin" / name
    if not path.exists():
        raise MissingPeer(f"{name} was not built: make bench-setup")
    return str(path)


@contextlib.contextmanager
def nghttp2_server(*flags: str) -> Iterator[str]:
    """The C server on nghttp2; HOST:PORT."""
    with started([peer_binary("nghttp2_server"), *flags], SERVER_CORE, "ready on") as (line, _):
        yield line.rsplit(" ", 1)[-1]


@contextlib.contextmanager
def core_server(output: str = "FP32", *flags: str) -> Iterator[str]:
    """The C++ server on gRPC's C-core; HOST:PORT."""
    program = peer_binary("grpc_core_server")
    with (
        answer_folder(output) as folder,
        started([program, folder, *flags], SERVER_CORE, "ready on") as (line, _),
    ):
        yield line.rsplit(" ", 1)[-1]


@contextlib.contextmanager
def go_server() -> Iterator[str]:
    """The server on grpc-go; HOST:PORT."""
    program = peer_binary("go_server")
    with (
        answer_folder() as folder,
        started([program, folder], SERVER_CORE, "ready on") as (line, _),
    ):
        yield line.rsplit(" ", 1)[-1]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def nginx(upstream: str) -> Iterator[tuple[str, str, str]]:
    """HOST:PORT in the clear and with TLS, and the file of the certificate's authority."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise MissingPeer("nginx is not installed: make bench-setup")
    plain, tls = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
        config = Path(folder) / "nginx.conf"
        config.write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000; http2_max_concurrent_streams 128;
  upstream sut {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{plain} http2; location / {{ grpc_pass grpc://sut; }} }}
  server {{ listen 127.0.0.1:{tls} ssl http2; ssl_certificate {certificate};
            ssl_certificate_key {key}; location / {{ grpc_pass grpc://sut; }} }}
}}
""")
        with _listening([program, "-c", str(config), "-p", folder], plain):
            yield f"127.0.0.1:{plain}", f"127.0.0.1:{tls}", certificate


@contextlib.contextmanager
def haproxy(upstream: str) -> Iterator[str]:
    """HAProxy before ``upstream``, HTTP/2 in the clear on both sides; HOST:PORT."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not Path(program).exists():
        raise MissingPeer("haproxy is not installed: make bench-setup")
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend front
  bind 127.0.0.1:{port} proto h2
  default_backend sut
backend sut
  server one {upstream} proto h2
""")
        with _listening([program, "-f", str(config), "-db"], port):
            yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _listening(argv: Sequence[str], port: int) -> Iterator[None]:
    """A server that says nothing: ready once its port takes a connection."""
    process = subprocess.Popen(
        on_core(SERVER_CORE, argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 10.0
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = process.stderr.read().decode(errors="replace") if process.stderr else ""
                raise RowFailed(f"{argv[0]} did not become ready: {said[-300:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=15)


@contextlib.contextmanager
def triton_server(models: dict[str, Path]) -> Iterator[str]:
    """The Triton of the tests with these models besides its own, on the server's core."""
    sys.path.insert(0, str(ROOT / "tests" / "triton"))
    from triton_server import environment_path, make_repository, triton

    from sut_server.models.zoo import onnx_path

    environment = environment_path()
    if environment is None:
        raise MissingPeer("tritonserver is not installed: make triton")
    own = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        repository = make_repository(Path(folder), onnx_path("efficientnet-lite0"))
        for name, source in models.items():
            shutil.copytree(source, repository / name)
        os.sched_setaffinity(0, {SERVER_CORE})  # inherited by what is started now
        try:
            with triton(environment, repository, Path(folder) / "triton.log") as (address, *_):
                os.sched_setaffinity(0, own)
                yield address
        finally:
            os.sched_setaffinity(0, own)

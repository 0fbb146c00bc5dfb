"""SUTs behind an HTTP proxy and on IPv6: every protocol, its control calls, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_proxy import http_proxy
from sut_process import sut_server

RUN_S = 110.0
NAMES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy", "no_proxy", "no_grpc_proxy")
QUICK = (
    *("--scenario", "server", "--target-qps", "40", "--min-duration-ms", "500"),
    *("--min-query-count", "20", "--target-latency-ms", "5000"),
    *("--issue-delay-budget-ms", "10000", "--quiet", "--json"),
)


@contextlib.contextmanager
def servers(*flags: str) -> Iterator[dict[str, int]]:
    """The port of each protocol of one server."""
    models = ("--model", "digits", "--model", "synthetic-stream")
    ports = ("--openai-port", "0", "--http-port", "0")
    with sut_server(*models, *ports, *flags) as server:
        assert server.process.stdout is not None
        lines = [server.process.stdout.readline() for _ in range(2)]
        told = [line.partition(" ready on ")[2].strip() for line in lines]
        http, openai = sorted(told, key=lambda at: at.endswith("/v1"))
        found = {"grpc": server.host_port, "openai": openai.removesuffix("/v1"), "http": http}
        yield {name: int(at.rpartition(":")[2]) for name, at in found.items()}


def run(folder: Path, *flags: str, **proxies: str) -> subprocess.CompletedProcess[str]:
    environment = {name: one for name, one in os.environ.items() if name.lower() not in NAMES}
    return subprocess.run(
        [*(sys.executable, "-m", "loadgen_service", "run"), *flags, *QUICK, "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        env=environment | proxies,
    )


def assert_all_answered(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode in (0, 1), done.stderr
    counts = json.loads(done.stdout)["counts"]["queries"]
    assert counts["planned"] == counts["completed"] > 0, done.stdout


PROTOCOLS = [
    ("grpc", "wire", "digits"),
    ("grpc", "grpc_aio", "digits"),
    ("http", "wire", "digits"),
    ("openai", "wire", "synthetic-stream"),
]


def test_runs_by_a_proxy_and_what_is_kept_of_its_password(tmp_path: Path) -> None:
    with servers() as ports:
        names = {f"sut.test:{port}": port for port in ports.values()}
        with http_proxy(names) as proxy:
            url = f"http://me:s3cret-of-the-proxy@127.0.0.1:{proxy.port}"
            for number, (kind, adapter, model) in enumerate(PROTOCOLS):
                out = tmp_path / str(number)
                sut = f"{kind}://sut.test:{ports[kind]}"
                done = run(
                    out, "--sut", sut, "--model", model, "--adapter", adapter, http_proxy=url
                )
                assert_all_answered(done)
                kept = b"".join(one.read_bytes() for one in out.rglob("*") if one.is_file())
                assert b"s3cret-of-the-proxy" not in kept + (done.stdout + done.stderr).encode()
    assert f"CONNECT sut.test:{ports['grpc']}" in proxy.asked
    assert f"GET http://sut.test:{ports['http']}/v2/models/digits/ready" in proxy.asked
    assert f"POST http://sut.test:{ports['http']}/v2/models/digits/infer" in proxy.asked
    assert f"POST http://sut.test:{ports['openai']}/v1/chat/completions" in proxy.asked
    assert all("proxy-authorization: basic " in head.lower() for head in proxy.heads)


def test_a_proxy_that_refuses_is_named_with_the_remedy(tmp_path: Path) -> None:
    asked = ("--model", "digits", "--sut")
    with http_proxy({}, "407 Proxy Authentication Required") as proxy:
        url = f"127.0.0.1:{proxy.port}"
        for kind in ("grpc", "http"):
            done = run(tmp_path / kind, *asked, f"{kind}://sut.test:9", http_proxy=url)
            assert done.returncode == 2, done.stderr
            assert f"the proxy {url} (of http_proxy)" in done.stderr
            assert "user:password@ before its host" in done.stderr
    done = run(tmp_path / "gone", *asked, "grpc://sut.test:9", grpc_proxy=url)
    assert done.returncode == 2
    assert f"cannot reach the proxy {url} (of grpc_proxy)" in done.stderr
    done = run(tmp_path / "kind", *asked, "https://sut.test:9", all_proxy="socks5://a:s3cret@b:1")
    assert done.returncode == 2
    assert "all_proxy: names a proxy of the kind socks5" in done.stderr
    assert "s3cret" not in done.stderr


def test_loopback_runs_whatever_the_variables_say(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    with servers() as ports:
        sut = f"grpc://127.0.0.1:{ports['grpc']}"
        assert_all_answered(run(tmp_path, "--sut", sut, "--model", "digits", **nowhere))


def ipv6_missing() -> str:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError as error:
        return f"this host has no IPv6 loopback: {error.strerror}"
    return ""


@pytest.mark.skipif(bool(ipv6_missing()), reason=ipv6_missing() or "IPv6")
def test_runs_on_the_loopback_of_ipv6(tmp_path: Path) -> None:
    with servers("--host", "::1") as ports:
        for number, (kind, adapter, model) in enumerate((PROTOCOLS[0], PROTOCOLS[3])):
            sut = f"{kind}://[::1]:{ports[kind]}"
            out = tmp_path / str(number)
            assert_all_answered(run(out, "--sut", sut, "--model", model, "--adapter", adapter))


@pytest.mark.skipif(bool(ipv6_missing()), reason=ipv6_missing() or "IPv6")
def test_a_service_on_the_loopback_of_ipv6_runs_with_a_worker(tmp_path: Path) -> None:
    async def work(address: str) -> None:
        sut = f"grpc://[::1]:{ports['grpc']}"
        flags = ("--sut", sut, "--model", "digits", "--service", address)
        assert_all_answered(await asyncio.to_thread(run, tmp_path / "out", *flags))

    python = (sys.executable, "-m", "loadgen_service")
    with servers("--host", "::1") as ports:
        service = subprocess.Popen(
            [*python, "serve", "--host", "::1", "--port", "0", "--results", str(tmp_path / "all")],
            stdout=subprocess.PIPE,
            text=True,
        )
        worker = None
        try:
            assert service.stdout is not None
            address = service.stdout.readline().partition(" ready on ")[2].strip()
            assert address.startswith("[::1]:")
            worker = subprocess.Popen([*python, "worker", "--coordinator", address])
            asyncio.run(work(address))
        finally:
            for process in (worker, service):
                if process is not None:
                    process.terminate()
                    process.wait(30)

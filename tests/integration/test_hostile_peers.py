"""Hostile peers at the ports of a live ``sut-server`` and ``loadgen serve``: they lose their
connection, everybody else is served, and the server's memory stays where it was.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import hostile_peers as peers
import pytest
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

READY_S = 60.0
GROWTH_BYTES_MAX = 256 << 20
"""What one attack may leave behind: allocators keep some of what was freed."""


@dataclass
class Target:
    """A server process: its gRPC port and its HTTP port."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    http_port: int

    def rss_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found[1]) << 10

    def is_serving(self) -> bool:
        """Whether both ports still answer honest callers."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http_port}{self.health}", timeout=20
        ) as reply:
            assert reply.status == 200
        return self.process.poll() is None and self._answers()

    health = "/health"

    def _answers(self) -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            live: bool = stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=20).live
            return live


class Service(Target):
    """``loadgen serve``."""

    health = "/healthz"

    def _answers(self) -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = pb_grpc.LoadGenStub(channel)
            return not stub.ListRuns(pb.ListRunsRequest(), timeout=20).runs


def begin(arguments: list[str], folder: Path, *ready: str) -> tuple[Any, list[int]]:
    """A process, and the port that follows each of the words ``ready``."""
    said = folder / "said"
    with open(said, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=file, stderr=file, cwd=folder,
            env={k: v for k, v in os.environ.items() if k != "LOADGEN_TOKEN"},
        )  # fmt: skip
    deadline = time.monotonic() + READY_S
    while True:
        found = [re.search(rf"{words} \S*:(\d+)", said.read_text()) for words in ready]
        if all(found):
            return process, [int(one[1]) for one in found if one]
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(said.read_text())
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    flags = ("--port", "0", "--openai-port", "0", "--slow-limit-s", "2", "--idle-limit-s", "5")
    arguments = ["sut_server", "--model", "null", *flags]
    folder = tmp_path_factory.mktemp("sut")
    process, ports = begin(arguments, folder, "null ready on", "OpenAI ready on")
    yield from ended(Target(process, *ports))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    arguments = ["loadgen_service", "serve", "--port", "0", "--http-port", "0"]
    folder = tmp_path_factory.mktemp("serve")
    process, ports = begin(arguments, folder, "serve: ready on", "live page on")
    yield from ended(Service(process, *ports))


def ended(target: Target) -> Iterator[Target]:
    try:
        yield target
    finally:
        target.process.terminate()
        target.process.wait(timeout=READY_S)


def name_of(attack: peers.Attack) -> str:
    return attack.__name__


def survives(target: Target, port: int, attack: peers.Attack) -> None:
    before = target.rss_bytes()
    assert peers.is_ended_by(("127.0.0.1", port), attack)
    assert target.is_serving()
    assert target.rss_bytes() - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("attack", peers.FATAL_ATTACKS + peers.OTHER_ATTACKS, ids=name_of)
def test_sut_server_ends_the_connection_and_serves_on(sut: Target, attack: peers.Attack) -> None:
    survives(sut, sut.grpc_port, attack)


@pytest.mark.parametrize("attack", peers.HTTP1_ATTACKS, ids=name_of)
def test_the_openai_port_ends_the_connection(sut: Target, attack: peers.Attack) -> None:
    survives(sut, sut.http_port, attack)


@pytest.mark.parametrize("attack", peers.OTHER_ATTACKS, ids=name_of)
def test_the_service_bears_it_and_serves_on(service: Target, attack: peers.Attack) -> None:
    before = service.rss_bytes()
    peers.is_borne_by(("127.0.0.1", service.grpc_port), attack)
    assert service.is_serving()
    assert service.rss_bytes() - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("attack", peers.FATAL_ATTACKS, ids=name_of)
def test_the_service_ends_the_connection_and_serves_on(
    service: Target, attack: peers.Attack
) -> None:
    survives(service, service.grpc_port, attack)


@pytest.mark.parametrize("attack", peers.HTTP1_ATTACKS, ids=name_of)
def test_the_live_page_ends_the_connection(service: Target, attack: peers.Attack) -> None:
    survives(service, service.http_port, attack)


def test_slow_peers_lose_their_connections_everywhere(sut: Target, service: Target) -> None:
    # all of them at the same time: each takes its server's limit
    cases = [
        *((sut.grpc_port, attack) for attack in peers.HTTP2_SLOW),
        *((sut.http_port, attack) for attack in peers.HTTP1_SLOW),
        *((service.grpc_port, attack) for attack in (peers.silent, peers.slow_preface)),
        *((service.http_port, attack) for attack in peers.HTTP1_SLOW),
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        endings = pool.map(lambda case: peers.is_ended_by(("127.0.0.1", case[0]), case[1]), cases)
    outcome = {
        (port, name_of(attack)): end for (port, attack), end in zip(cases, endings, strict=True)
    }
    assert all(outcome.values()), outcome
    assert sut.is_serving()
    assert service.is_serving()


def test_a_body_past_the_pages_limit_is_refused(service: Target) -> None:
    body = json.dumps({"yaml": "x" * (2 << 20)}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.http_port}/api/runs", body, {"content-type": "application/json"}
    )
    with pytest.raises((urllib.error.HTTPError, OSError)) as raised:
        urllib.request.urlopen(request, timeout=20)
    if isinstance(raised.value, urllib.error.HTTPError):
        assert raised.value.code == 400
    assert service.is_serving()


def test_a_message_past_the_limit_ends_the_call_alone(service: Target) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}", options) as channel:
        stub = pb_grpc.LoadGenStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.StartRun(pb.StartRunRequest(settings_json="x" * (65 << 20)), timeout=60)
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not stub.ListRuns(pb.ListRunsRequest(), timeout=20).runs


def test_metadata_past_the_limit_ends_the_call_alone(service: Target) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
        stub = pb_grpc.LoadGenStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListRuns(pb.ListRunsRequest(), timeout=20, metadata=[("x-large", "y" * 40_000)])
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not stub.ListRuns(pb.ListRunsRequest(), timeout=20).runs

"""The service's certificates change under a live port: the gRPC one and the HTTP one."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc
from tls_authority import Authority

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.service.server import Service, serve
from loadgen_service.web.server import serve_web

DEADLINE_S = 30.0


def settings(folder: Path, **more: Any) -> ServeSettings:
    files = {"tls_cert": str(folder / "server.pem"), "tls_key": str(folder / "server.key")}
    return ServeSettings(port=0, results=str(folder / "runs"), **files, **more)


async def is_let_in(service: Service, ours: Authority, name: str) -> bool:
    """Whether a user with this certificate is answered."""
    folder = ours.folder
    credentials = grpc.ssl_channel_credentials(
        ours.certificate.read_bytes(),
        (folder / f"{name}.key").read_bytes(),
        (folder / f"{name}.pem").read_bytes(),
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(service.address, credentials, options) as channel:
        try:
            await pb_grpc.LoadGenStub(channel).ListRuns(pb.ListRunsRequest(), timeout=10)
        except grpc.aio.AioRpcError:
            return False
    return True


def in_time(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


def test_another_authority_of_clients_holds_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LOADGEN_TOKEN", raising=False)
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    ours.issue("server")
    ours.issue("alice")
    theirs.issue("bob")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(ours.certificate.read_bytes())

    async def test() -> None:
        service = await serve(settings(tmp_path, tls_client_ca=str(clients)))
        try:

            async def let_in() -> tuple[bool, bool]:
                alice, bob = [await is_let_in(service, ours, name) for name in ("alice", "bob")]
                return alice, bob

            assert await let_in() == (True, False)
            clients.write_text("-----BEGIN nothing")
            assert await let_in() == (True, False)
            assert "the certificate from before holds" in capfd.readouterr().err
            clients.write_bytes(theirs.certificate.read_bytes())
            assert await let_in() == (False, True)
        finally:
            await service.stop(drain_s=0)

    in_time(test())


def test_the_http_port_gives_the_renewed_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOADGEN_TOKEN", raising=False)
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.issue("server")

    async def test() -> None:
        wanted = settings(tmp_path, http_port=0)
        service = await serve(wanted)
        web = await serve_web(service, wanted)
        port = int(web.page_url.rstrip("/").rpartition(":")[2])
        try:

            async def shown() -> str:
                address = ("127.0.0.1", port)
                return await asyncio.to_thread(ssl.get_server_certificate, address)

            before = await shown()
            key.write_text("-----BEGIN nothing")
            assert await shown() == before
            ours.issue("server")
            while await shown() == before:
                await asyncio.sleep(0.1)
            assert await shown() == certificate.read_text()
        finally:
            await web.stop()
            await service.stop(drain_s=0)

    in_time(test())

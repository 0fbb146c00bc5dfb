"""``sut-server`` with certificates: who may connect, and with what."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from sut_process import sut_server
from tls_authority import Authority
from tritonclient.grpc import service_pb2, service_pb2_grpc

DEADLINE_S = 20.0


def ask(host_port: str, credentials: grpc.ChannelCredentials) -> bool:
    with grpc.secure_channel(host_port, credentials) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        live: bool = stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=5.0).live
        return live


def test_callers_with_the_right_authority_and_certificate_are_served(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key = ours.issue("server")
    client_certificate, client_key = ours.issue("client")
    root = ours.certificate.read_bytes()
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with sut_server("--model", "null", *tls, "--tls-client-ca", str(ours.certificate)) as server:
        with_certificate = grpc.ssl_channel_credentials(
            root, client_key.read_bytes(), client_certificate.read_bytes()
        )
        assert ask(server.host_port, with_certificate)
        without = grpc.ssl_channel_credentials(root)
        other_authority = grpc.ssl_channel_credentials(theirs.certificate.read_bytes())
        for refused in (without, other_authority):
            with pytest.raises(grpc.RpcError):
                ask(server.host_port, refused)
        assert ask(server.host_port, with_certificate)


def test_with_tls_the_server_may_listen_beyond_loopback(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("server")
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with sut_server("--model", "null", "--host", "0.0.0.0", *tls) as server:
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        assert ask(f"127.0.0.1:{server.port}", credentials)


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    authority.days = -1
    certificate, key = authority.issue("server")
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    with sut_server("--model", "null", *tls) as server:
        with pytest.raises(grpc.RpcError, match="expired"):
            ask(server.host_port, credentials)
        key.write_text("-----BEGIN nothing")
        authority.days = 1
        authority.issue("server")
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                assert ask(server.host_port, credentials)
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline

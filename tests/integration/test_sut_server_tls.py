"""``sut-server`` with certificates: who may connect, and with what."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sut_process import sut_server
from tritonclient.grpc import service_pb2, service_pb2_grpc

DEADLINE_S = 20.0


@dataclass
class Authority:
    """A certificate authority in a folder; makes certificates for 127.0.0.1."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        made = self._builder(self._subject, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = self.folder / f"{self.name}.pem"
        self._write(self.certificate, made.sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        made = self._builder(subject, key.public_key()).add_extension(address, critical=False)
        certificate = self.folder / f"{name}.pem"
        key_file = self.folder / f"{name}.key"
        self._write(certificate, made.sign(self._key, hashes.SHA256()))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, key_file

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._subject,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


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

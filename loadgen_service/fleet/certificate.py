"""A certificate for one run: made when its service opens, known to its workers only.

It spares the user an authority of their own where service and workers are started together.
Needs the package ``cryptography`` (extra ``ray``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from loadgen_service.errors import UserError

VALID_FOR = timedelta(days=7)
"""Longer than a run; a key that leaks later is worth nothing."""

CLOCKS_APART = timedelta(days=1)
"""A node whose clock is behind must not take the certificate for one of the future."""


def make_certificate(hosts: Sequence[str]) -> tuple[bytes, bytes]:
    """A self-signed certificate for names and addresses, and its key, both PEM.

    Workers are given the certificate as their authority. Raises UserError without the package.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UserError(
            "fleet: a certificate is made with the package cryptography, which is not installed: "
            "pip install 'loadgen-service[ray]'"
        ) from None
    names = [
        x509.IPAddress(ipaddress.ip_address(host)) if _is_address(host) else x509.DNSName(host)
        for host in hosts
    ]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loadgen run")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

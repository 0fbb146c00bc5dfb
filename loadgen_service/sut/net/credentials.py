"""Credentials of the way to a SUT: request headers and TLS, read from where the user keeps them.

Secrets stay out of settings: a header's value may name an environment variable or a file.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc

from loadgen_service.core.settings.target import TargetSettings
from loadgen_service.errors import UserError

_NAME = re.compile(r"[0-9a-z_.-]+")
_RESERVED = frozenset(
    (
        *("te", "trailer", "content-type", "content-length", "content-encoding"),
        *("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "expect"),
        *("user-agent", "accept-encoding", "proxy-authorization"),
        "inference-header-content-length",
    )
)
"""What the protocols themselves set, and what belongs to a proxy and not to the SUT."""

_AUTHORITY = frozenset({"host", ":authority"})
"""Names of the virtual host: no header of its own, but what stands for the SUT's address."""

_BINARY = "-bin"


def read_authority(headers: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The virtual host that ``host=`` or ``:authority=`` asks for, as an ingress routes by it;
    empty where the SUT's own address stands there. The last one holds.
    """
    named = [_read_header(text, environment) for text in headers if _is_authority(text)]
    return str(named[-1][1]) if named else ""


def _is_authority(text: str) -> bool:
    return text.partition("=")[0].strip().lower() in _AUTHORITY


def read_headers(
    headers: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[tuple[str, str | bytes], ...]:
    """``NAME=VALUE``, ``NAME=env:VARIABLE`` and ``NAME=file:PATH`` as (name, value) pairs.

    Names become lower case, as HTTP/2 wants them; a file's trailing newline is dropped. A name that
    ends in -bin is gRPC's for any bytes: its value is bytes, a file's as they are.
    """
    return tuple(_read_header(text, environment) for text in headers if not _is_authority(text))


def read_text_headers(
    headers: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[tuple[str, str], ...]:
    """The same for HTTP/1.1, where -bin means nothing and every value must be text."""
    read = read_headers(headers, environment)
    return tuple((name, _text(name, value)) for name, value in read)


def _text(name: str, value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("latin-1")
    if not text.isascii() or not text.isprintable():
        raise UserError(f"header: the value of {name} has characters that no header can carry")
    return text


def _read_header(text: str, environment: Mapping[str, str]) -> tuple[str, str | bytes]:
    name, equals, value = text.partition("=")
    name = name.strip().lower()
    if not equals or not (_NAME.fullmatch(name) or name in _AUTHORITY):
        # What stands behind the = may be a secret, and without one all of it.
        shown = repr(name) if equals else "one"
        raise UserError(f"header: {shown} is not NAME=VALUE with a name of a-z 0-9 _ . -")
    if name.startswith("grpc-") or name in _RESERVED:
        raise UserError(f"header: {name} is set by the protocol itself; leave it out")
    if name.endswith(_BINARY):
        return name, _read_bytes(name, value, environment)
    return name, _text(name, _read_value(name, value, environment))


def read_api_key(
    setting: str, environment: Mapping[str, str] = os.environ
) -> tuple[tuple[str, str], ...]:
    """The header of ``api_key``, none where it is empty. The key itself is never a setting."""
    if not setting:
        return ()
    if not setting.startswith(("env:", "file:")):
        raise UserError(
            "api_key: give env:VARIABLE or file:PATH, not the key: a command line is no secret"
        )
    key = _read_value("api_key", setting, environment).strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(f"api_key: {setting} holds no key that a header can carry")
    return (("authorization", f"Bearer {key}"),)


def _read_value(name: str, value: str, environment: Mapping[str, str]) -> str:
    read = _read_bytes(name, value, environment)
    text = read.decode("utf-8", "surrogateescape")
    return text.rstrip("\r\n") if value.startswith("file:") else text


def _read_bytes(name: str, value: str, environment: Mapping[str, str]) -> bytes:
    kind, colon, source = value.partition(":")
    if colon and kind == "env":
        if source not in environment:
            raise UserError(f"header: {name} wants the environment variable {source}, not set")
        return environment[source].encode("utf-8", "surrogateescape")
    if colon and kind == "file":
        return _read_file("header", Path(source))
    return value.encode("utf-8", "surrogateescape")


def _read_file(setting: str, path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{setting}: cannot read {path} ({error.strerror})") from None


def tls_context(settings: TargetSettings, alpn: str = "h2") -> ssl.SSLContext:
    """The context of our own wire: TLS 1.2 or newer, ALPN, the user's authority and key."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([alpn])
    if settings.tls_ca:
        _read_file("tls_ca", Path(settings.tls_ca))
        try:
            context.load_verify_locations(settings.tls_ca)
        except ssl.SSLError as error:
            raise UserError(f"tls_ca: {settings.tls_ca} is no PEM file ({error.reason})") from None
    if settings.tls_cert:
        _read_file("tls_cert", Path(settings.tls_cert))
        _read_file("tls_key", Path(settings.tls_key))
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except ssl.SSLError as error:
            raise UserError(
                f"tls_cert, tls_key: {settings.tls_cert} and {settings.tls_key} are no matching "
                f"PEM certificate and key ({error.reason})"
            ) from None
    return context


def channel_credentials(settings: TargetSettings) -> grpc.ChannelCredentials:
    """The same credentials for grpc.aio: control calls and the oracle adapter."""
    ca = _read_file("tls_ca", Path(settings.tls_ca)) if settings.tls_ca else None
    cert = _read_file("tls_cert", Path(settings.tls_cert)) if settings.tls_cert else None
    key = _read_file("tls_key", Path(settings.tls_key)) if settings.tls_key else None
    return grpc.ssl_channel_credentials(ca, key, cert)

"""Who may speak to the service and what it may be aimed at; no transport is opened here.

The three rules: nothing listens beyond loopback without TLS and a token (or ``--insecure``);
every call carries the token; a run sent from elsewhere may name only allowed SUTs, paths and
environment variables, because it is this host that reads and connects.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError

TOKEN_VARIABLE = "LOADGEN_TOKEN"
TOKEN_MIN_CHARACTERS = 16
"""Shorter secrets can be guessed over a network within days."""

MAX_MESSAGE_BYTES = 64 << 20
"""A record batch is a few MiB; anything above this is a mistake or an attack."""

BUILT_IN_DATASETS = frozenset({"imagenet-sample", "digits", "random", "zeros"})


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this host can reach."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(settings: ServeSettings) -> str:
    """The token from ``token_file``, else from the environment, else ``""``.

    Raises SettingsError on an unreadable, empty or short one.
    """
    source, token = f"${TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE, "").strip()
    if settings.token_file:
        source = settings.token_file
        try:
            token = Path(source).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(
                f"token_file {source}: {error.strerror}; write a token there"
            ) from None
        if not token:
            raise SettingsError(f"token_file {source}: empty; write a token there")
    if token and (len(token) < TOKEN_MIN_CHARACTERS or not token.isascii()):
        raise SettingsError(
            f"token of {source}: give at least {TOKEN_MIN_CHARACTERS} ASCII characters, "
            "for example from `openssl rand -hex 24`"
        )
    return token


def require_safe_bind(settings: ServeSettings, token: str) -> None:
    """Refuse to listen beyond loopback without TLS and a token, unless told ``insecure``."""
    if is_loopback(settings.host) or settings.insecure:
        return
    lacking = [
        name
        for name, there in (("--tls-cert and --tls-key", settings.tls_cert), ("a token", token))
        if not there
    ]
    if lacking:
        raise SettingsError(
            f"host {settings.host} is reachable from other hosts: give {' and '.join(lacking)} "
            "(--token-file), or listen on 127.0.0.1, or say --insecure"
        )


def server_credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """TLS of the service from its PEM files; None where it has none."""
    if not settings.tls_cert:
        return None
    key, cert = _read_pem("tls_key", settings.tls_key), _read_pem("tls_cert", settings.tls_cert)
    client_ca = settings.tls_client_ca
    return grpc.ssl_server_credentials(
        [(key, cert)],
        root_certificates=_read_pem("tls_client_ca", client_ca) if client_ca else None,
        require_client_auth=bool(client_ca),
    )


def _read_pem(field: str, path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{field} {path}: {error.strerror}") from None
    if b"-----BEGIN" not in content:
        raise SettingsError(f"{field} {path}: not a PEM file")
    return content


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # stubs only
    """Answers every call without the right ``authorization: Bearer TOKEN`` UNAUTHENTICATED."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def _is_known(self, details: grpc.HandlerCallDetails) -> bool:
        given = [v for k, v in details.invocation_metadata or () if k == "authorization"]
        first = given[0] if given else ""
        value = first if isinstance(first, bytes) else first.encode()
        # Constant time, so that the token cannot be guessed a character at a time.
        return hmac.compare_digest(value, self._expected)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Pass the call on, or put a refusal of the same shape in its place."""
        handler = await continuation(handler_call_details)
        if handler is None or self._is_known(handler_call_details):
            return handler
        return _refusal_like(handler)


async def _refuse(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "this service wants a token: send it with --token-file or LOADGEN_TOKEN",
    )


async def _refuse_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    await _refuse(request, context)
    yield  # a generator, as a streaming handler must be


def _refusal_like(handler: Any) -> Any:
    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    refuse = _refuse_stream if handler.response_streaming else _refuse
    return make(refuse, handler.request_deserializer, handler.response_serializer)


_SCHEME = re.compile(r"^[a-z0-9+.-]+://", re.IGNORECASE)


def require_allowed(settings: Settings, serve: ServeSettings) -> None:
    """Refuse a run that names a SUT, path or variable that the operator did not allow.

    Raises UserError naming the first such thing and the operator's flag.
    """
    for address in settings.sut:
        target = _SCHEME.sub("", address.strip()).partition("/")[0]
        if serve.allow_sut and not _matches(target, serve.allow_sut):
            raise UserError(
                f"sut {address}: this service may not be aimed at it; "
                "its operator allows targets by --allow-sut"
            )
    for field, path in _paths_named(settings):
        # resolve() first, so that `..` and links cannot step out of an allowed folder.
        if not _matches(str(Path(path).resolve()), serve.allow_path):
            raise UserError(
                f"{field} {path}: runs on this service may not name this path; "
                "its operator allows paths by --allow-path"
            )
    for header in (*settings.header, f"api_key={settings.api_key}"):
        _, _, value = header.partition("=")
        if value.startswith("env:") and not _matches(value[4:], serve.allow_env):
            raise UserError(
                f"header {header}: runs on this service may not name this variable; "
                "its operator allows variables by --allow-env"
            )


def _matches(text: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _paths_named(settings: Settings) -> list[tuple[str, str]]:
    named = [
        (field, str(getattr(settings, field)))
        for field in ("labels", "trace_file", "tls_ca", "tls_cert", "tls_key", "tokenizer")
    ]
    if settings.dataset not in BUILT_IN_DATASETS:
        named.append(("dataset", settings.dataset))
    for header in (*settings.header, f"api_key={settings.api_key}"):
        name, _, value = header.partition("=")
        if value.startswith("file:"):
            named.append((f"header {name}", value[5:]))
    return [(field, path) for field, path in named if path]

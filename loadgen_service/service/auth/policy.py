"""Who may speak to the service and what it may be aimed at; no transport is opened here.

The three rules: nothing listens beyond loopback without TLS and a token (or ``--insecure``);
every call carries a token (``tokens``); a run sent from elsewhere may name only allowed SUTs,
paths and environment variables, because it is this host that reads and connects.

Which right each gRPC method wants, and the interceptor that asks for it first of all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.authority import (
    Authority,
    authority_of,
    is_allowed,
    metrics_place,
)
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.service.auth.token_book import Denial, TokenBook, bearer_secret, digest_of

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


def require_safe_bind(settings: ServeSettings, has_token: bool) -> None:
    """Refuse to listen beyond loopback without TLS and a token, unless told ``insecure``."""
    if is_loopback(settings.host) or settings.insecure:
        return
    lacking = [
        name
        for name, there in (("--tls-cert and --tls-key", settings.tls_cert), ("a token", has_token))
        if not there
    ]
    if lacking:
        raise SettingsError(
            f"host {settings.host} is reachable from other hosts: give {' and '.join(lacking)} "
            "(--token-file), or listen on 127.0.0.1, or say --insecure"
        )


PATH_FIELDS = (
    "audit_config", "labels", "sequences", "tls_ca", "tls_cert", "tls_key", "tokenizer",
    "trace_file", "user_conf",
)  # fmt: skip
"""Settings that always name a file. Some are read from the results again, on another host."""

BUILT_IN: Final = {
    "dataset": BUILT_IN_DATASETS,
    "task": frozenset({"imagenet-sample", "digits"}),
    "preprocess": frozenset({"efficientnet-lite0", "raw"}),
}
"""Settings that name a file unless they name one of these."""


def require_allowed(settings: Settings, serve: ServeSettings) -> None:
    """Refuse a run that names a SUT, path or variable that the operator did not allow.

    Raises UserError naming the first such thing and the operator's flag.
    """
    if serve.allow_sut:
        for address in settings.sut:
            _require_target("sut", address, authority_of, serve.allow_sut)
        for url in settings.sut_metrics:
            _require_target("sut_metrics", url, _metrics_authority, serve.allow_sut)
    if settings.otlp_endpoint and not _may_dial(
        settings.otlp_endpoint, authority_of, serve.allow_otlp
    ):
        # This host's OTEL_ variables, keys of a collector among them, go where the spans go.
        raise UserError(
            f"otlp_endpoint {settings.otlp_endpoint}: runs on this service may not send traces "
            "there; its operator allows collectors by --allow-otlp"
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


def _require_target(
    field: str, address: str, parse: Callable[[str], Authority], patterns: list[str]
) -> None:
    if not _may_dial(address, parse, patterns):
        raise UserError(
            f"{field} {address}: this service may not be aimed at it; "
            "its operator allows targets by --allow-sut"
        )


def _may_dial(address: str, parse: Callable[[str], Authority], patterns: list[str]) -> bool:
    """Whether the host and the port that a client would connect to are allowed."""
    try:
        return is_allowed(parse(address), patterns)
    except ValueError:
        return False


def _metrics_authority(url: str) -> Authority:
    place = metrics_place(url)
    return Authority(place.host.lower(), place.port)


def _matches(text: str, patterns: list[str]) -> bool:
    return any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns)


def _paths_named(settings: Settings) -> list[tuple[str, str]]:
    named = [(field, str(getattr(settings, field))) for field in PATH_FIELDS]
    for field, known in BUILT_IN.items():
        if (value := str(getattr(settings, field))) not in known:
            named.append((field, value))
    for header in (*settings.header, f"api_key={settings.api_key}"):
        name, _, value = header.partition("=")
        if value.startswith("file:"):
            named.append((f"header {name}", value[5:]))
    return [(field, path) for field, path in named if path]


RIGHT_OF_METHOD: Final = {
    "/loadgen.v1.LoadGen/StartRun": "run",
    "/loadgen.v1.LoadGen/StopRun": "run",
    "/loadgen.v1.LoadGen/WatchRun": "read",
    "/loadgen.v1.LoadGen/ListRuns": "read",
    "/loadgen.v1.LoadGen/FetchRun": "read",
    "/loadgen.v1.Fleet/Session": "work",
    "/loadgen.v1.Fleet/Records": "work",
    "/loadgen.v1.Fleet/FetchArena": "work",
}


class TokenGuard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # stubs only
    """Refuses calls whose ``authorization: Bearer TOKEN`` does not give the method's right.

    UNAUTHENTICATED: no token, or one that is not valid. PERMISSION_DENIED: not for this method.
    """

    def __init__(self, tokens: TokenBook) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Pass the call on, or put a refusal of the same shape in its place."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        denial = self._denial(handler_call_details)
        return handler if denial is None else _refusal_like(handler, denial)

    def _denial(self, details: grpc.HandlerCallDetails) -> Denial | None:
        right = RIGHT_OF_METHOD.get(details.method)
        if right is None:
            return Denial(f"{details.method}: no right covers this method", is_known=True)
        given = [v for k, v in details.invocation_metadata or () if k == "authorization"]
        return self._tokens.denial(digest_of(bearer_secret(given[0] if given else "")), right)


def _refusal_like(handler: Any, denial: Denial) -> Any:
    code = grpc.StatusCode.PERMISSION_DENIED if denial.is_known else grpc.StatusCode.UNAUTHENTICATED

    async def refuse(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(code, denial.reason)

    async def refuse_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(code, denial.reason)
        yield  # a generator, as a streaming handler must be

    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    refusal = refuse_stream if handler.response_streaming else refuse
    return make(refusal, handler.request_deserializer, handler.response_serializer)

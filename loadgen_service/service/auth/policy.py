"""Who may speak to the service and what it may be aimed at; no transport is opened here.

The three rules: nothing listens beyond loopback without TLS and a token (or ``--insecure``);
every call carries a token (``tokens``); a run sent from elsewhere may name only allowed SUTs,
paths and environment variables, because it is this host that reads and connects.
"""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase
from pathlib import Path

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.metrics_url import metrics_place
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError

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


PATH_FIELDS = ("labels", "sequences", "tls_ca", "tls_cert", "tls_key", "tokenizer", "trace_file")
"""Settings that always name a file of the service's host; a data set, a header or a key may."""

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
    for url in settings.sut_metrics:
        if serve.allow_sut and not _matches(metrics_place(url).authority, serve.allow_sut):
            raise UserError(
                f"sut_metrics {url}: this service may not be aimed at it; "
                "its operator allows targets by --allow-sut"
            )
    collector = _SCHEME.sub("", settings.otlp_endpoint).partition("/")[0]
    if collector and not _matches(collector, serve.allow_otlp):
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


def _matches(text: str, patterns: list[str]) -> bool:
    # fnmatch reads the brackets of an IPv6 address as a set of letters
    return any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns)


def _paths_named(settings: Settings) -> list[tuple[str, str]]:
    named = [(field, str(getattr(settings, field))) for field in PATH_FIELDS]
    if settings.dataset not in BUILT_IN_DATASETS:
        named.append(("dataset", settings.dataset))
    for header in (*settings.header, f"api_key={settings.api_key}"):
        name, _, value = header.partition("=")
        if value.startswith("file:"):
            named.append((f"header {name}", value[5:]))
    return [(field, path) for field, path in named if path]

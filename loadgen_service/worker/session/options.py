"""What a worker process is told at its start, and its channel to the coordinator."""

from __future__ import annotations

import ipaddress
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from loadgen_service.errors import UserError

MESSAGE_BYTES_MAX: Final = 64 << 20
TOKEN_VARIABLE: Final = "LOADGEN_TOKEN"
"""The token comes by environment or file, never by a flag: command lines are public on a host."""

_SHARED_MEMORY: Final = Path("/dev/shm")


def default_spill_dir() -> Path:
    """Where record blocks lie: shared memory where there is any, else the temporary folder.

    On a disk, a page that is being written back could stop the loop for milliseconds.
    """
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """``once``: leave after the first run. ``with_parent``: leave when the parent process ends.

    ``labels`` are told to the coordinator.
    """

    coordinator: str
    token: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_server_name: str = ""
    insecure: bool = False
    spill_dir: Path = field(default_factory=default_spill_dir)
    once: bool = False
    with_parent: bool = False
    labels: tuple[str, ...] = ()

    @property
    def has_tls(self) -> bool:
        """Whether the coordinator is spoken to over TLS."""
        return bool(self.tls_ca or self.tls_cert)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def open_coordinator(options: WorkerOptions) -> grpc.aio.Channel:
    """The channel; TLS when an authority or a certificate is named, plain on loopback.

    Raises ``UserError`` before a token would cross a network in plain text.
    """
    channel_options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        # A coordinator that comes back must be found within a second, not grpc's usual minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Also how long a connection may take to be made: a busy host or a far one needs seconds.
        # One that began during a partition is given up soon after it.
        ("grpc.min_reconnect_backoff_ms", 3_000),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if is_loopback(options.coordinator):
        channel_options.append(("grpc.enable_http_proxy", 0))
    if options.tls_server_name:
        channel_options.append(("grpc.ssl_target_name_override", options.tls_server_name))
    if options.has_tls:
        credentials = grpc.ssl_channel_credentials(
            _read("tls_ca", options.tls_ca),
            _read("tls_key", options.tls_key),
            _read("tls_cert", options.tls_cert),
        )
        return grpc.aio.secure_channel(options.coordinator, credentials, channel_options)
    if not options.insecure and not is_loopback(options.coordinator):
        raise UserError(
            f"coordinator: {options.coordinator} is on another host; give --tls-ca, "
            "or --insecure on a network that you trust"
        )
    return grpc.aio.insecure_channel(options.coordinator, channel_options)


def tls_trouble(details: str, flag_prefix: str = "--", was_reached: bool = False) -> str:
    """The certificate's fault in grpc's text of a failed connection, with the flags that cure
    it; empty where the text names none.

    ``was_reached``: it answered before, so a closed socket is a service that ended.
    """
    _, found, cause = details.partition("CERTIFICATE_VERIFY_FAILED: ")
    if found:
        cause = cause.partition(":")[0].strip()
        return (
            f"its certificate is refused here ({cause}): have it renewed, or see "
            f"{flag_prefix}tls-ca and this host's clock"
        )
    if "WRONG_VERSION_NUMBER" in details:
        return f"it speaks no TLS; leave {flag_prefix}tls-ca out, or name its TLS port"
    if "handshake" in details or ("Socket closed" in details and not was_reached):
        return (
            "it ended the TLS handshake: if it asks for client certificates, see "
            f"{flag_prefix}tls-cert and {flag_prefix}tls-key, and whether ours has expired"
        )
    return ""


def is_loopback(target: str) -> bool:
    """Whether ``host:port`` stays on this host."""
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost" or target.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(setting: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{setting}: cannot read {path} ({error.strerror})") from None

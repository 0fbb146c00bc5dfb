"""``--fleet ray://...``: the service of this run opened to a Ray cluster, and its workers there.

Opened safely without being asked: a random token that may do nothing but work, and a certificate
made for this run. ``--insecure`` leaves the certificate out.
"""

from __future__ import annotations

import argparse
import ipaddress
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen_service.cli.flags import OneLineParser
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.fleet.ray_cluster import Ended, RayCluster, head_of, import_ray
from loadgen_service.fleet.ray_workers import RayWorkers

if TYPE_CHECKING:
    from loadgen_service.service.server import Service

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"


def add_fleet_flags(parser: OneLineParser) -> None:
    """``--fleet`` and ``--advertise``."""
    group = parser.add_argument_group("fleet: where the workers run, if not on this host")
    group.add_argument("--fleet", default="", metavar="ray://HOST:PORT", help="the head of a Ray "
                       "cluster, which starts the --workers on its nodes")  # fmt: skip
    group.add_argument("--advertise", default="", metavar="HOST[:PORT]", help="this host as the "
                       "cluster reaches it; default: the address that leads to the head, and a "
                       "free port")  # fmt: skip


@dataclass
class RayFleet:
    """One run's service and workers around a cluster. ``folder`` holds the certificate's files."""

    address: str
    host: str
    port: int
    insecure: bool
    wait_s: float
    certificate: bytes = b""
    folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def serve_settings(self) -> dict[str, Any]:
        """What the service must be told; makes the certificate. Raises UserError."""
        settings: dict[str, Any] = {"host": bindable(self.host), "port": self.port}
        if self.insecure:
            return settings | {"insecure": True}
        from loadgen_service.fleet.certificate import make_certificate

        self.certificate, key = make_certificate([self.host, LOOPBACK])
        # the folder is ours alone (mode 700), and so is the key
        self.folder = tempfile.TemporaryDirectory(prefix="loadgen-run-")
        paths = {"tls_cert": self.certificate, "tls_key": key}
        for name, content in paths.items():
            (Path(self.folder.name) / name).write_bytes(content)
            settings[name] = str(Path(self.folder.name) / name)
        return settings

    @property
    def authority(self) -> str:
        """The file with the service's certificate; empty for plain text."""
        return str(Path(self.folder.name) / "tls_cert") if self.folder else ""

    def own_address(self, service: Service) -> str:
        """The service as this process reaches it."""
        reached = LOOPBACK if service.address.startswith(EVERYWHERE) else self.host
        return joined(reached, service.port)

    def workers(self, count: int, service: Service, say: Callable[[str], None]) -> RayWorkers:
        """The workers, not yet started."""
        arguments = ["--coordinator", joined(self.host, service.port)]
        if self.insecure:
            arguments.append("--insecure")

        def left(one: Ended) -> None:
            tell = service.worker_left if one.is_sure else service.worker_doubted
            tell(one.placed.started.pid, one.placed.started.host, one.reason)

        return RayWorkers(
            RayCluster(self.address), count, arguments, service.worker_token, self.certificate,
            wait_s=self.wait_s, say=say, on_exit=left,
        )  # fmt: skip

    def close(self) -> None:
        """Remove the certificate's files."""
        if self.folder is not None:
            self.folder.cleanup()


def ray_fleet(given: argparse.Namespace, wait_ms: int) -> RayFleet | None:
    """What ``--fleet`` asks for; None without it. Raises UserError for flags that do not fit."""
    if not given.fleet:
        if given.advertise:
            raise SettingsError("advertise: goes with --fleet; leave it out, or name the cluster")
        return None
    if given.service:
        raise SettingsError(
            "fleet: the run happens at --service, with the workers that it has; leave one out"
        )
    head = head_of(given.fleet)
    import_ray()
    host, port = advertised(given.advertise, head)
    return RayFleet(given.fleet, host, port, given.insecure, wait_ms / 1000)


def advertised(text: str, head: tuple[str, int]) -> tuple[str, int]:
    """Host and port of ``--advertise``; else the address that leads to the head, and port 0."""
    if not text:
        return _address_towards(head), 0
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return text.strip("[]"), 0
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"advertise {text}: give HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def _address_towards(head: tuple[str, int]) -> str:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(*head, type=socket.SOCK_DGRAM)[0]
        # connecting a datagram socket sends nothing; it only chooses the way
        with socket.socket(family, kind, protocol) as found:
            found.connect(target)
            return str(found.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"fleet ray://{joined(*head)}: no way there ({error.strerror or error}); is its name "
            "right?"
        ) from None


def bindable(host: str) -> str:
    """``host`` where it is this host's own address or name, else every address (behind NAT)."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as found:
            found.bind(target)
    except OSError:
        return EVERYWHERE
    return host


def joined(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    try:
        return f"[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
    except ValueError:
        return f"{host}:{port}"

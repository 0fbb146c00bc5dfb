"""Which proxy stands before a SUT, by the usual environment variables; a pure function of them.

The order is grpcio's for gRPC and curl's for HTTP (which reads ``http_proxy`` in lower case only:
a CGI program finds a caller's ``Proxy:`` header under the other name). Loopback needs no proxy.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from loadgen_service.errors import UserError
from loadgen_service.sut.net.addresses import SutAddress, resolve

_ALL: Final = ("all_proxy", "ALL_PROXY")
_VARIABLES: Final[dict[tuple[str, bool], tuple[str, ...]]] = {
    # (whose variables, is TLS)
    ("grpc", False): ("grpc_proxy", "https_proxy", "http_proxy"),
    ("grpc", True): ("grpc_proxy", "https_proxy", "http_proxy"),
    ("http", False): ("http_proxy", *_ALL),
    ("http", True): ("https_proxy", "HTTPS_PROXY", *_ALL),
}
_EXCEPTIONS: Final = {
    "grpc": ("no_grpc_proxy", "no_proxy", "NO_PROXY"),
    "http": ("no_proxy", "NO_PROXY"),
}
DEFAULT_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: where it listens, and the variable that named it.

    ``credentials`` is ``user:password`` or empty; it is in no text that this class gives.
    """

    host: str
    port: int
    variable: str
    credentials: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {host}:{self.port} (of {self.variable})"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the proxy wants beside a request: its credentials, if it has any."""
        if not self.credentials:
            return ()
        encoded = base64.b64encode(self.credentials.encode()).decode()
        return (("Proxy-Authorization", f"Basic {encoded}"),)

    @property
    def url(self) -> str:
        """The proxy as grpcio reads it, credentials included: never to be shown."""
        user = quote(self.credentials, safe=":") + "@" if self.credentials else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{user}{host}:{self.port}"


def proxy_of(address: SutAddress, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy on the way to ``address``, or None. Raises ``UserError`` for one we cannot use."""
    kind = address.protocol.proxy_variables
    if is_loopback(address.host):
        return None
    name = _first(environment, _VARIABLES[kind, address.tls])
    if not name:
        return None
    exceptions = _first(environment, _EXCEPTIONS[kind])
    if exceptions and is_excepted(address, environment[exceptions].split(",")):
        return None
    return read_proxy(name, environment[name])


def forwarding(address: SutAddress, proxy: Proxy | None) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What stands before a request's path, and headers, where a proxy forwards plain HTTP.

    Through a tunnel, and without a proxy, nothing.
    """
    if proxy is None or address.tls:
        return "", ()
    return f"http://{address.authority}", proxy.headers


async def endpoints_of(
    address: SutAddress, proxy: Proxy | None, policy: Literal["first", "all"], timeout_ns: int
) -> list[tuple[str, int]]:
    """Where to connect: the SUT, or its proxy, which alone looks the SUT's name up.

    Raises ``SutError`` when a name cannot be resolved in time.
    """
    if proxy is not None:
        return [(proxy.host, proxy.port)]
    return await resolve(address, policy, timeout_ns)


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((name for name in names if environment.get(name, "").strip()), "")


def read_proxy(variable: str, text: str) -> Proxy:
    """``http://[USER:PASSWORD@]HOST[:PORT]`` or without the scheme. Raises ``UserError``.

    The text is never repeated: it may hold a password.
    """
    text = text.strip()
    try:
        found = urlsplit(text if "://" in text else f"http://{text}")
        host, port = found.hostname, found.port or DEFAULT_PORT
    except ValueError:
        raise UserError(f"{variable}: is no proxy; write it as http://HOST:PORT") from None
    if found.scheme != "http":
        raise UserError(
            f"{variable}: names a proxy of the kind {found.scheme}, and we speak to http only; "
            "write it as http://HOST:PORT, or name the SUT in no_proxy"
        )
    if not host:
        raise UserError(f"{variable}: names no host; write it as http://HOST:PORT")
    credentials = _credentials(found)
    if any(ord(letter) < 32 for letter in credentials + host):
        raise UserError(f"{variable}: holds characters that no header can carry")
    return Proxy(host, port, variable, credentials)


def _credentials(found: SplitResult) -> str:
    if found.username is None:
        return ""
    return f"{unquote(found.username)}:{unquote(found.password or '')}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` as written is this host."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_excepted(address: SutAddress, entries: Sequence[str]) -> bool:
    """Whether one of ``no_proxy``'s entries names the host.

    An entry is a name (and all below it), an address, a network ``10.0.0.0/8``, each with
    ``:PORT`` if only that port is meant, or ``*``.
    """
    return any(_names(entry.strip().lower(), address) for entry in entries)


def _names(entry: str, address: SutAddress) -> bool:
    if entry == "*":
        return True
    host, port = _split_port(entry)
    host = host.strip("[]").lstrip("*").lstrip(".").rstrip(".")
    if not host or port not in ("", str(address.port)):
        return False
    name = address.host.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        return name == host or name.endswith(f".{host}")
    try:
        return number in ipaddress.ip_network(host, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    """Host and port; a bare IPv6 address has colons and no port."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""

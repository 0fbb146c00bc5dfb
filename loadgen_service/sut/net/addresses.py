"""SUT addresses as a user writes them, and the network addresses behind a name."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

from loadgen_service.core.protocols import (
    ADDRESS_FORMS,
    DEFAULT_PROTOCOL,
    SCHEMES,
    ProtocolRow,
)
from loadgen_service.core.settings.authority import HOST
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError, UserError

_PASTED: Final = (
    *("/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/rerank"),
    *("/score", "/messages", "/audio/transcriptions"),
)
"""Ends of an OpenAI-style server's endpoints, which are pasted where the base address is meant."""

_PASTED_TENSORS: Final = re.compile(r"/v2(?:/models(?:/.*)?|/health/.*)?$")
"""The same of KServe v2 over REST."""

ATTEMPT_DELAY_S: Final = 0.25
"""Between the attempts at a name's addresses, as RFC 8305 recommends."""

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z0-9+.-]+)://(?:\[(?P<v6>[^\]/]*)\]|(?P<name>[^\[\]:/]*))"
    r"(?::(?P<port>[^/]*))?(?P<path>/[^?#\s]*)?"
)
_EXAMPLE: Final = f"write it as {ADDRESS_FORMS}"

HOST_NAME: Final = re.compile(HOST)
"""What the service's allow rules admit as a host, too: no two parsers can read it differently."""


@dataclass(frozen=True, slots=True)
class SutAddress:
    """A SUT's address. ``path`` is what stands before a request's own path, and may be empty."""

    host: str
    port: int
    tls: bool
    protocol: ProtocolRow = DEFAULT_PROTOCOL
    path: str = ""

    @property
    def authority(self) -> str:
        """``host:port`` as the ``:authority`` header and grpcio's target want it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        scheme = self.protocol.tls_scheme if self.tls else self.protocol.scheme
        return f"{scheme}://{self.authority}{self.path}"


def parse_address(text: str) -> SutAddress:
    """Read ``SCHEME://HOST:PORT[/PATH]``, the host also as ``[IPv6]``. Raises ``UserError``.

    A pasted endpoint of an OpenAI-style server or of KServe v2 over REST becomes its base address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UserError(f"sut: {text!r} is no address; {_EXAMPLE}")
    scheme, host = match["scheme"], match["v6"] or match["name"]
    if scheme not in SCHEMES:
        raise UserError(f"sut: {text!r} has the scheme {scheme!r}; {_EXAMPLE}")
    if match["port"] and ":" in match["port"]:
        raise UserError(
            f"sut: {text!r} has an IPv6 address without brackets; write grpc://[::1]:80"
        )
    if not host:
        raise UserError(f"sut: {text!r} names no host; {_EXAMPLE}")
    if not match["port"]:
        raise UserError(f"sut: {text!r} names no port; {_EXAMPLE}")
    if match["name"] and not HOST_NAME.fullmatch(match["name"]):
        raise UserError(
            f"sut: {text!r} has the host {host!r}, which is no host name: letters, digits, dots, "
            f"hyphens and underscores; {_EXAMPLE}"
        )
    if match["v6"]:
        _require_ipv6(text, match["v6"])
    port = int(match["port"]) if match["port"].isascii() and match["port"].isdigit() else 0
    if not 1 <= port <= 65535:
        raise UserError(f"sut: {text!r} has the port {match['port']!r}; use 1 to 65535")
    protocol, tls = SCHEMES[scheme]
    path = _base_path(protocol, (match["path"] or "").rstrip("/"))
    if path and not protocol.takes_path:
        raise UserError(f"sut: {text!r} has a path, which {protocol.name} has not; {_EXAMPLE}")
    return SutAddress(host, port, tls, protocol, path or protocol.default_path)


def _base_path(protocol: ProtocolRow, path: str) -> str:
    """The path before a request's own, where a whole endpoint may have been pasted."""
    if protocol.inputs == "prompts":
        for end in _PASTED:
            if path.endswith(end):
                return path.removesuffix(end)
        return path
    return _PASTED_TENSORS.sub("", path)


def moved_address(address: SutAddress, path: str, location: str) -> str:
    """The SUT's address by the Location that a redirect of ``path`` names."""
    scheme = "https" if address.tls else "http"
    try:
        to = urlsplit(urljoin(f"{scheme}://{address.authority}{path}", location))
        tls = to.scheme.endswith("s")
        port = to.port or (443 if tls else 80)
    except ValueError:
        return f"the address behind it, not {address}"
    base = to.path.removesuffix(path.removeprefix(address.path)).rstrip("/")
    return str(SutAddress(to.hostname or address.host, port, tls, address.protocol, base))


def _require_ipv6(text: str, host: str) -> None:
    """Raises ``UserError`` for brackets around anything but an address of the network."""
    if "%" in host:
        raise UserError(
            f"sut: {text!r} has a zone (%), which no Host or :authority header may carry; use an "
            "address that is not link-local"
        )
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise UserError(
            f"sut: {text!r} has brackets around {host!r}, which is no IPv6 address; write "
            "grpc://[::1]:80, or a name without brackets"
        ) from None


def parse_addresses(texts: Sequence[str]) -> list[SutAddress]:
    """Read several; the same SUT twice is a user's mistake, since weights would be wrong."""
    addresses = [parse_address(text) for text in texts]
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            raise UserError(
                f"sut: {address} is named twice; use --connections or --sut-weights instead"
            )
        if address.protocol != addresses[0].protocol:
            raise UserError(
                f"sut: {address} and {addresses[0]} speak different protocols; measure them in "
                "runs of their own"
            )
    return addresses


Connects = Callable[[str, int], Awaitable[None]]
"""Opens and closes a connection to an address; raises OSError."""


async def resolve(
    address: SutAddress,
    policy: Literal["first", "all"],
    timeout_ns: int,
    connects: Connects | None = None,
) -> list[tuple[str, int]]:
    """Network addresses of a SUT: each of the name's, or the first that takes a connection.

    A name of several addresses, often one of each family, is tried in the resolver's order; the
    next is tried beside it after ``ATTEMPT_DELAY_S`` (RFC 8305). Where none answers it is the
    first, for whoever connects to say why. Raises ``SutError`` when the name is unknown or the
    resolver does not answer in time.
    """
    loop = asyncio.get_running_loop()
    query = loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(query, timeout_ns / NS_PER_S)
    except TimeoutError:
        raise SutError(
            f"sut: the name {address.host!r} was not resolved in {timeout_ns / NS_PER_S:g} s; "
            "check the name server or raise --connect-timeout-ms"
        ) from None
    except OSError as error:
        raise SutError(
            f"sut: the host {address.host!r} is unknown ({error.strerror or error}); check --sut"
        ) from None
    endpoints = list(dict.fromkeys((str(info[4][0]), int(info[4][1])) for info in found))
    if policy == "all" or len(endpoints) == 1:
        return endpoints
    first = await first_connecting(endpoints, timeout_ns / 1e9, connects or _connects)
    return [first or endpoints[0]]


async def first_connecting(
    endpoints: Sequence[tuple[str, int]], timeout_s: float, connects: Connects
) -> tuple[str, int] | None:
    """The endpoint that takes a connection first; None where none does in time.

    Attempts begin in order, the next after ``ATTEMPT_DELAY_S`` or once all before have failed.
    """
    waiting = deque(endpoints)
    attempts: dict[asyncio.Task[None], tuple[str, int]] = {}
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    try:
        while waiting or attempts:
            if waiting:
                endpoint = waiting.popleft()
                attempts[asyncio.create_task(_attempt(connects, endpoint))] = endpoint
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                return None
            wait_s = min(left_s, ATTEMPT_DELAY_S) if waiting else left_s
            done, _ = await asyncio.wait(
                attempts, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                ended = attempts.pop(task)
                if task.exception() is None:
                    return ended
        return None
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


async def _attempt(connects: Connects, endpoint: tuple[str, int]) -> None:
    await connects(*endpoint)


async def _connects(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()

"""What control calls at SUTs over HTTP share: small questions, untimed, and what HTTP has not.

The standard library's client, which blocks: ask on a thread. What answers mean, the heirs know.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence
from typing import Final, Self

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.grpc.control import NO_STATISTICS, Answers
from loadgen_service.sut.net.addresses import SutAddress, parse_addresses
from loadgen_service.sut.net.credentials import tls_context
from loadgen_service.sut.net.proxy_env import Proxy, forwarding, proxy_of

_PROXY_STATUSES: Final = {
    407: "(the proxy wants user:password@ before its host in the variable)",
    502: "(the proxy cannot reach it)",
    504: "(the proxy had no answer from it in time)",
}


class HttpControl:
    """The methods of ``SutControl`` that no server over HTTP has, reported as lacking.

    ``schemes`` is what a user may have mixed up.
    """

    def __init__(
        self, settings: Settings, timeout_ns: int, headers: Sequence[tuple[str, str]], schemes: str
    ) -> None:
        self._settings = settings
        self._addresses = parse_addresses(settings.sut)
        self._timeout_s = min(timeout_ns / 1e9, settings.connect_timeout_ms / 1e3)
        self._headers = tuple(headers)
        self._schemes = schemes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing stays open."""

    async def load(self, samples: Sequence[int], *, unload: bool = False) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("UnloadSamples" if unload else "LoadSamples")

    async def flush(self) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("Flush")

    async def clocks(self, count: int = 0) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("Clock")

    async def statistics(self) -> Answers:
        """Nothing, unless the heir knows better."""
        missing = [
            pb.SutStatistics(sut_index=index, missing=NO_STATISTICS)
            for index in range(len(self._addresses))
        ]
        return Answers(statistics=missing)

    def _lacks(self, name: str) -> Answers:
        return Answers(lacking=[f"{name} at {address}" for address in self._addresses])

    def _get(self, address: SutAddress, path: str) -> tuple[int, bytes]:
        """Status and body. Raises ``SutError`` where no HTTP answer comes in time."""
        proxy = proxy_of(address)
        try:
            connection = self._connection(address, proxy)
            try:
                status, body = self._ask(connection, address, proxy, path)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            by = f" by {proxy}" if proxy else ""
            raise SutError(
                f"sut: cannot reach {address}{by} within {self._timeout_s:g} s ({reason}); is it "
                f"running, is --sut right, and is it {self._schemes}?"
            ) from None
        if proxy is not None and status in _PROXY_STATUSES:
            said = f"HTTP {status} {_PROXY_STATUSES[status]}"
            raise SutError(f"sut: {proxy}, or what it found at {address}, answers {said}")
        return status, body

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        address: SutAddress,
        proxy: Proxy | None,
        path: str,
    ) -> tuple[int, bytes]:
        origin, extra = forwarding(address, proxy)
        connection.putrequest("GET", origin + path)
        for name, value in (*self._headers, *extra):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()

    def _connection(self, address: SutAddress, proxy: Proxy | None) -> http.client.HTTPConnection:
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        if not address.tls:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        context: ssl.SSLContext = tls_context(self._settings, "http/1.1")
        made = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        if proxy is not None:
            made.set_tunnel(address.host, address.port, dict(proxy.headers))
        return made

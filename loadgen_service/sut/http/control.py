"""What control calls at SUTs over HTTP share: small questions, untimed, and what HTTP has not.

The standard library's client, which blocks: ask on a thread. What answers mean, the heirs know.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence
from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError
from loadgen_service.sut.control import LackingControl
from loadgen_service.sut.net.addresses import SutAddress, moved_address
from loadgen_service.sut.net.credentials import read_authority, tls_context
from loadgen_service.sut.net.diagnosis import certificate_trouble, trouble_at
from loadgen_service.sut.net.proxy_env import Proxy, forwarding, proxy_of

BODY_BYTES_MAX: Final = 16 << 20
"""An answer to a control call: a list of thousands of models is far below it."""

_PROXY_STATUSES: Final = {
    407: "(the proxy wants user:password@ before its host in the variable)",
    502: "(the proxy cannot reach it)",
    504: "(the proxy had no answer from it in time)",
}


class HttpControl(LackingControl):
    """Questions over HTTP, with what no server over HTTP has reported as lacking."""

    def __init__(
        self, settings: Settings, timeout_ns: int, headers: Sequence[tuple[str, str]]
    ) -> None:
        super().__init__(settings, timeout_ns)
        self._timeout_s = min(timeout_ns / NS_PER_S, settings.connect_timeout_ms / 1e3)
        self._headers = tuple(headers)
        self._authority = read_authority(settings.header)

    def _get(self, address: SutAddress, path: str) -> tuple[int, bytes]:
        """Status and body. Raises ``SutError`` where no HTTP answer comes in time."""
        return self._exchange(address, path, None)

    def _exchange(self, address: SutAddress, path: str, content: bytes | None) -> tuple[int, bytes]:
        """As ``_get``; a POST of JSON where there is ``content``."""
        proxy = proxy_of(address)
        try:
            connection = self._connection(address, proxy)
            try:
                status, body = self._ask(connection, address, proxy, path, content)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            trouble = "" if proxy else self._trouble(address, error)
            if trouble:
                raise SutError(f"sut: cannot reach {address}: {trouble}") from None
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            by = f" by {proxy}" if proxy else ""
            protocol = address.protocol
            raise SutError(
                f"sut: cannot reach {address}{by} within {self._timeout_s:g} s ({reason}); is it "
                f"running, is --sut right, and is it {protocol.scheme}:// or "
                f"{protocol.tls_scheme}://?"
            ) from None
        if proxy is not None and status in _PROXY_STATUSES:
            said = f"HTTP {status} {_PROXY_STATUSES[status]}"
            raise SutError(f"sut: {proxy}, or what it found at {address}, answers {said}")
        return status, body

    def _trouble(self, address: SutAddress, error: Exception) -> str:
        """What the port says, where it spoke something else than HTTP/1.1 to us."""
        settings = self._settings
        name = settings.tls_server_name or address.host
        if isinstance(error, ssl.SSLError):
            context = tls_context(settings, "http/1.1")
            return certificate_trouble(error, address, context, name, self._timeout_s)
        if isinstance(error, http.client.HTTPException):
            return trouble_at(
                address, lambda: tls_context(settings, "http/1.1"), name, self._timeout_s
            )
        return ""

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        address: SutAddress,
        proxy: Proxy | None,
        path: str,
        content: bytes | None,
    ) -> tuple[int, bytes]:
        origin, extra = forwarding(address, proxy)
        method = "GET" if content is None else "POST"
        connection.putrequest(method, origin + path, skip_host=True)
        connection.putheader("Host", self._authority or address.authority)
        if content is not None:
            extra = (
                *extra,
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(content))),
            )
        for name, value in (*self._headers, *extra):
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        if 300 <= response.status < 400 and (target := response.getheader("Location")):
            raise SutError(
                f"sut: {address} redirects {path} to {target} (HTTP {response.status}); write "
                f"{moved_address(address, path, target)}"
            )
        body = response.read(BODY_BYTES_MAX + 1)
        if len(body) > BODY_BYTES_MAX:
            raise SutError(
                f"sut: {address} answers {path} with over {BODY_BYTES_MAX >> 20} MiB; "
                f"is it {address.protocol.scheme}:// or {address.protocol.tls_scheme}://?"
            )
        return response.status, body

    def _connection(self, address: SutAddress, proxy: Proxy | None) -> http.client.HTTPConnection:
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        if not address.tls:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        context: ssl.SSLContext = tls_context(self._settings, "http/1.1")
        made = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        if proxy is not None:
            made.set_tunnel(address.host, address.port, dict(proxy.headers))
        return made

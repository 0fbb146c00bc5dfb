"""Small questions to a server over HTTP, untimed, with the standard library's client.

It blocks: call it on a thread. What the answers mean is the caller's matter.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.addresses import SutAddress
from loadgen_service.sut.credentials import tls_context


class HttpGet:
    """GET requests with the same headers. ``schemes`` is what a user may have mixed up."""

    def __init__(
        self, settings: Settings, timeout_s: float, headers: Mapping[str, str], schemes: str
    ) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._headers = dict(headers)
        self._schemes = schemes

    def get(self, address: SutAddress, path: str) -> tuple[int, bytes]:
        """Status and body. Raises ``SutError`` where no HTTP answer comes in time."""
        try:
            connection = self._connection(address)
            try:
                connection.request("GET", path, headers=self._headers)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SutError(
                f"sut: cannot reach {address} within {self._timeout_s:g} s ({reason}); is it "
                f"running, is --sut right, and is it {self._schemes}?"
            ) from None

    def _connection(self, address: SutAddress) -> http.client.HTTPConnection:
        if not address.tls:
            return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout_s)
        context: ssl.SSLContext = tls_context(self._settings, "http/1.1")
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=self._timeout_s, context=context
        )

"""Who may use the HTTP port: the gRPC port's token, and what browsers need besides.

A browser carries other people's pages, so a request must come from this page (Origin), must name
this host (no DNS that was bent towards loopback), and can log in once instead of sending a header.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from loadgen_service.service.security import is_loopback

COOKIE: Final = "loadgen_session"

OPEN_PATHS: Final = ("/", "/healthz", "/login", "/assets/")
"""No secret is behind these: the empty page, its files, and the way in."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not answered."""

    status_code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one port. ``token`` empty: whoever reaches it may use it.

    ``session`` is what a browser keeps after a login; it ends with the process.
    """

    token: str
    host: str
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], cookie: str
    ) -> Refused | None:
        """None if the request may be answered. ``headers``: names in lower case."""
        if not self.token and is_loopback(self.host) and not _names_loopback(headers):
            return Refused(421, "this port is asked for by a name of this host only: 127.0.0.1")
        if method not in ("GET", "HEAD"):
            refused = _cross_site(headers)
            if refused:
                return refused
        if self._is_open(path) or self.is_known(headers, cookie):
            return None
        return Refused(401, "this service wants a token: send it as Authorization: Bearer TOKEN")

    def is_known(self, headers: Mapping[str, str], cookie: str) -> bool:
        """Whether the request carries the token or a session; true where no token is asked for."""
        if not self.token:
            return True
        given = headers.get("authorization", "").encode()
        return hmac.compare_digest(given, f"Bearer {self.token}".encode()) or hmac.compare_digest(
            cookie.encode(), self.session.encode()
        )

    def opens(self, token: str) -> bool:
        """Whether a login with this token succeeds."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in OPEN_PATHS or path.startswith("/assets/")


def _names_loopback(headers: Mapping[str, str]) -> bool:
    name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return is_loopback(name)


def _cross_site(headers: Mapping[str, str]) -> Refused | None:
    origin = headers.get("origin", "")
    if origin and urlsplit(origin).netloc != headers.get("host", ""):
        return Refused(403, "this was asked for by another site's page")
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        return Refused(415, "send application/json")
    return None

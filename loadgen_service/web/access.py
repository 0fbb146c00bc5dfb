"""Who may use the HTTP port: the gRPC port's tokens, and what browsers need besides.

A browser carries other people's pages, so a request must come from this page (Origin), must name
this host (no DNS that was bent towards loopback), and can log in once instead of sending a header.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from loadgen_service.service.auth.policy import is_loopback
from loadgen_service.service.auth.token_book import (
    NO_SECRET,
    WANTED,
    TokenBook,
    bearer_secret,
    digest_of,
)

COOKIE: Final = "loadgen_session"

SESSIONS_MAX: Final = 256
"""Logins that last at the same time; past it the oldest ends."""

WANTED_HERE: Final = "this service wants a token: send it as Authorization: Bearer TOKEN"

OPEN_PATHS: Final = ("/", "/healthz", "/login", "/assets/")
"""No secret is behind these: the empty page, its files, and the way in."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not answered."""

    status_code: int
    reason: str


class Access:
    """The rules of one port. Without tokens: whoever reaches it may use it.

    A session is what a browser keeps after a login: it may do what its token may at that time, and
    ends with the process.
    """

    def __init__(self, tokens: TokenBook, host: str) -> None:
        self._tokens = tokens
        self._host = host
        self._sessions: dict[bytes, bytes] = {}
        """Digest of a session -> digest of the token that opened it; oldest first."""

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], cookie: str
    ) -> Refused | None:
        """None if the request may be answered. ``headers``: names in lower case."""
        if not self._tokens and is_loopback(self._host) and not _names_loopback(headers):
            return Refused(421, "this port is asked for by a name of this host only: 127.0.0.1")
        is_reading = method in ("GET", "HEAD")
        if not is_reading:
            refused = _cross_site(headers)
            if refused:
                return refused
        if self._is_open(path):
            return None
        denial = self._tokens.denial(self._caller(headers, cookie), "read" if is_reading else "run")
        if denial is None:
            return None
        reason = WANTED_HERE if denial.reason == WANTED else denial.reason
        return Refused(403 if denial.is_known else 401, reason)

    def may(self, right: str, headers: Mapping[str, str], cookie: str) -> bool:
        """Whether the request's token or session gives ``right``; true where none is asked for."""
        return self._tokens.denial(self._caller(headers, cookie), right) is None

    def open_session(self, token: str) -> str:
        """A new session for this token; empty where the token opens nothing."""
        digest = digest_of(token)
        if not self._tokens.knows(digest):
            return ""
        session = secrets.token_urlsafe(24)
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[digest_of(session)] = digest
        return session

    def _caller(self, headers: Mapping[str, str], cookie: str) -> bytes:
        given = bearer_secret(headers.get("authorization", ""))
        if not given and cookie:
            # found by digest: how long the search takes tells nothing about a session
            return self._sessions.get(digest_of(cookie), NO_SECRET)
        return digest_of(given)

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in OPEN_PATHS or path.startswith("/assets/")


def _names_loopback(headers: Mapping[str, str]) -> bool:
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:  # half an IPv6 address
        return False
    return is_loopback(name)


def _cross_site(headers: Mapping[str, str]) -> Refused | None:
    origin = headers.get("origin", "")
    if origin and _authority(origin) != headers.get("host", ""):
        return Refused(403, "this was asked for by another site's page")
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        return Refused(415, "send application/json")
    return None


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # half an IPv6 address: no page of ours
        return None


def session_in(cookies: str) -> str:
    """Our session among the cookies of a request's header; empty where there is none."""
    for pair in cookies.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""

"""The host and the port that an address dials, by one strict grammar.

Allow rules and clients read an address here, so what is checked is what is connected to. Whatever
two parsers could read differently (``?``, ``#``, ``\\``, ``@``, ``%`` beside the host) is refused.

Addresses of Prometheus metrics: which are accepted, and their parts.
"""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

HOST: Final = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9._-]*)))"
"""A name of letters, digits, dots, hyphens and underscores, or an IPv6 address in brackets."""

_URL: Final = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://{HOST}(?::(?P<port>[0-9]{{1,5}}))?(?:/\S*)?"
)
_PORTS: Final = {"http": 80, "https": 443, "grpc": 443, "grpcs": 443}
"""What an OTLP exporter dials where no port is named; grpcio takes 443 for plain text too."""

_ADDRESS_PATTERN: Final = re.compile(r"[0-9.*?]*[0-9][0-9.*?]*")
PORT_MAX: Final = 65_535


class Authority(NamedTuple):
    """Where a connection goes. ``host`` is in lower case, an IPv6 address without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def authority_of(url: str) -> Authority:
    """The host and the port of ``scheme://HOST[:PORT][/path]``.

    Raises ValueError, one line, for any other form, for a port out of range, and for a scheme
    without a usual port where none is named.
    """
    found = _URL.fullmatch(url.strip())
    if found is None:
        raise ValueError(f"{url!r} is no address; give scheme://HOST:PORT with a plain host name")
    port = int(found["port"]) if found["port"] else _PORTS.get(found["scheme"].lower(), 0)
    if not 0 < port <= PORT_MAX:
        raise ValueError(f"{url!r} names no port from 1 to {PORT_MAX}")
    return Authority((found["v6"] or found["name"]).lower(), port)


def is_allowed(place: Authority, patterns: list[str]) -> bool:
    """Whether a ``HOST:PORT`` pattern (``*`` and ``?``) admits ``place``.

    A pattern whose host is digits, dots and wildcards admits addresses only: ``10.0.0.*`` does not
    admit the name ``10.0.0.attacker.example``.
    """
    text = str(place)
    for pattern in patterns:
        wanted = pattern.lower()
        # fnmatch reads the brackets of an IPv6 address as a set of letters
        if text != wanted and not fnmatchcase(text, wanted):
            continue
        host = wanted.rpartition(":")[0] or wanted
        if not _ADDRESS_PATTERN.fullmatch(host) or _is_ip(place.host):
            return True
    return False


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_METRICS_URL: Final = re.compile(
    r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})"
    r"(?P<path>/[A-Za-z0-9._~%!$&'()*+;=:@/-]*)?"
)


class MetricsPlace(NamedTuple):
    """Where metrics are asked for; ``host`` of an IPv6 address stands without its brackets."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """``HOST:PORT`` as a URL spells it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def metrics_place(url: str) -> MetricsPlace:
    """Parts of ``http://HOST:PORT[/PATH]``, by itself ``/metrics``. Raises ValueError, one line.

    No user, no password and no query: a URL is written into results, where secrets must not be.
    """
    found = _METRICS_URL.fullmatch(url)
    if found is None or not 0 < int(found["port"]) <= PORT_MAX:
        raise ValueError(
            f"{url!r} is no address of metrics; give http://HOST:PORT/metrics, "
            "without a user and without a query"
        )
    return MetricsPlace(found["host"].strip("[]"), int(found["port"]), found["path"] or "/metrics")

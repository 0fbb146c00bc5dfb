"""Addresses of Prometheus metrics: which are accepted, and their parts."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_URL: Final = re.compile(
    r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})"
    r"(?P<path>/[A-Za-z0-9._~%!$&'()*+;=:@/-]*)?"
)
PORT_MAX: Final = 65_535


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
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found["port"]) <= PORT_MAX:
        raise ValueError(
            f"{url!r} is no address of metrics; give http://HOST:PORT/metrics, "
            "without a user and without a query"
        )
    return MetricsPlace(found["host"].strip("[]"), int(found["port"]), found["path"] or "/metrics")

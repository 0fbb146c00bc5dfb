"""How many connections there may be, and how long each may idle, dawdle or not read.

One look at all of them every few seconds; nothing is added on a request's way but a count of
bytes. Knows no protocol: a connection says what it waits for. What counts is whether bytes move: a
large answer over a thin line may take hours.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

LOOKS_A_LIMIT: Final = 4
"""A limit is kept to this fraction of itself."""

BYTES_A_SECOND_MIN: Final = 1_024
"""A request that comes, or an answer that is read, more slowly than this is not honest on any
network that is measured."""

_ACKNOWLEDGED_END: Final = 128
"""``tcpi_bytes_acked`` of Linux's ``struct tcp_info`` is the unsigned 64-bit number before it."""

HANDSHAKE_S: Final = 10.0
"""How long a caller may take over TLS."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """``slow_s``: for a request under way, or answers not read. ``idle_s``: for neither."""

    connections_max: int = 1_024
    slow_s: float = 30.0
    idle_s: float = 3_600.0


def acknowledged_bytes(transport: asyncio.BaseTransport | None) -> int:
    """Bytes that the caller's host has acknowledged (Linux's TCP_INFO); 0 where nobody counts."""
    plain: Any = transport.get_extra_info("socket") if transport is not None else None
    if plain is None or sys.platform != "linux":
        return 0
    try:
        told = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED_END)
    except OSError:
        return 0
    return int.from_bytes(told[_ACKNOWLEDGED_END - 8 :], sys.byteorder)


class Watched(Protocol):
    """A connection as it is seen here."""

    received_bytes: int

    @property
    def is_unfinished(self) -> bool:
        """The caller has begun something (a greeting, headers, a frame) and not ended it."""

    @property
    def is_stalled(self) -> bool:
        """Answers wait because the caller does not read."""

    @property
    def is_busy(self) -> bool:
        """A call waits for our answer."""

    def acknowledged_bytes(self) -> int:
        """Bytes of answers that have reached the caller's host; they grow while it reads."""

    def abort(self) -> None:
        """End it now."""


@dataclass(slots=True)
class _Seen:
    received_bytes: int = 0
    slow_s: float = 0.0
    stalled_s: float = 0.0
    idle_s: float = 0.0
    acknowledged_bytes: int = -1
    """At the last look, if answers waited then."""

    def took(self, acknowledged_bytes: int, passed_s: float) -> bool:
        """Whether the caller has read since the last look, of answers that waited then."""
        moved = acknowledged_bytes - self.acknowledged_bytes
        was_seen = self.acknowledged_bytes >= 0
        self.acknowledged_bytes = acknowledged_bytes
        return was_seen and moved >= BYTES_A_SECOND_MIN * passed_s


@dataclass(slots=True)
class ConnectionWatch:
    """The connections of one server. ``ended`` counts those that were ended here."""

    limits: ConnectionLimits
    ended: int = 0
    _seen: dict[Watched, _Seen] = field(default_factory=dict)

    def admit(self, connection: Watched) -> bool:
        """False: there are too many; the caller ends it."""
        if len(self._seen) >= self.limits.connections_max:
            self.ended += 1
            return False
        self._seen[connection] = _Seen()
        return True

    def forget(self, connection: Watched) -> None:
        """It has closed."""
        self._seen.pop(connection, None)

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        pause_s = min(self.limits.slow_s, self.limits.idle_s) / LOOKS_A_LIMIT
        while True:
            await asyncio.sleep(pause_s)
            self.look(pause_s)

    def look(self, passed_s: float) -> None:
        """End what has used up its time; ``passed_s`` since the last look."""
        for connection, seen in list(self._seen.items()):
            self._count(connection, seen, passed_s)
            limits = self.limits
            if max(seen.slow_s, seen.stalled_s) >= limits.slow_s or seen.idle_s >= limits.idle_s:
                self.ended += 1
                self.forget(connection)
                connection.abort()

    @staticmethod
    def _count(connection: Watched, seen: _Seen, passed_s: float) -> None:
        came = connection.received_bytes - seen.received_bytes
        seen.received_bytes += came
        is_slow = connection.is_unfinished and came < BYTES_A_SECOND_MIN * passed_s
        # reading is paused meanwhile, so that nothing can come
        is_stalled = connection.is_stalled
        seen.slow_s = seen.slow_s + passed_s if is_slow and not is_stalled else 0.0
        if is_stalled and not seen.took(connection.acknowledged_bytes(), passed_s):
            seen.stalled_s += passed_s
        elif not is_stalled:
            seen.stalled_s, seen.acknowledged_bytes = 0.0, -1
        else:
            seen.stalled_s = 0.0
        is_idle = not came and not connection.is_busy
        seen.idle_s = seen.idle_s + passed_s if is_idle else 0.0

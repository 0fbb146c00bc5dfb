"""The HTTP adapter: a pool of connections, each with one call at a time.

A call takes the connection that rested least; where none is free another is opened, up to the
limit, and the call waits for it. It never retries a call and owns no decision about load.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError
from loadgen_service.sut.grpc.client import (
    CONNECT_ERRORS,
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    RECONNECT_TIMEOUT_NS,
    connect_failure,
)
from loadgen_service.sut.http.connection import Answer, HttpLink
from loadgen_service.sut.interface import CODE_BROKEN_CONNECTION, DONE, Cell, Event, Parts, Sink
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.connect_tunnel import connect
from loadgen_service.sut.net.proxy_env import Proxy

IDLE_REUSE_NS: Final = 3_000_000_000
"""A connection that rested longer is not used again: many servers close such after 5 s, and a
request that meets the closing on its way would be counted as their failure."""

REST_S: Final = 0.1
"""Some servers close after every stream without a word in its head. Until a server has answered
twice on a connection, each rests so long before it is used again. One that closes a resting
connection gets a new one for every call from then on."""

REST_NS: Final = int(REST_S * NS_PER_S)

CONNECTING_MAX: Final = 256
"""Handshakes under way at once: a larger burst would overrun a server's backlog."""


@dataclass(frozen=True, slots=True)
class HttpPath:
    """How to reach one SUT: its name, network endpoints in turn, the request's head, TLS if any.

    ``head`` is everything before a request's own header lines. ``connection_count`` are opened
    before the load, ``connection_limit`` at most (0: any number).
    """

    address: str
    endpoints: Sequence[tuple[str, int]]
    head: bytes
    answer: Callable[[], Answer]
    connection_count: int
    connection_limit: int
    connect_timeout_ns: int
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""
    tunnel: tuple[Proxy, SutAddress] | None = None
    """The proxy to ask for a tunnel, and for whom."""


class HttpSut:
    """A SUT over HTTP/1.1."""

    def __init__(
        self, path: HttpPath, sink: Sink, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.address = path.address
        self.blocked_count = 0
        self._path = path
        self._sink = sink
        self._clock = clock
        self._free: list[HttpLink] = []
        self._busy: dict[int, HttpLink] = {}
        self._links: set[HttpLink] = set()
        self._issued: list[tuple[int, Parts, Cell]] = []
        self._waiting: OrderedDict[int, tuple[Parts, Cell]] = OrderedDict()
        self._connecting: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._backoff_s = 0.0
        self._reason = ""
        self._is_closed = False
        self._keeps_open = False
        self._closes_each = False

    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""
        return len(self._waiting) + len(self._issued)

    @property
    def link_count(self) -> int:
        """Open connections."""
        return len(self._links)

    # ------------------------------------------------------------ for the loop
    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``."""
        cell = [released_ns, NEVER]
        self._issued.append((key, parts, cell))
        return cell

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """See ``interface.SystemUnderTest``; a request's parts begin with its own header lines."""
        line = f"traceparent: {traceparent}\r\n".encode()
        pieces = (parts,) if isinstance(parts, bytes) else parts
        return self.issue(key, (line, *pieces), released_ns)

    def flush(self) -> None:
        """See ``interface.SystemUnderTest``."""
        issued, self._issued = self._issued, []
        for key, parts, cell in issued:
            link = None if self._waiting else self._take_free(cell[0])
            if link is None:
                self.blocked_count += 1
                self._waiting[key] = (parts, cell)
            else:
                self._send(link, key, parts, cell)
        if self._waiting:
            self._open_more()

    def cancel(self, key: int) -> None:
        """See ``interface.SystemUnderTest``."""
        if self._waiting.pop(key, None) is not None:
            return
        link = self._busy.pop(key, None)
        if link is not None:
            link.forget()

    def sweep(self, now_ns: int) -> None:
        """See ``interface.SystemUnderTest``."""
        if not self._waiting:
            return
        self._open_more()
        if self._links or not self._reason:
            return
        text = f"no connection to {self.address}: {self._reason}"
        events: list[Event] = []
        for key, (_, cell) in self._waiting.items():
            if now_ns - cell[0] < RECONNECT_TIMEOUT_NS:
                break
            events.append((DONE, key, CODE_BROKEN_CONNECTION, None, text))
        for event in events:
            del self._waiting[event[1]]
        if events:
            self._sink(now_ns, events)

    # ------------------------------------------------------------ handing over
    def _take_free(self, now_ns: int) -> HttpLink | None:
        """The connection that rested least; ones that rested too long are closed."""
        while self._free:
            link = self._free.pop()
            if not link.is_open:
                continue
            if now_ns - link.idle_since_ns <= IDLE_REUSE_NS:
                return link
            link.close()
        return None

    def _send(self, link: HttpLink, key: int, parts: Parts, cell: Cell) -> None:
        self._busy[key] = link
        pieces = (parts,) if isinstance(parts, bytes) else parts
        request = b"".join((self._path.head, *pieces))
        answer = self._path.answer()
        cell[1] = self._clock()
        link.send(key, request, answer)

    # ------------------------------------------------------------ what links report
    def on_events(self, now_ns: int, events: Sequence[Event]) -> None:
        """A link received answers."""
        last = events[-1]
        if last[0] == DONE:
            link = self._busy.pop(last[1], None)
            if link is not None and link.call_count > 1:
                self._keeps_open = last[2] != CODE_BROKEN_CONNECTION
        self._sink(now_ns, events)

    def on_free(self, link: HttpLink, now_ns: int) -> None:
        """A link can take the next call."""
        if self._closes_each and link.call_count:
            link.close()
        elif self._keeps_open or not link.call_count:
            self._offer(link, now_ns)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(REST_S, lambda: self._offer(link, self._clock()))

    def _offer(self, link: HttpLink, now_ns: int) -> None:
        if self._is_closed or (self._closes_each and link.call_count):
            link.close()
        elif not link.is_open:
            return
        elif self._waiting:
            key, (parts, cell) = self._waiting.popitem(last=False)
            self._send(link, key, parts, cell)
        else:
            self._free.append(link)

    def on_lost(self, link: HttpLink, now_ns: int, reason: str) -> None:
        """A link's transport ended; its call was settled before."""
        self._links.discard(link)
        if link.call_count and not self._keeps_open and now_ns - link.idle_since_ns < REST_NS:
            self._closes_each = True
        if self._waiting:
            self._open_more()

    # ------------------------------------------------------------ connecting
    async def open(self) -> None:
        """Open the first connections, or raise ``SutError`` with one line."""
        try:
            for _ in range(max(1, self._path.connection_count)):
                link = await self._connect()
                link.idle_since_ns = self._clock()
                self._free.append(link)
        except CONNECT_ERRORS as error:
            await self.close()
            raise SutError(connect_failure(self.address, error)) from None

    def _open_more(self) -> None:
        """As many handshakes as calls wait, within the limits."""
        limit = self._path.connection_limit or 1 << 30
        # After a refusal one attempt at a time asks whether the server is back.
        most = 1 if self._backoff_s else CONNECTING_MAX
        while (
            len(self._connecting) < min(len(self._waiting), most)
            and len(self._links) + len(self._connecting) < limit
            and not self._is_closed
        ):
            task = asyncio.get_running_loop().create_task(self._connect_for_waiting())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect_for_waiting(self) -> None:
        if self._backoff_s:
            await asyncio.sleep(self._backoff_s)
        try:
            link = await self._connect()
        except CONNECT_ERRORS as error:
            self._reason = str(error) or type(error).__name__
            self._backoff_s = min(max(FIRST_BACKOFF_S, 2 * self._backoff_s), LONGEST_BACKOFF_S)
            return
        self._backoff_s = 0.0
        self._reason = ""
        now_ns = self._clock()
        link.idle_since_ns = now_ns
        self.on_free(link, now_ns)

    async def _connect(self) -> HttpLink:
        path = self._path
        self._turn = (self._turn + 1) % len(path.endpoints)
        connecting = connect(
            lambda: HttpLink(self, self._clock, direct=path.tls is None),
            path.endpoints[self._turn],
            path.tls,
            path.tls_server_name,
            path.tunnel,
        )
        link = await asyncio.wait_for(connecting, path.connect_timeout_ns / NS_PER_S)
        self._links.add(link)
        return link

    async def close(self) -> None:
        """See ``interface.SystemUnderTest``."""
        self._is_closed = True
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for link in list(self._links):
            link.forget()
        self._links.clear()
        self._free.clear()
        self._busy.clear()
        self._waiting.clear()

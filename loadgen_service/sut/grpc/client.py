"""The wire adapter: unary and streaming calls over our own HTTP/2, on plain or TLS sockets.

It reads the clock once per read and once per hand-over, keeps calls in order when there is no room,
and connects again when a connection ends. It sends no call twice by itself and owns no decision
about load.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from grpc_wire.client import ClientConnection
from grpc_wire.events import DONE
from grpc_wire.headers import HeaderBlock

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError
from loadgen_service.sut.grpc.connection import Link
from loadgen_service.sut.grpc.stream_reader import StreamReader
from loadgen_service.sut.interface import CODE_BROKEN_CONNECTION, Cell, Event, Parts, Sink
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.connect_tunnel import connect
from loadgen_service.sut.net.proxy_env import Proxy

FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 2.0

RECONNECT_TIMEOUT_NS: Final = 1_000_000_000
"""With every connection down, a call waits so long for one and then fails with code 255."""

TRACEPARENT: Final = b"traceparent"

CONNECT_ERRORS: Final = (OSError, ssl.SSLError, SutError, TimeoutError)


@dataclass(frozen=True, slots=True)
class WirePath:
    """How to reach one SUT: network endpoints in turn, ready headers, TLS if any."""

    address: SutAddress
    endpoints: Sequence[tuple[str, int]]
    headers: HeaderBlock
    connection_count: int
    connect_timeout_ns: int
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""
    streaming: bool = False
    """Calls are ModelStreamInfer's: any number of answers."""
    keep_answers: bool = False
    """Join a stream's answers and report them at its end."""
    proxy: Proxy | None = None
    """Asked for a tunnel to ``address`` where one stands on the way."""
    make_wire: Callable[[], ClientConnection] = ClientConnection
    """The client half of each connection."""


class WireSut:
    """A SUT over ``connection_count`` connections to each of its endpoints.

    A call takes the connection with the fewest open. Where none has room, calls wait in order; with
    no connection at all they wait ``RECONNECT_TIMEOUT_NS`` and fail.
    """

    def __init__(
        self, path: WirePath, sink: Sink, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.address = str(path.address)
        self.blocked_count = 0
        self._path = path
        self._streaming = path.streaming
        self._reader = StreamReader(self.cancel, path.keep_answers) if path.streaming else None
        self._sink = sink
        self._clock = clock
        self._links: list[Link] = []
        self._retiring: set[Link] = set()
        self._dirty: list[Link] = []
        self._turn = 0
        self.waiting: OrderedDict[int, tuple[Parts, Cell, HeaderBlock]] = OrderedDict()
        self._reason = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._down_ns = 0
        """When the last connection went."""

    # ------------------------------------------------------------ for the loop
    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""
        return len(self.waiting)

    @property
    def link_count(self) -> int:
        """Connections that can take calls."""
        return len(self._links)

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``."""
        if self.waiting:
            return self._wait(key, parts, released_ns)
        links = self._links
        link = links[0] if len(links) == 1 else self._emptiest()
        if not (
            link is not None
            and link.is_writable
            and link.wire.call(key, self._path.headers, parts, streaming=self._streaming)
        ):
            link = self._call_somewhere(key, self._path.headers, parts)
            if link is None:
                return self._wait(key, parts, released_ns)
        cell = link.cell
        if cell is None or cell[0] != released_ns:
            cell = link.new_cell(released_ns)
            self._dirty.append(link)
        return cell

    def issue_each(
        self, keys: Sequence[int], messages: Sequence[Parts], released_ns: int
    ) -> tuple[int, Cell | None]:
        """``issue`` for the first of ``keys`` that need no look at each; how many, and their cell.

        Those are small unary calls on a single connection that has room.
        """
        links = self._links
        if self.waiting or len(links) != 1 or self._streaming or not links[0].is_writable:
            return 0, None
        link = links[0]
        count = link.wire.call_each(keys, self._path.headers, messages)
        if not count:
            return 0, None
        cell = link.cell
        if cell is None or cell[0] != released_ns:
            cell = link.new_cell(released_ns)
            self._dirty.append(link)
        return count, cell

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """See ``interface.SystemUnderTest``; flushed at once, with all that came before it."""
        cell = [released_ns, NEVER]
        headers = self._path.headers.with_field(TRACEPARENT, traceparent.encode())
        self.waiting[key] = (parts, cell, headers)
        self._drain_waiting(released_ns)
        self.blocked_count += key in self.waiting
        return cell

    def flush(self) -> None:
        """See ``interface.SystemUnderTest``."""
        for link in self._dirty:
            link.flush()
        self._dirty.clear()

    def cancel(self, key: int) -> None:
        """See ``interface.SystemUnderTest``."""
        if self.waiting.pop(key, None) is not None:
            return
        if self._reader is not None:
            self._reader.forget(key)
        for link in (*self._links, *self._retiring):
            link.cancel(key)

    def sweep(self, now_ns: int) -> None:
        """See ``interface.SystemUnderTest``."""
        if not self.waiting:
            return
        if self._links:
            self._drain_waiting(now_ns)
            return
        text = f"no connection to {self.address}: {self._reason}"
        events: list[Event] = []
        for key, (_, cell, _) in self.waiting.items():
            # One that is sent again was released long before the connection went.
            if now_ns - max(cell[0], self._down_ns) < RECONNECT_TIMEOUT_NS:
                continue
            events.append((DONE, key, CODE_BROKEN_CONNECTION, None, text))
        for event in events:
            del self.waiting[event[1]]
        if events:
            self._sink(now_ns, events)

    # ------------------------------------------------------------ room
    def _emptiest(self) -> Link | None:
        """The connection with the fewest open calls; of equals, the next in turn.

        A closed loop's next calls so leave where answers just came: one write for several calls.
        """
        found = self._rotate()
        if found is None or not found.wire.open_count:
            return found
        fewest = found.wire.open_count
        for link in self._links:
            if link.wire.open_count < fewest:
                found, fewest = link, link.wire.open_count
        return found

    def _rotate(self) -> Link | None:
        links = self._links
        if not links:
            return None
        self._turn = turn = (self._turn + 1) % len(links)
        return links[turn]

    def _call_somewhere(self, key: int, headers: HeaderBlock, parts: Parts) -> Link | None:
        """Open the call on the next connection that takes it."""
        for _ in self._links:
            link = self._rotate()
            if (
                link is not None
                and link.is_writable
                and link.wire.call(key, headers, parts, streaming=self._streaming)
            ):
                return link
        return None

    def _wait(self, key: int, parts: Parts, released_ns: int) -> Cell:
        self.blocked_count += 1
        cell = [released_ns, NEVER]
        self.waiting[key] = (parts, cell, self._path.headers)
        return cell

    def _drain_waiting(self, now_ns: int) -> None:
        """Hand over waiting calls, oldest first, as far as there is room."""
        while self.waiting:
            key, (parts, cell, headers) = next(iter(self.waiting.items()))
            link = self._call_somewhere(key, headers, parts)
            if link is None:
                break
            link.add_cell(cell)
            self._dirty.append(link)
            del self.waiting[key]
        self.flush()

    # ------------------------------------------------------------ what links report
    def on_events(self, now_ns: int, events: Sequence[Event]) -> None:
        """A link received answers, or ended with calls open."""
        if self._reader is not None:
            events = self._reader.read(events)
        self._sink(now_ns, events)

    def on_progress(self, link: Link, now_ns: int) -> None:
        """A link was read or became writable: there may be room, or it may be going away."""
        if self.waiting:
            self._drain_waiting(now_ns)
        if not link.wire.is_draining:
            return
        if link in self._links:
            self._links.remove(link)
            self._retiring.add(link)
            self._replace(link, "the server sent GOAWAY", now_ns)
        if link in self._retiring and link.wire.open_count == 0:
            link.close()

    def on_lost(self, link: Link, now_ns: int, events: Sequence[Event], reason: str) -> None:
        """A link's transport ended; ``events`` settle its calls."""
        self._retiring.discard(link)
        if link in self._dirty:
            self._dirty.remove(link)
        if link in self._links:
            self._links.remove(link)
            self._replace(link, reason, now_ns)
        if events:
            self.on_events(now_ns, events)

    # ------------------------------------------------------------ connecting
    async def open(self) -> None:
        """Connect every connection, or raise ``SutError`` naming the first that failed."""
        path = self._path
        for endpoint in path.endpoints:
            for _ in range(path.connection_count):
                try:
                    self._links.append(await self._connect(endpoint))
                except CONNECT_ERRORS as error:
                    await self.close()
                    raise SutError(connect_failure(self.address, error)) from None

    async def _connect(self, endpoint: tuple[str, int]) -> Link:
        path = self._path
        connecting = connect(
            lambda: Link(self, endpoint, self._clock, path.tls is None, path.make_wire),
            endpoint,
            path.tls,
            path.tls_server_name or path.address.host,
            (path.proxy, path.address) if path.proxy else None,
        )
        timeout_s = path.connect_timeout_ns / NS_PER_S
        link = await asyncio.wait_for(connecting, timeout_s)
        try:
            await asyncio.wait_for(link.ready, timeout_s)
        except CONNECT_ERRORS:
            link.close()
            raise
        return link

    def _replace(self, link: Link, reason: str, now_ns: int) -> None:
        self._reason = reason
        self._down_ns = now_ns
        if self._is_closed:
            return
        task = asyncio.get_running_loop().create_task(self._reconnect(link.endpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconnect(self, endpoint: tuple[str, int]) -> None:
        pause_s = FIRST_BACKOFF_S
        while not self._is_closed:
            try:
                link = await self._connect(endpoint)
            except CONNECT_ERRORS as error:
                self._reason = _reason(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
                continue
            self._links.append(link)
            self._drain_waiting(self._clock())
            return

    async def close(self) -> None:
        """See ``interface.SystemUnderTest``."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in (*self._links, *self._retiring):
            link.close()
        self._links.clear()
        self._retiring.clear()
        self.waiting.clear()


def connect_failure(address: str, error: BaseException) -> str:
    """One line for a SUT that cannot be reached."""
    if isinstance(error, SutError):
        return str(error)
    return f"sut: cannot reach {address}: {_reason(error)}; is it running, and is --sut right?"


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); see --tls-ca"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    return str(error) or type(error).__name__

"""One connection: an asyncio Protocol around the sans-I/O half of ``grpc_wire``.

On a plain socket it writes by itself, so that the issue instant is the send's and not the end of
the loop's turn, where uvloop would have put it; what the kernel does not take goes to
the transport.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from grpc_wire.client import ClientConnection
from grpc_wire.windows import WRITEV_PIECES_MAX, unsent

from loadgen_service.core.records.columns import NEVER
from loadgen_service.errors import SutError
from loadgen_service.sut.interface import Cell, Event

if TYPE_CHECKING:
    from collections.abc import Sized
    from typing import Protocol

    class LinkOwner(Protocol):
        """What a link reports to."""

        address: str

        @property
        def waiting(self) -> Sized:
            """Calls that found no room."""

        def on_events(self, now_ns: int, events: Sequence[Event]) -> None: ...
        def on_progress(self, link: Link, now_ns: int) -> None: ...
        def on_lost(
            self, link: Link, now_ns: int, events: Sequence[Event], reason: str
        ) -> None: ...


class Link(asyncio.Protocol):
    """``ready`` is done once the peer's first bytes came, or fails with the reason.

    ``cell`` takes the issue instant of the calls made since the last flush.
    """

    def __init__(
        self,
        owner: LinkOwner,
        endpoint: tuple[str, int],
        clock: Callable[[], int],
        direct: bool,
        make_wire: Callable[[], ClientConnection] = ClientConnection,
    ) -> None:
        self.endpoint = endpoint
        self.wire = make_wire()
        self.is_writable = False
        self.cell: Cell | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._clock = clock
        self._direct = direct
        self._fd = -1
        self._buffered = False
        self._is_greeted = False
        self._cells: list[Cell] = []
        self._transport: asyncio.Transport | None = None

    # ------------------------------------------------------------ issuing
    def new_cell(self, released_ns: int) -> Cell:
        """The cell of the calls that are handed over next."""
        self.cell = cell = [released_ns, NEVER]
        self._cells.append(cell)
        return cell

    def add_cell(self, cell: Cell) -> None:
        """A call that had to wait brings its own cell."""
        self._cells.append(cell)

    def flush(self) -> None:
        """Hand over what the wire half has ready, and stamp the instant just before."""
        pieces = self.wire.take_output()
        cells = self._cells
        if cells:
            now_ns = self._clock()
            for cell in cells:
                cell[1] = now_ns
            cells.clear()
            self.cell = None
        if pieces:
            self._write(pieces)

    def cancel(self, key: int) -> None:
        """Reset the call's stream, if it is on this link."""
        self.wire.cancel(key)
        self.flush()

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._direct:
            transport.writelines(pieces)
            return
        if self._buffered:
            if transport.get_write_buffer_size():
                transport.writelines(pieces)
                return
            self._buffered = False
        try:
            if len(pieces) == 1:
                sent = os.write(self._fd, pieces[0])
                if sent == len(pieces[0]):
                    return
            else:
                sent = os.writev(self._fd, pieces[:WRITEV_PIECES_MAX])
        except BlockingIOError:
            sent = 0
        except OSError:
            # Reported by connection_lost, after this turn: nobody is called back from in here.
            transport.abort()
            return
        left = unsent(pieces, sent)
        if left:
            self._buffered = True
            transport.writelines(left)

    # ------------------------------------------------------------ asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            text = f"sut: {self._owner.address} speaks TLS but no HTTP/2 (ALPN h2); is it gRPC?"
            self._fail(SutError(text))
            self._transport.abort()
            return
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = plain.fileno()
        self.is_writable = True
        self.wire.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        now_ns = self._clock()
        wire, owner = self.wire, self._owner
        events = wire.receive(data)
        if events:
            owner.on_events(now_ns, events)
        if wire.output or self._cells:
            self.flush()
        if not self._is_greeted:
            self._look_ready()
        if owner.waiting or wire.is_draining:
            owner.on_progress(self, now_ns)
            if wire.closed_reason:
                self.close()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._owner.on_progress(self, self._clock())

    def connection_lost(self, error: Exception | None) -> None:
        now_ns = self._clock()
        self.is_writable = False
        self._fd = -1
        self._transport = None
        reason = self.wire.closed_reason or (str(error) if error else "closed by the server")
        self._fail(SutError(f"sut: {self._owner.address} closed the connection: {reason}"))
        self._owner.on_lost(self, now_ns, self.wire.eof(), reason)

    def close(self) -> None:
        """Close the transport; calls still open are settled by ``connection_lost``."""
        if self._transport is not None:
            self._transport.abort()

    def _look_ready(self) -> None:
        if self.ready.done():
            self._is_greeted = True
        elif self.wire.closed_reason:
            text = f"sut: {self._owner.address} does not speak gRPC ({self.wire.closed_reason})"
            self._fail(SutError(text))
        elif self.wire.is_ready:
            self.ready.set_result(None)

    def _fail(self, error: SutError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # looked at, should nobody be waiting

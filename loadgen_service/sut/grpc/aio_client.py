"""The oracle adapter: the same calls over grpc.aio, with ready bytes in and out.

An order of magnitude slower than the wire adapter; it exists so that the fast path always has a
judge, and for networks where only grpcio's own transport works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_wire.events import DONE

from loadgen_service.core.records.columns import NEVER
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError
from loadgen_service.sut.grpc.stream_reader import StreamReader
from loadgen_service.sut.interface import (
    CODE_CANCELLED,
    CODE_UNAVAILABLE,
    MESSAGE,
    Cell,
    Event,
    Parts,
    Sink,
)
from loadgen_service.sut.kserve.grpc_request import MODEL_INFER_PATH, MODEL_STREAM_INFER_PATH
from loadgen_service.sut.net.proxy_env import Proxy

MESSAGE_BYTES_MAX = 64 << 20
_PREFIX_BYTES = 5

Metadata = tuple[tuple[str, str | bytes], ...]
Method = Callable[[int, bytes, Metadata], Awaitable[bytes | None]]
"""Makes the call of a key with a message; the answer, None for a stream."""


@dataclass(frozen=True, slots=True)
class GzipUse:
    """Whether a channel compresses requests, and whether it takes compressed answers.

    grpcio has one list for both, so a channel that compresses also takes them.
    """

    compresses: bool
    inflates: bool

    @property
    def enabled(self) -> int:
        """Bits of grpcio's algorithms: 0 is none, 2 gzip."""
        return 1 | (self.compresses or self.inflates) << 2


class AioSut:
    """A SUT over grpc.aio channels, one a connection, each with a transport of its own."""

    def __init__(
        self,
        address: str,
        targets: Sequence[str],
        sink: Sink,
        *,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        authority: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        server_name: str = "",
        proxy: Proxy | None = None,
        connect_timeout_ns: int = 5_000_000_000,
        streaming: bool = False,
        keep_answers: bool = False,
        compresses: bool = False,
        inflates: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.address = address
        self.blocked_count = 0
        self._targets = targets
        self._sink = sink
        self._metadata = tuple(metadata)
        self._authority = authority
        self._credentials = credentials
        self._server_name = server_name
        self._proxy = proxy
        self._connect_timeout_s = connect_timeout_ns / NS_PER_S
        self._clock = clock
        self._gzip = GzipUse(compresses, inflates)
        self._channels: list[grpc.aio.Channel] = []
        self._methods: list[Method] = []
        self._reader = StreamReader(self.cancel, keep_answers) if streaming else None
        self._turn = 0
        self._issued: list[tuple[int, Parts, Cell, Metadata]] = []
        self._calls: dict[int, asyncio.Task[None]] = {}

    @property
    def waiting_count(self) -> int:
        """Calls taken over and not handed over yet."""
        return len(self._issued)

    async def open(self) -> None:
        """See ``interface.SystemUnderTest``."""
        for target in self._targets:
            channel = open_channel(
                target,
                self._credentials,
                self._server_name,
                self._proxy,
                self._gzip,
                self._authority,
            )
            self._channels.append(channel)
            self._methods.append(self._method(channel))
        try:
            for channel in self._channels:
                await asyncio.wait_for(channel.channel_ready(), self._connect_timeout_s)
        except TimeoutError:
            await self.close()
            raise SutError(
                f"sut: cannot reach {self.address}: no connection in "
                f"{self._connect_timeout_s:g} s; is it running, and is --sut right?"
            ) from None

    def _method(self, channel: grpc.aio.Channel) -> Method:
        if self._reader is None:
            unary = channel.unary_unary(MODEL_INFER_PATH, None, None)
            return lambda key, message, metadata: unary(message, metadata=metadata)
        # One request on a stream that the client then half-closes: on the wire the same.
        stream = channel.unary_stream(MODEL_STREAM_INFER_PATH, None, None)

        async def call(key: int, message: bytes, metadata: Metadata) -> None:
            async for piece in stream(message, metadata=metadata):
                self._report(key, self._clock(), (MESSAGE, key, piece))

        return call

    def _report(self, key: int, now_ns: int, event: Event) -> None:
        events = [event] if self._reader is None else self._reader.read([event])
        self._sink(now_ns, events)

    def issue(self, key: int, parts: Parts, released_ns: int) -> Cell:
        """See ``interface.SystemUnderTest``."""
        return self._issue(key, parts, released_ns, self._metadata)

    def issue_traced(self, key: int, parts: Parts, released_ns: int, traceparent: str) -> Cell:
        """See ``interface.SystemUnderTest``."""
        return self._issue(key, parts, released_ns, (*self._metadata, ("traceparent", traceparent)))

    def _issue(self, key: int, parts: Parts, released_ns: int, metadata: Metadata) -> Cell:
        cell = [released_ns, NEVER]
        self._issued.append((key, parts, cell, metadata))
        return cell

    def flush(self) -> None:
        """See ``interface.SystemUnderTest``."""
        loop = asyncio.get_running_loop()
        for key, parts, cell, metadata in self._issued:
            self._turn = (self._turn + 1) % len(self._methods)
            method = self._methods[self._turn]
            task = loop.create_task(self._call(key, parts, cell, method, metadata))
            self._calls[key] = task
        self._issued.clear()

    async def _call(
        self, key: int, parts: Parts, cell: Cell, method: Method, metadata: Metadata
    ) -> None:
        request = parts if isinstance(parts, bytes) else b"".join(parts)
        code, text, answer = 0, "", None
        cell[1] = self._clock()
        try:
            answer = await method(key, request[_PREFIX_BYTES:], metadata)
        except grpc.aio.AioRpcError as error:
            code, text = int(error.code().value[0]), error.details() or ""
        except asyncio.CancelledError:
            code, text = CODE_CANCELLED, "cancelled"
        except Exception as error:  # whatever grpcio raises, the row must be settled
            code, text = CODE_UNAVAILABLE, f"{type(error).__name__}: {error}"
        now_ns = self._clock()
        if self._calls.pop(key, None) is not None:
            self._report(key, now_ns, (DONE, key, code, answer, text))

    def cancel(self, key: int) -> None:
        """See ``interface.SystemUnderTest``."""
        task = self._calls.pop(key, None)
        if task is not None:
            task.cancel()

    def sweep(self, now_ns: int) -> None:
        """Nothing waits here: grpc.aio queues inside."""

    async def close(self) -> None:
        """See ``interface.SystemUnderTest``."""
        tasks = list(self._calls.values())
        self._calls.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)
        self._channels.clear()


def open_channel(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    server_name: str = "",
    proxy: Proxy | None = None,
    gzip: GzipUse | None = None,
    authority: str = "",
) -> grpc.aio.Channel:
    """A channel with large messages allowed and a connection that it shares with no other.

    Whether a proxy stands before it is decided in ``proxies``, not by grpcio. ``gzip`` None leaves
    compression to grpcio, which compresses no request and takes any answer that it can read.
    ``authority``: the virtual host of every call; empty: the target.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.http_proxy", proxy.url) if proxy else ("grpc.enable_http_proxy", 0),
    ]
    target = f"dns:///{target}"  # a bare "unix:8001" or "xds:8001" would name another resolver
    if authority:
        options.append(("grpc.default_authority", authority))
    compression = None
    if gzip is not None:
        options.append(("grpc.compression_enabled_algorithms_bitset", gzip.enabled))
        compression = grpc.Compression.Gzip if gzip.compresses else None
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, compression=compression)
    if authority and not server_name:
        # grpcio would compare the certificate with the virtual host
        server_name = target.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(target, credentials, options=options, compression=compression)

"""Puts the parts of one server together, listens, and ends it without losing an answer."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, TypeVar
from wsgiref.simple_server import WSGIServer

from grpc_wire.server import ServerConnection

from sut_server.alarms import Alarms
from sut_server.connection_limits import HANDSHAKE_S, ConnectionWatch
from sut_server.engine_table import MADE_HERE, EngineParts, batch_engine
from sut_server.engines.batch import BatchEngine
from sut_server.engines.engine import Engine
from sut_server.engines.null import NULL, ReadyAnswer
from sut_server.engines.token_source import TokenSource
from sut_server.errors import UsageError, printable
from sut_server.grpc.connection import Connections, KserveConnection
from sut_server.grpc.servicer import INFER_PATH, STREAM_PATH, AllBut, Identity, Servicer
from sut_server.http.compression import Handle, HttpCompression
from sut_server.http.connection import LINGER_S, HttpConnection, HttpShared, error_object
from sut_server.http.kserve import KserveHttpApi, error_text
from sut_server.http.openai import OpenAiApi
from sut_server.memory_budget import MemoryBudget
from sut_server.messages.shared_memory import Regions
from sut_server.metrics import serve_metrics
from sut_server.models.isolated import IsolatedModel, Isolation
from sut_server.models.registry import open_model
from sut_server.models.spec import Model
from sut_server.options import BYTES_PER_MIB, NS_PER_MS, ZEROS, ServeOptions
from sut_server.security import CertificateWatch, bind_address, tls_context
from sut_server.service_log import ServiceLog
from sut_server.token_log import TokenLog
from sut_server.tracing import Tracer

LOADING_TOLD_S: Final = 1.0
"""A model that loads for longer is named meanwhile."""

DRAIN_STEP_S: Final = 0.01
"""How often the end looks whether the last answers are out."""


EngineMaker = Callable[[Callable[[], int]], Engine]
"""Makes an engine of a caller's own, given the clock (monotonic ns)."""


class Server:
    """A running server. Make it with ``start``; end it with ``stop``."""

    def __init__(
        self,
        options: ServeOptions,
        models: dict[str, Model],
        own: Mapping[str, EngineMaker] | None = None,
    ) -> None:
        self._options = options
        self._own = own or {}
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms(self._loop, time.monotonic_ns)
        self._log = ServiceLog(options.service_log) if options.service_log else None
        self._token_log = TokenLog(options.token_log) if options.token_log else None
        self._tracer = (
            Tracer(options.otlp_endpoint, time.monotonic_ns) if options.otlp_endpoint else None
        )
        self._tokens = self._token_source()
        self.engines = {
            engine.spec.name: engine
            for engine in (self._engine(flag, models) for flag in options.models)
        }
        self._budget = MemoryBudget(options.memory_mib * BYTES_PER_MIB)
        self._connection_watch = ConnectionWatch(options.connection_limits)
        self._regions = Regions() if options.shared_memory else None
        self._servicer = Servicer(
            self.engines, self._identity(), self._loop, self._regions, self._budget
        )
        self._connections = self._make_connections()
        self._listener: asyncio.Server | None = None
        self._metrics: WSGIServer | None = None
        self.address = ""
        self.port = 0
        self.metrics_port: int | None = None
        self.openai_address = ""
        self.http_address = ""
        self._http_listeners: list[asyncio.Server] = []
        self._watching: list[asyncio.Task[None]] = []
        self._openai = self._http_shared(OpenAiApi(self._tokens).handle, error_object)
        self._rest = self._http_shared(KserveHttpApi(self._servicer).handle, error_text)
        if self._tracer is not None:
            self._openai.make_call = self._rest.make_call = self._tracer.http_call

    def _http_shared(self, handle: Handle, error_body: Callable[[int, str], bytes]) -> HttpShared:
        compression = HttpCompression(handle, self._options.compression == "gzip", error_body)
        return HttpShared(
            compression.handle,
            time.monotonic_ns,
            error_body=error_body,
            connection_watch=self._connection_watch,
            budget=self._budget,
            linger=partial(self._loop.call_later, LINGER_S),
        )

    def warm_up(self) -> None:
        """Let each model that runs on threads run once; raises UsageError where one cannot."""
        for engine in self.engines.values():
            if isinstance(engine, BatchEngine):
                engine.warm_up(self._options.warm_up or ZEROS)

    async def listen(self) -> None:
        """Open the ports; UsageError if an address is not allowed or not free."""
        options = self._options
        address = bind_address(options)
        context = tls_context(options.tls) if options.tls else None
        if context is not None and options.tls is not None:
            watch = CertificateWatch(context, options.tls, _tell)
            self._watching.append(self._loop.create_task(watch.run()))
        self._watching.append(self._loop.create_task(self._connection_watch.run()))
        make = partial(KserveConnection, self._connections)
        self._listener = await self._listen(make, "--port", address, options.port, context)
        self.port = self._listener.sockets[0].getsockname()[1]
        self.address = _authority(address, self.port)
        if options.openai_port is not None:
            self.openai_address = await self._listen_http(
                self._openai, "--openai-port", address, options.openai_port, context
            )
        if options.http_port is not None:
            self.http_address = await self._listen_http(
                self._rest, "--http-port", address, options.http_port, context
            )
        if options.metrics_port is not None:
            engines = self.engines.values()
            self._metrics = serve_metrics(engines, address, options.metrics_port, options.tls)
            self.metrics_port = self._metrics.server_port

    async def _listen_http(
        self,
        shared: HttpShared,
        flag: str,
        address: str,
        port: int,
        context: ssl.SSLContext | None,
    ) -> str:
        """``HOST:PORT`` of a new listener for HTTP."""
        listener = await self._listen(partial(HttpConnection, shared), flag, address, port, context)
        self._http_listeners.append(listener)
        return _authority(address, listener.sockets[0].getsockname()[1])

    async def _listen(
        self,
        make: Callable[[], asyncio.Protocol | asyncio.BufferedProtocol],
        flag: str,
        address: str,
        port: int,
        context: ssl.SSLContext | None,
    ) -> asyncio.Server:
        try:
            return await self._loop.create_server(
                make,
                address,
                port,
                ssl=context,
                backlog=4096,
                ssl_handshake_timeout=HANDSHAKE_S if context else None,
            )
        except OSError as error:
            text = f"{flag} {port}: cannot listen on {address}: {error.strerror or error}"
            raise UsageError(text) from error

    async def stop(self) -> None:
        """Refuse new calls, answer the open ones within ``drain_ns``, close, write the log."""
        self._servicer.is_ready = False
        if self._listener is not None:
            self._listener.close()
        for listener in self._http_listeners:
            listener.close()
        for connection in list(self._connections.open):
            connection.go_away()
        for http in self._http_connections():
            http.drain()
        deadline_ns = time.monotonic_ns() + self._options.drain_ms * NS_PER_MS
        while self._outstanding_count() and time.monotonic_ns() < deadline_ns:
            await asyncio.sleep(DRAIN_STEP_S)
        for connection in list(self._connections.open):
            connection.close()
        for http in self._http_connections():
            http.close()
        await self._wait_closed()
        self._release()
        if self._tracer is not None:
            await self._loop.run_in_executor(None, self._tracer.close)

    def running(self) -> list[str]:
        """What has not come back from a thread, after ``stop``: models and their hints."""
        engines = [one for one in self.engines.values() if isinstance(one, BatchEngine)]
        models = [f"model '{one.spec.name}'" for one in engines if one.is_running]
        return models + self._servicer.running_hints

    async def _wait_closed(self) -> None:
        """Give the sockets one second to take the last bytes."""
        for _ in range(round(1 / DRAIN_STEP_S)):
            if not self._connections.open:
                break
            await asyncio.sleep(DRAIN_STEP_S)

    def _release(self) -> None:
        for engine in self.engines.values():
            engine.close()
        self._alarms.close()
        if self._regions is not None:
            self._regions.unregister("")
        for endless in self._watching:
            endless.cancel()
        if self._metrics is not None:
            # shutdown() waits for the serving thread, so it must not run on a thread it needs.
            threading.Thread(target=_end_metrics, args=(self._metrics,), daemon=True).start()
        if self._log is not None and self._listener is not None:
            self._log.write()
        if self._token_log is not None and self._listener is not None:
            self._token_log.write()

    def _outstanding_count(self) -> int:
        grpc = sum(connection.open_count for connection in self._connections.open)
        return grpc + sum(connection.is_busy for connection in self._http_connections())

    def _http_connections(self) -> list[HttpConnection]:
        return [*self._openai.open, *self._rest.open]

    def _identity(self) -> Identity:
        options = self._options
        return Identity(
            name=f"sut-server {', '.join(self.engines)}",
            version=_version(),
            max_batch=options.max_batch,
            max_queue_delay_us=options.max_queue_delay_us,
            instance_count=options.instances,
        )

    def _engine(self, flag: str, models: dict[str, Model]) -> Engine:
        if flag in self._own:
            return self._own[flag](time.monotonic_ns)
        log = self._log.add if self._log is not None else None
        parts = EngineParts(self._options, self._alarms, time.monotonic_ns, log, self._tokens)
        if flag in MADE_HERE:
            return MADE_HERE[flag](parts)
        return batch_engine(models[flag], parts)

    def _token_source(self) -> TokenSource:
        synthetic = self._options.synthetic
        return TokenSource(
            self._options.token_times,
            synthetic.seed,
            synthetic.concurrency_limit,
            synthetic.faults,
            self._alarms,
            time.monotonic_ns,
            self._token_log,
        )

    def _make_connections(self) -> Connections:
        shared = Connections(
            handle=self._servicer.handle,
            handle_streamed=self._servicer.handle_streamed,
            streaming_paths=frozenset({STREAM_PATH}),
            clock_ns=time.monotonic_ns,
            connection_watch=self._connection_watch,
            tracer=self._tracer,
            held_bytes_max=self._budget.limit_bytes,
            make_wire=partial(
                ServerConnection,
                takes_gzip=self._options.compression == "gzip",
                max_concurrent_streams=self._options.max_streams,
                streaming_paths=AllBut(self._servicer.unary_paths),
            ),
        )
        # answered without a look at it, a request could not be traced
        if list(self.engines) == [NULL] and self._tracer is None:
            null = self.engines[NULL]
            shared.ready_path, shared.ready_answer = INFER_PATH, ReadyAnswer(null.spec).to
            shared.count_ready = null.figures.receive_answered
        return shared


async def start(options: ServeOptions, own: Mapping[str, EngineMaker] | None = None) -> Server:
    """Load the models and listen; returns a ready server. Raises UsageError.

    ``own``: engines of a program that serves by itself, by the name among ``options.models``.
    """
    bind_address(options)  # refuse before the long part, loading
    wanted = [flag for flag in options.models if flag not in MADE_HERE and flag not in (own or {})]
    models = {flag: await _loaded(flag, options) for flag in wanted}
    names = [model.spec.name for model in models.values()] + [
        flag for flag in options.models if flag not in models
    ]
    if len(set(names)) != len(names):
        raise UsageError(f"--model: two models have the same name: {', '.join(sorted(names))}")
    server = Server(options, models, own)
    try:
        if options.warm_up is not None:
            await _on_a_thread(server.warm_up)
        await server.listen()
    except UsageError:
        await server.stop()
        raise
    return server


async def _loaded(flag: str, options: ServeOptions) -> Model:
    """Load a model on a thread, and say so if it takes a while."""
    loop = asyncio.get_running_loop()
    saying = loop.call_later(LOADING_TOLD_S, _tell, f"loading {flag} ...")
    try:
        return await _on_a_thread(lambda: _opened(flag, options))
    finally:
        saying.cancel()


def _opened(flag: str, options: ServeOptions) -> Model:
    if not options.isolate:
        return open_model(flag, options.threads)
    isolation = Isolation(options.instances, options.isolate_limit_s, options.isolate_memory_mib)
    return IsolatedModel(flag, options.threads, isolation)


Made = TypeVar("Made")


async def _on_a_thread(make: Callable[[], Made]) -> Made:
    """The loop goes on meanwhile: a signal ends the process though the thread never returns."""
    return await asyncio.get_running_loop().run_in_executor(None, make)


def _authority(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _version() -> str:
    try:
        return version("loadgen-service")
    except PackageNotFoundError:
        return "0"


def _tell(line: str) -> None:
    print(f"sut-server: {printable(line)}", file=sys.stderr, flush=True)


def _end_metrics(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()

"""Starts and stops a service: checks the bind, opens the port, and holds the parts together.

``loadgen serve`` and plain ``loadgen run`` both call :func:`serve`; there is one mechanism.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import UserError
from loadgen_service.service.auth.certificates import server_credentials
from loadgen_service.service.auth.policy import (
    MAX_MESSAGE_BYTES,
    TokenGuard,
    require_safe_bind,
)
from loadgen_service.service.auth.token_book import (
    ALL_RIGHTS,
    Token,
    TokenBook,
    digest_of,
    open_tokens,
)
from loadgen_service.service.collect.collector import Received
from loadgen_service.service.coordinator import Coordinator
from loadgen_service.service.run.recovery import recover_all
from loadgen_service.service.run.resumption import find_resumption
from loadgen_service.service.run.worker_sessions import Sessions
from loadgen_service.service.servicer import FleetServicer, LoadGenServicer
from loadgen_service.service.storage.run_directory import RunDirectories

DRAIN_S = 30.0
"""How long a stopping service lets its run drain and write."""

GRACE_S = 1.0
"""How long open calls may take to end once everything is written."""

STREAMS_MAX = 256
"""Open calls of one connection; a worker has two, a user's page a handful."""

METADATA_BYTES_MAX = 16 << 10
HANDSHAKE_MS = 10_000
"""How long a caller may take to say anything that is gRPC over TLS."""

IDLE_MS = 3_600_000
"""A connection without a call is closed after it; a worker's session is a call."""


@dataclass(slots=True)
class Service:
    """A service that listens. ``token``: the embedded service's own; ``worker_token``: the one that
    it gives to its workers, who may not start runs with it. Both are empty for others.
    """

    address: str
    port: int
    token: str
    worker_token: str
    tokens: TokenBook
    coordinator: Coordinator
    sessions: Sessions
    recovered: list[str]
    _server: grpc.aio.Server
    _closed: bool = field(default=False)

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop runs, let them write, close the port. May be called twice."""
        if self._closed:
            return
        self._closed = True
        await self.coordinator.close(drain_s)
        await self._server.stop(GRACE_S)

    def worker_left(self, pid: int, host: str, reason: str) -> None:
        """A worker process that we started ended: what it had not sent is lost now."""
        self.sessions.forget_process(pid, host, reason)

    def worker_doubted(self, pid: int, host: str, doubt: str) -> None:
        """Whoever started a worker cannot reach it; its heartbeats decide whether it is lost."""
        self.sessions.doubt_process(pid, host, doubt)


async def serve(settings: ServeSettings, *, embedded: bool = False) -> Service:
    """Listen and be ready. ``embedded``: inside ``loadgen run``, on loopback, with a random token
    and trust in its only user; recovers nothing and queues little.

    Raises SettingsError for an unsafe bind or bad files, UserError where the port is taken.
    """
    token, worker_token = (secrets.token_urlsafe(24) if embedded else "" for _ in range(2))
    tokens = _own_tokens(token, worker_token) if embedded else open_tokens(settings)
    require_safe_bind(settings, bool(tokens))
    credentials = server_credentials(settings)
    results = Path(settings.results)
    store = RunDirectories(results)
    resumption = None if embedded else await asyncio.to_thread(find_resumption, store)
    spared = resumption.run.directory.path if resumption else None
    recovered = [] if embedded else await asyncio.to_thread(recover_all, store, spared)
    sessions = Sessions()
    coordinator = Coordinator(settings, sessions, store, trusted=embedded)
    if resumption:
        recovered.append(coordinator.resume(resumption))
    server = grpc.aio.server(
        interceptors=[TokenGuard(tokens)] if tokens else [],
        options=_options(),
    )
    _register(server, coordinator, sessions)
    try:
        port = _bind(server, settings, credentials)
        await server.start()
    except UserError:
        await coordinator.close(0)
        raise
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{port}"
    return Service(
        address, port, token, worker_token, tokens, coordinator, sessions, recovered, server
    )


def _own_tokens(token: str, worker_token: str) -> TokenBook:
    return TokenBook(
        (
            Token("all", ALL_RIGHTS, digest_of(token)),
            Token("worker", frozenset({"work"}), digest_of(worker_token)),
        )
    )


def _register(server: grpc.aio.Server, coordinator: Coordinator, sessions: Sessions) -> None:
    users, workers = LoadGenServicer(coordinator), FleetServicer(sessions, coordinator)
    pb_grpc.add_LoadGenServicer_to_server(users, server)  # type: ignore[no-untyped-call]
    pb_grpc.add_FleetServicer_to_server(workers, server)  # type: ignore[no-untyped-call]
    # In the place of the generated one, which gives the message without the bytes it came in.
    records = grpc.stream_stream_rpc_method_handler(
        workers.Records,
        request_deserializer=Received.from_bytes,
        response_serializer=pb.BatchAck.SerializeToString,
    )
    server.add_registered_method_handlers(  # type: ignore[attr-defined]  # stubs lack it
        "loadgen.v1.Fleet", {"Records": records}
    )


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Two services on one port would share its connections in silence.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", STREAMS_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
    ]


def _bind(
    server: grpc.aio.Server, settings: ServeSettings, credentials: grpc.ServerCredentials | None
) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    target = f"{host}:{settings.port}"
    try:
        if credentials is None:
            port = server.add_insecure_port(target)
        else:
            port = server.add_secure_port(target, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise UserError(f"cannot listen on {target}: is the port taken? name another with --port")
    return port

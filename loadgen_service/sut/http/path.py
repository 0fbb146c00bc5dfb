"""The way to one SUT over HTTP/1.1, whatever is asked of it there."""

from __future__ import annotations

from collections.abc import Callable

from grpc_wire.compression import GZIP

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.sut.http.compression import inflating
from loadgen_service.sut.http.connection import Answer
from loadgen_service.sut.http.pool import HttpPath
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import tls_context
from loadgen_service.sut.net.proxy_env import Proxy, endpoints_of


def accepted(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The header that asks for compressed answers, if --accept-compression names them."""
    return (("Accept-Encoding", GZIP),) if settings.accept_compression == GZIP else ()


async def http_path(
    settings: Settings,
    address: SutAddress,
    proxy: Proxy | None,
    head: bytes,
    answer: Callable[[], Answer],
) -> HttpPath:
    """What an ``HttpSut`` needs. ``head``: every request's first lines. Raises ``SutError``."""
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    return HttpPath(
        address=f"{address} by {proxy}" if proxy else str(address),
        endpoints=await endpoints_of(address, proxy, settings.resolve, timeout_ns),
        tunnel=(proxy, address) if proxy and address.tls else None,
        head=head,
        answer=inflating(answer) if settings.accept_compression == GZIP else answer,
        connection_count=settings.connections,
        connection_limit=settings.max_connections,
        connect_timeout_ns=timeout_ns,
        tls=tls_context(settings, "http/1.1") if address.tls else None,
        tls_server_name=settings.tls_server_name or address.host,
    )

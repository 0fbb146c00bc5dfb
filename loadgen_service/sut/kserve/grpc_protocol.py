"""KServe v2 over gRPC: our own wire path, or grpc.aio as its oracle."""

from __future__ import annotations

from functools import partial
from typing import Final

from grpc_wire.client import ClientConnection
from grpc_wire.compression import ACCEPTED, GZIP, compressed_message
from grpc_wire.errors import HeaderError
from grpc_wire.headers import request_headers

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.errors import UserError
from loadgen_service.sut.descriptor import Build, ProtocolDescriptor, RequestSource
from loadgen_service.sut.grpc.aio_client import AioSut
from loadgen_service.sut.grpc.client import WirePath, WireSut
from loadgen_service.sut.grpc.control import GrpcControl
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import (
    MODEL_INFER_PATH,
    MODEL_STREAM_INFER_PATH,
    RequestBuilder,
)
from loadgen_service.sut.kserve.sequence_params import marked_grpc
from loadgen_service.sut.net.addresses import SutAddress, resolve
from loadgen_service.sut.net.credentials import (
    channel_credentials,
    read_authority,
    read_headers,
    tls_context,
)
from loadgen_service.sut.net.proxy_env import endpoints_of, proxy_of


async def make(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The adapter that ``--adapter`` names, not connected yet. Raises ``UserError``."""
    adapter = make_aio if settings.adapter == "grpc_aio" else make_wire
    return await adapter(settings, address, sink, streaming)


async def make_wire(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The wire adapter of one SUT, not connected yet."""
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    try:
        headers = request_headers(
            path=MODEL_STREAM_INFER_PATH if streaming else MODEL_INFER_PATH,
            authority=read_authority(settings.header) or address.authority,
            scheme="https" if address.tls else "http",
            metadata=read_headers(settings.header),
            encoding=GZIP if settings.request_compression == GZIP else "",
            accept_encoding=ACCEPTED if settings.accept_compression == GZIP else "",
        )
    except HeaderError as error:
        raise UserError(f"header: {error}") from None
    proxy = proxy_of(address)
    endpoints = await endpoints_of(address, proxy, settings.resolve, timeout_ns)
    path = WirePath(
        address=address,
        endpoints=endpoints,
        headers=headers,
        connection_count=settings.connections,
        connect_timeout_ns=timeout_ns,
        tls=tls_context(settings) if address.tls else None,
        tls_server_name=settings.tls_server_name,
        streaming=streaming,
        keep_answers=settings.keeps_responses,
        proxy=proxy,
        make_wire=partial(ClientConnection, reads_gzip=settings.accept_compression == GZIP),
    )
    return WireSut(path, sink)


async def make_aio(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The grpc.aio adapter of one SUT, not connected yet."""
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    proxy = proxy_of(address)
    by_number = settings.resolve == "all" and proxy is None
    if by_number:
        found = await resolve(address, "all", timeout_ns)
        targets = [SutAddress(host, port, address.tls).authority for host, port in found]
    else:
        targets = [address.authority]
    # By number, the certificate must still match the name that the user wrote.
    name = settings.tls_server_name or (address.host if by_number else "")
    return AioSut(
        str(address),
        [target for target in targets for _ in range(settings.connections)],
        sink,
        metadata=read_headers(settings.header),
        authority=read_authority(settings.header),
        credentials=channel_credentials(settings) if address.tls else None,
        server_name=name,
        proxy=proxy,
        connect_timeout_ns=timeout_ns,
        streaming=streaming,
        keep_answers=settings.keeps_responses,
        compresses=settings.request_compression == GZIP,
        inflates=settings.accept_compression == GZIP,
    )


def build(source: RequestSource) -> Build:
    """Requests as gRPC messages."""
    settings = source.settings
    return RequestBuilder(
        settings.model,
        settings.model_version,
        source.tensors,
        source.batched,
        source.tensors_of,
        source.shapes_of,
    ).build


KSERVE_GRPC: Final = ProtocolDescriptor(
    make=make, build=build, control=GrpcControl, compress=compressed_message, mark=marked_grpc
)

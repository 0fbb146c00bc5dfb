"""From settings to adapters: which one, over which addresses, with which headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from grpc_wire.client import ClientConnection
from grpc_wire.compression import ACCEPTED, GZIP
from grpc_wire.errors import HeaderError
from grpc_wire.gzip import GzipClientConnection
from grpc_wire.headers import request_headers

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.grpc.aio_client import AioSut
from loadgen_service.sut.grpc.client import WirePath, WireSut
from loadgen_service.sut.http.compression import inflating
from loadgen_service.sut.http.connection import Answer
from loadgen_service.sut.http.pool import HttpPath, HttpSut
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import MODEL_INFER_PATH, MODEL_STREAM_INFER_PATH
from loadgen_service.sut.kserve.http_request import BINARY, HttpInferAnswer, infer_head, model_path
from loadgen_service.sut.kserve.json_request import JSON
from loadgen_service.sut.net.addresses import SutAddress, parse_addresses, resolve
from loadgen_service.sut.net.credentials import (
    channel_credentials,
    read_api_key,
    read_headers,
    read_text_headers,
    tls_context,
)
from loadgen_service.sut.net.proxy_env import Proxy, forwarding, proxy_of
from loadgen_service.sut.openai.request import PATHS, request_head
from loadgen_service.sut.openai.response import CountTokens, OpenAiAnswer

NS_PER_MS: Final = 1_000_000


class Dispatch:
    """A sink that is given its target later: adapters outlive a series, loops do not."""

    def __init__(self) -> None:
        self.target: Sink = _ignore

    def __call__(self, now_ns: int, events: object) -> None:
        self.target(now_ns, events)  # type: ignore[arg-type]


def _ignore(now_ns: int, events: object) -> None:
    """Between series nothing is outstanding, and answers to cancelled calls are dropped."""


def reads_side_by_side(settings: Settings) -> bool:
    """Whether answers may come on several connections in one turn of the event loop."""
    several = settings.connections > 1 or len(settings.sut) > 1 or settings.resolve == "all"
    return several or settings.protocol != "grpc"


async def open_suts(
    settings: Settings, sink: Sink, *, streaming: bool = False
) -> list[SystemUnderTest]:
    """Connected adapters, one a SUT, in the order of the settings. Raises ``UserError``.

    ``streaming``: answers may come in many pieces.
    """
    suts: list[SystemUnderTest] = []
    make = make_aio if settings.adapter == "grpc_aio" else make_wire
    if settings.protocol != "grpc":
        if settings.adapter == "grpc_aio":
            raise UserError(f"adapter: grpc_aio speaks gRPC, not {settings.protocol}; leave it out")
        make = make_openai if settings.protocol == "openai" else make_http
    try:
        for address in parse_addresses(settings.sut):
            sut = await make(settings, address, sink, streaming)
            await sut.open()
            suts.append(sut)
    except BaseException:
        for sut in suts:
            await sut.close()
        raise
    return suts


async def make_wire(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The wire adapter of one SUT, not connected yet."""
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    try:
        headers = request_headers(
            path=MODEL_STREAM_INFER_PATH if streaming else MODEL_INFER_PATH,
            authority=address.authority,
            scheme="https" if address.tls else "http",
            metadata=read_headers(settings.header),
            encoding=GZIP if settings.request_compression == GZIP else "",
            accept_encoding=ACCEPTED if settings.accept_compression == GZIP else "",
        )
    except HeaderError as error:
        raise UserError(f"header: {error}") from None
    proxy = proxy_of(address)
    endpoints = await _endpoints(settings, address, proxy)
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
        make_wire=(
            GzipClientConnection if settings.accept_compression == GZIP else ClientConnection
        ),
    )
    return WireSut(path, sink)


async def _endpoints(
    settings: Settings, address: SutAddress, proxy: Proxy | None
) -> list[tuple[str, int]]:
    """Where to connect: the SUT, or its proxy, which alone looks the SUT's name up."""
    if proxy is not None:
        return [(proxy.host, proxy.port)]
    return await resolve(address, settings.resolve, settings.connect_timeout_ms * NS_PER_MS)


async def make_http(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The adapter of one KServe v2 server over HTTP, not connected yet. Raises ``UserError``."""
    if streaming:
        raise UserError(
            f"sut: {address} is asked for answers in pieces, which KServe v2 has over gRPC only; "
            "use grpc://, or --streaming off for a model that answers once"
        )
    proxy = proxy_of(address)
    origin, extra = forwarding(address, proxy)
    path = origin + address.path + model_path(settings.model, settings.model_version)
    headers = (*read_text_headers(settings.header), *extra, *_accepted(settings))
    keep = settings.keeps_responses
    content_type = JSON if settings.http_tensors == "json" else BINARY
    head = infer_head(path, address.authority, headers, content_type)
    return HttpSut(
        await _http_path(settings, address, proxy, head, lambda: HttpInferAnswer(keep)), sink
    )


async def make_openai(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The adapter of one OpenAI-style SUT, not connected yet."""
    proxy = proxy_of(address)
    origin, extra = forwarding(address, proxy)
    headers = (
        *read_text_headers(settings.header),
        *read_api_key(settings.api_key),
        *extra,
        *_accepted(settings),
    )
    count = token_counter(settings.tokenizer)
    keep = settings.keeps_responses
    head = request_head(
        origin + address.path + PATHS[settings.openai_api],
        address.authority,
        headers,
        "text/event-stream" if streaming else "application/json",
    )
    path = await _http_path(settings, address, proxy, head, lambda: OpenAiAnswer(keep, count))
    return HttpSut(path, sink)


def _accepted(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The header that asks for compressed answers, where they are wanted."""
    return (("Accept-Encoding", GZIP),) if settings.accept_compression == GZIP else ()


async def _http_path(
    settings: Settings,
    address: SutAddress,
    proxy: Proxy | None,
    head: bytes,
    answer: Callable[[], Answer],
) -> HttpPath:
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    return HttpPath(
        address=f"{address} by {proxy}" if proxy else str(address),
        endpoints=await _endpoints(settings, address, proxy),
        tunnel=(proxy, address) if proxy and address.tls else None,
        head=head,
        answer=inflating(answer) if settings.accept_compression == GZIP else answer,
        connection_count=settings.connections,
        connection_limit=settings.max_connections,
        connect_timeout_ns=timeout_ns,
        tls=tls_context(settings, "http/1.1") if address.tls else None,
        tls_server_name=settings.tls_server_name or address.host,
    )


def token_counter(path: str) -> CountTokens | None:
    """A counter by ``tokenizer.json``; None where none is named. Raises ``UserError``."""
    if not path:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(
            "tokenizer: needs the package tokenizers; pip install 'loadgen-service[tokens]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the package raises bare Exceptions
        raise UserError(f"tokenizer: {path} is no tokenizer.json ({error})") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


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
        credentials=channel_credentials(settings) if address.tls else None,
        server_name=name,
        proxy=proxy,
        connect_timeout_ns=timeout_ns,
        streaming=streaming,
        keep_answers=settings.keeps_responses,
        compresses=settings.request_compression == GZIP,
        inflates=settings.accept_compression == GZIP,
    )

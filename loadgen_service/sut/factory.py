"""From settings to adapters: the descriptor of every protocol, and the SUTs of a run, connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.descriptor import ProtocolDescriptor
from loadgen_service.sut.http.compression import RequestCompressor
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.kserve.grpc_protocol import KSERVE_GRPC
from loadgen_service.sut.kserve.http_protocol import KSERVE_HTTP
from loadgen_service.sut.net.addresses import parse_addresses
from loadgen_service.sut.openai.protocol import OPENAI

DESCRIPTORS: Final[Mapping[str, ProtocolDescriptor]] = {
    "grpc": KSERVE_GRPC,
    "http": KSERVE_HTTP,
    "openai": OPENAI,
}
"""Name of a row of ``core.protocols`` -> how it is spoken."""


def descriptor_of(settings: Settings) -> ProtocolDescriptor:
    """How the SUTs of a run are spoken to."""
    return DESCRIPTORS[settings.protocol.name]


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
    return several or not settings.protocol.multiplexed


async def open_suts(
    settings: Settings, sink: Sink, *, streaming: bool = False
) -> list[SystemUnderTest]:
    """Connected adapters, one a SUT, in the order of the settings. Raises ``UserError``.

    ``streaming``: answers may come in many pieces.
    """
    suts: list[SystemUnderTest] = []
    protocol = settings.protocol
    if settings.adapter == "grpc_aio" and not protocol.grpc_aio:
        raise UserError(f"adapter: grpc_aio speaks gRPC, not {protocol.name}; leave it out")
    make = descriptor_of(settings).make
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


def request_compressor(settings: Settings) -> RequestCompressor | None:
    """What compresses the requests of a run; None where nothing does, or grpcio itself."""
    if settings.request_compression == "none" or settings.adapter == "grpc_aio":
        return None
    return RequestCompressor(descriptor_of(settings).compress)

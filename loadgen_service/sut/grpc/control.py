"""Control calls at SUTs, over grpc.aio: what they are, load, unload, flush, clocks, statistics.

Untimed and few, so obviousness comes before speed. What a SUT does not offer beside KServe v2 is
reported as lacking and never an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import sut_pb2, sut_pb2_grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import SutError
from loadgen_service.sut.control import NO_STATISTICS, Answers, ClockExchange
from loadgen_service.sut.grpc.aio_client import open_channel
from loadgen_service.sut.net.addresses import SutAddress, parse_addresses, resolve
from loadgen_service.sut.net.connect_tunnel import open_tunnel
from loadgen_service.sut.net.credentials import (
    channel_credentials,
    read_authority,
    read_headers,
    tls_context,
)
from loadgen_service.sut.net.diagnosis import trouble_at
from loadgen_service.sut.net.proxy_env import Proxy, proxy_of

CLOCK_EXCHANGE_COUNT: Final = 16
CLOCK_TIMEOUT_S: Final = 2.0
"""An exchange that takes longer would tell nothing, and its SUT is probably gone."""

_ABSENT: Final = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)
_UNTOLD: Final = (
    *_ABSENT,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)
"""What servers answer to questions that a run can do without."""
_NO_SUCH_MODEL: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
_Reply = TypeVar("_Reply", bound=Message)


class GrpcControl:
    """Channels to every SUT of a run for control calls. Used as an async context."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self._settings = settings
        self._timeout_s = timeout_ns / NS_PER_S
        self._addresses = parse_addresses(settings.sut)
        self._metadata = read_headers(settings.header)
        self._credentials = (
            channel_credentials(settings) if any(a.tls for a in self._addresses) else None
        )
        self._proxies = [proxy_of(address) for address in self._addresses]
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> GrpcControl:
        for address, proxy in zip(self._addresses, self._proxies, strict=True):
            credentials = self._credentials if address.tls else None
            name = self._settings.tls_server_name if address.tls else ""
            authority = read_authority(self._settings.header)
            self._channels.append(
                open_channel(address.authority, credentials, name, proxy, authority=authority)
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        for channel in self._channels:
            await channel.close(None)

    # ------------------------------------------------------------ the calls
    async def describe(self) -> Answers:
        """Live, ready, metadata, batch size and name of every SUT. Raises ``SutError``."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            answers.suts.append(await self._describe(index, address, answers))
        return answers

    async def load(self, samples: Sequence[int], *, unload: bool = False) -> Answers:
        """Tell every SUT which samples are about to be used, or no longer."""
        request = sut_pb2.SamplesRequest(model=self._settings.model, sample_index=samples)
        name = "UnloadSamples" if unload else "LoadSamples"
        return await self._each(name, lambda stub: getattr(stub, name)(request, **self._options()))

    async def flush(self) -> Answers:
        """Return once every SUT has answered what it received before."""
        request = sut_pb2.FlushRequest(model=self._settings.model)
        return await self._each("Flush", lambda stub: stub.Flush(request, **self._options()))

    async def clocks(self, count: int = CLOCK_EXCHANGE_COUNT) -> Answers:
        """Exchanges with the clock of every SUT that has one."""
        answers = Answers()
        found = await asyncio.gather(
            *(self._clock(index, count, answers) for index in range(len(self._channels)))
        )
        answers.clocks = {index: exchanges for index, exchanges in enumerate(found) if exchanges}
        return answers

    async def _clock(self, index: int, count: int, answers: Answers) -> list[ClockExchange]:
        """Exchanges with one SUT, one after another; a SUT that is gone hides no other's clock."""
        stub, options = self._stubs()[index], self._options()
        options["timeout"] = min(self._timeout_s, CLOCK_TIMEOUT_S)
        exchanges: list[ClockExchange] = []
        for _ in range(count):
            sent_ns = time.monotonic_ns()
            request = sut_pb2.ClockRequest(sent_ns=sent_ns)
            try:
                reply = await self._optional(
                    "Clock", index, stub.Clock(request, **options), answers
                )
            except SutError:
                break
            if reply is None:
                break
            exchanges.append(
                ClockExchange(sent_ns, reply.received_ns, reply.replied_ns, time.monotonic_ns())
            )
        return exchanges

    async def statistics(self) -> Answers:
        """KServe's model statistics of every SUT, serialised; or why it has none."""
        answers = Answers()
        found = await asyncio.gather(*(self._statistics(i) for i in range(len(self._channels))))
        answers.statistics.extend(found)
        return answers

    async def _statistics(self, index: int) -> pb.SutStatistics:
        """Of the model and, where it is an ensemble, of its parts."""
        answers = Answers()
        try:
            reply = await self._model_statistics(
                index, self._settings.model, self._settings.model_version, answers
            )
            if reply is None:
                return pb.SutStatistics(sut_index=index, missing=NO_STATISTICS)
            stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channels[index])
            config = await self._config(index, stub, answers)
            for name in ensemble_parts(config) if config else ():
                part = await self._model_statistics(index, name, "", answers)
                reply.model_stats.extend(part.model_stats if part is not None else ())
        except SutError as error:
            return pb.SutStatistics(sut_index=index, missing=str(error))
        return pb.SutStatistics(sut_index=index, kserve_statistics=reply.SerializeToString())

    async def _model_statistics(
        self, index: int, name: str, version: str, answers: Answers
    ) -> service_pb2.ModelStatisticsResponse | None:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channels[index])
        request = service_pb2.ModelStatisticsRequest(name=name, version=version)
        call = stub.ModelStatistics(request, **self._options())
        return await self._optional("ModelStatistics", index, call, answers)

    # ------------------------------------------------------------ describing one
    async def _describe(
        self, index: int, address: SutAddress, answers: Answers
    ) -> pb.SutDescription:
        settings = self._settings
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channels[index])
        await self._connect(index, address)
        if not await self._is_ready(stub, address):
            raise SutError(
                f"sut: {address} is up, but its model {settings.model!r} is not ready; "
                "check --model or wait until it is loaded"
            )
        metadata = await self._metadata_of_model(address, stub, answers)
        name, has_sut_proto = await self._name(index, stub, answers)
        config = await self._config(index, stub, answers)
        optional = {one.name for one in config.input if one.optional} if config else set()
        return pb.SutDescription(
            sut_index=index,
            address=str(address),
            name=name,
            platform=metadata.platform,
            inputs=[_tensor(tensor, tensor.name in optional) for tensor in metadata.inputs],
            outputs=[_tensor(tensor) for tensor in metadata.outputs],
            max_batch_size=int(config.max_batch_size) if config else 0,
            has_config=config is not None,
            decoupled=config.model_transaction_policy.decoupled if config else False,
            has_sut_proto=has_sut_proto,
            model_versions=metadata.versions,
            addresses=await self._resolved(index, address),
        )

    async def _connect(self, index: int, address: SutAddress) -> None:
        timeout_s = min(self._timeout_s, self._settings.connect_timeout_ms / 1e3)
        proxy = self._proxies[index]
        try:
            if proxy is not None:  # grpcio would keep a proxy's refusal to itself
                (await asyncio.wait_for(open_tunnel(proxy, address), timeout_s)).close()
            await asyncio.wait_for(self._channels[index].channel_ready(), timeout_s)
        except TimeoutError:
            raise await self._unreachable(address, proxy, timeout_s) from None

    async def _unreachable(
        self, address: SutAddress, proxy: Proxy | None, timeout_s: float
    ) -> SutError:
        """One line for a SUT that no channel reached, with what its port says."""
        if proxy is None:
            settings = self._settings
            trouble = await asyncio.to_thread(
                trouble_at,
                address,
                lambda: tls_context(settings),
                settings.tls_server_name,
                timeout_s,
            )
            if trouble:
                return SutError(f"sut: cannot reach {address}: {trouble}")
        return SutError(
            f"sut: cannot reach {address}{f' by {proxy}' if proxy else ''} within {timeout_s:g} s; "
            "is it running, is --sut right, and is it grpc:// or grpcs://?"
        )

    async def _metadata_of_model(
        self,
        address: SutAddress,
        stub: service_pb2_grpc.GRPCInferenceServiceStub,
        answers: Answers,
    ) -> service_pb2.ModelMetadataResponse:
        """The model's tensors; none where the SUT has no such call and --shape says them."""
        settings = self._settings
        request = service_pb2.ModelMetadataRequest(
            name=settings.model, version=settings.model_version
        )
        try:
            reply = await stub.ModelMetadata(request, **self._options())
            assert isinstance(reply, service_pb2.ModelMetadataResponse)
            return reply
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNIMPLEMENTED or not settings.shape:
                raise self._failure(address, error) from None
        answers.lacking.append(f"ModelMetadata at {address} (--shape holds)")
        return service_pb2.ModelMetadataResponse(name=settings.model)

    async def _is_ready(
        self, stub: service_pb2_grpc.GRPCInferenceServiceStub, address: SutAddress
    ) -> bool:
        settings = self._settings
        if not settings.model:
            raise SutError(f"model: name the model to measure at {address} with --model")
        request = service_pb2.ModelReadyRequest(name=settings.model, version=settings.model_version)
        try:
            reply = await stub.ModelReady(request, **self._options())
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return True  # not every server has it; metadata will tell
            raise self._failure(address, error) from None
        return bool(reply.ready)

    async def _name(
        self, index: int, stub: service_pb2_grpc.GRPCInferenceServiceStub, answers: Answers
    ) -> tuple[str, bool]:
        """The SUT's own name where it has ``sut.proto``, else server name and version."""
        own = self._stubs()[index]
        named = await self._optional(
            "Name", index, own.Name(sut_pb2.NameRequest(), **self._options()), answers
        )
        if named is not None:
            return named.name, True
        call = stub.ServerMetadata(service_pb2.ServerMetadataRequest(), **self._options())
        server = await self._optional("ServerMetadata", index, call, answers, _UNTOLD)
        return (f"{server.name} {server.version}".strip() if server is not None else ""), False

    async def _config(
        self, index: int, stub: service_pb2_grpc.GRPCInferenceServiceStub, answers: Answers
    ) -> model_config_pb2.ModelConfig | None:
        """The model's configuration; None where the SUT tells none."""
        request = service_pb2.ModelConfigRequest(
            name=self._settings.model, version=self._settings.model_version
        )
        call = stub.ModelConfig(request, **self._options())
        reply = await self._optional("ModelConfig", index, call, answers, _UNTOLD)
        return reply.config if reply is not None else None

    async def _resolved(self, index: int, address: SutAddress) -> list[str]:
        if self._proxies[index] is not None:
            return []  # the name is the proxy's to look up; ours may not know it
        found = await resolve(address, self._settings.resolve, int(self._timeout_s * NS_PER_S))
        return [SutAddress(host, port, address.tls).authority for host, port in found]

    # ------------------------------------------------------------ calling
    def _options(self) -> dict[str, object]:
        return {"timeout": self._timeout_s, "metadata": self._metadata}

    def _stubs(self) -> list[sut_pb2_grpc.SystemUnderTestStub]:
        make = sut_pb2_grpc.SystemUnderTestStub
        return [make(channel) for channel in self._channels]  # type: ignore[no-untyped-call]

    async def _each(
        self, name: str, call: Callable[[sut_pb2_grpc.SystemUnderTestStub], Awaitable[Message]]
    ) -> Answers:
        answers = Answers()
        calls = [
            self._optional(name, index, call(stub), answers)
            for index, stub in enumerate(self._stubs())
        ]
        await asyncio.gather(*calls)
        return answers

    async def _required(self, address: SutAddress, call: Awaitable[_Reply]) -> _Reply:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._failure(address, error) from None

    async def _optional(
        self,
        name: str,
        index: int,
        call: Awaitable[_Reply],
        answers: Answers,
        absent: Collection[grpc.StatusCode] = _ABSENT,
    ) -> _Reply | None:
        """The reply, or None where the SUT has no such call; ``absent``: codes that say so."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            if error.code() not in absent:
                raise self._failure(self._addresses[index], error) from None
        answers.lacking.append(f"{name} at {self._addresses[index]}")
        return None

    def _failure(self, address: SutAddress, error: grpc.aio.AioRpcError) -> SutError:
        """One line for a control call that failed."""
        code, details = error.code(), " ".join((error.details() or "").split())
        model = repr(self._settings.model)
        if self._settings.model_version:
            model += f" version {self._settings.model_version}"
        said = f"{code.name}: {details}" if details else code.name
        if code == grpc.StatusCode.UNAUTHENTICATED or code == grpc.StatusCode.PERMISSION_DENIED:
            return SutError(f"sut: {address} refuses us ({said}); check --header")
        if code in _NO_SUCH_MODEL or says_unknown(self._settings.model, details):
            return SutError(f"model: {address} does not serve {model} ({said}); check --model")
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return SutError(
                f"sut: {address} speaks gRPC but not KServe v2 ({said}); is the port right? If it "
                "infers without metadata, say its inputs with --shape NAME:DATATYPE:DIM,DIM"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return SutError(f"sut: {address} did not answer within {self._timeout_s:g} s")
        return SutError(f"sut: {address} failed ({said})")


def ensemble_parts(config: model_config_pb2.ModelConfig) -> list[str]:
    """Names of the models that an ensemble is made of, each once; none for other models."""
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def says_unknown(model: str, complaint: str) -> bool:
    """Whether a server's words say that it has no such model, though code or status do not.

    MLServer calls it UNKNOWN over gRPC.
    """
    said = complaint.lower()
    absent = "not found" in said or "does not exist" in said
    return "unknown model" in said or (absent and f" {model.lower()} " in said)


def _tensor(
    tensor: service_pb2.ModelMetadataResponse.TensorMetadata, optional: bool = False
) -> pb.TensorMetadata:
    return pb.TensorMetadata(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, optional=optional
    )

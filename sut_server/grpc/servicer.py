"""The gRPC methods: KServe v2 and sut.proto. Each is decode, call the engine, encode.

Knows no socket and no HTTP/2: takes a path and a message, answers through the call.
"""

from __future__ import annotations

import sys
import time
import traceback
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc_wire.windows import Piece
from loadgen_proto import sut_pb2
from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.engines.engine import Engine
from sut_server.errors import CallError, Code, described, no_method
from sut_server.grpc import metadata
from sut_server.grpc.request_cache import RequestCache
from sut_server.grpc.shared_memory_calls import shared_memory_methods
from sut_server.memory_budget import MemoryBudget
from sut_server.messages.infer import InferRequest, decode_request, wants_final
from sut_server.messages.request_split import ModelInferRequest
from sut_server.messages.shared_memory import Regions

KSERVE: Final = "/inference.GRPCInferenceService/"
SUT: Final = "/loadgen.sut.v1.SystemUnderTest/"
INFER_PATH: Final = KSERVE.encode() + b"ModelInfer"
STREAM_PATH: Final = KSERVE.encode() + b"ModelStreamInfer"


CONTROL_BYTES_MAX: Final = 1 << 16
"""Of a request that carries no tensors: names and flags."""

_BYTES_MAX: Final[dict[type, int]] = {
    ModelInferRequest: 1 << 31,  # the wire's limit holds, and that of each part
    sut_pb2.SamplesRequest: 16 << 20,
}


@dataclass(frozen=True, slots=True)
class AllBut:
    """Every method but these: a call of an unknown one is told when it opens, not when it ends.

    A client of a streaming method (server reflection) may wait for an answer before it ends its
    side.
    """

    unary: frozenset[bytes]

    def __contains__(self, path: object) -> bool:
        return path not in self.unary


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server says about itself; ``max_batch`` and the rest go into model configs."""

    name: str
    version: str
    max_batch: int
    max_queue_delay_us: int
    instance_count: int


class Servicer:
    """Answers calls for some engines by model name."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        identity: Identity,
        loop: AbstractEventLoop,
        regions: Regions | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        """``regions``: the shared memory that callers may name; None refuses all.

        ``budget``: bytes of requests from receipt to answer.
        """
        self._budget = MemoryBudget() if budget is None else budget
        self._regions = regions
        self._engines = engines
        self._identity = identity
        self._known = RequestCache()
        self._loop = loop
        self.is_ready = True
        self.running_hints: list[str] = []
        """Methods of models' own that are told of samples on a thread now."""
        self._methods: dict[bytes, tuple[type, Callable[[Call, Any], Any]]] = {
            path.encode(): method for path, method in self._table().items()
        }

    @property
    def unary_paths(self) -> frozenset[bytes]:
        """Methods with one request and one answer."""
        return frozenset(self._methods)

    def handle(self, call: Call, path: bytes, message: Piece) -> None:
        """Answer one call, now or later; whatever goes wrong becomes its status."""
        method = self._methods.get(path)
        if method is None:
            call.refuse(Code.UNIMPLEMENTED, no_method(path))
            return
        self._serve(call, message, *method)

    def handle_streamed(self, call: Call, message: Piece) -> None:
        """Answer one request of a ModelStreamInfer call."""
        self._serve(call, message, ModelInferRequest, self._infer)

    def _serve(
        self, call: Call, message: Piece, request_type: type, serve: Callable[[Call, Any], Any]
    ) -> None:
        size, limit = len(message), _BYTES_MAX.get(request_type, CONTROL_BYTES_MAX)
        if size > limit:
            text = f"a {request_type.__name__} has at most {limit} bytes, this one {size}"
            call.refuse(Code.INVALID_ARGUMENT, text)
            return
        if not call.hold(self._budget, size):
            call.refuse(Code.RESOURCE_EXHAUSTED, self._budget.refusal)
            return
        try:
            request = request_type.FromString(message)  # type: ignore[attr-defined]  # protobuf
            answer = serve(call, request)
        except CallError as error:
            call.refuse(error.code, error.text)
        except DecodeError:
            text = f"the message is not a {request_type.__name__}"
            call.refuse(Code.INVALID_ARGUMENT, text)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            call.refuse(Code.INTERNAL, described(error))
        else:
            if answer is not None:
                call.answer([answer.SerializeToString()])

    def _table(self) -> dict[str, tuple[type, Callable[[Call, Any], Any]]]:
        return {
            KSERVE + "ModelInfer": (ModelInferRequest, self._infer),
            KSERVE + "ServerLive": (service_pb2.ServerLiveRequest, self._live),
            KSERVE + "ServerReady": (service_pb2.ServerReadyRequest, self._ready),
            KSERVE + "ModelReady": (service_pb2.ModelReadyRequest, self._model_ready),
            KSERVE + "ServerMetadata": (service_pb2.ServerMetadataRequest, self._server_metadata),
            KSERVE + "ModelMetadata": (service_pb2.ModelMetadataRequest, self._model_metadata),
            KSERVE + "ModelConfig": (service_pb2.ModelConfigRequest, self._model_config),
            KSERVE + "ModelStatistics": (service_pb2.ModelStatisticsRequest, self._statistics),
            **shared_memory_methods(KSERVE, self._regions),
            SUT + "Name": (sut_pb2.NameRequest, self._name),
            SUT + "LoadSamples": (sut_pb2.SamplesRequest, self._load_samples),
            SUT + "UnloadSamples": (sut_pb2.SamplesRequest, self._unload_samples),
            SUT + "Flush": (sut_pb2.FlushRequest, self._flush),
            SUT + "Clock": (sut_pb2.ClockRequest, self._clock),
        }

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            text = f"no model '{name}' here; there is {', '.join(self._engines)}"
            raise CallError(Code.NOT_FOUND, text)
        return engine

    def _engine_of(self, request: Any) -> Engine:
        """The engine of a request with a name and a version ("" is any)."""
        engine = self._engine(request.name)
        if request.version not in ("", engine.spec.version):
            text = f"model '{request.name}' has version '{engine.spec.version}'"
            raise CallError(Code.NOT_FOUND, f"{text}, not '{request.version}'")
        return engine

    def _engines_named(self, name: str) -> list[Engine]:
        return [self._engine(name)] if name else list(self._engines.values())

    def _infer(self, call: Call, request: ModelInferRequest) -> None:
        if call.is_streamed:
            call.request_id = request.request_id
            call.wants_final = wants_final(request.message)
        known = self._known.find(request)
        engine = known.engine if known else self._engine(request.message.model_name)
        try:
            checked = known.read(request) if known else None
            if checked is None:
                checked = self._decoded(request, engine)
        except CallError as error:
            figures = engine.figures
            figures.fail(figures.receive(call.received_ns), error.code, 0)
            raise
        engine.submit(call, checked)

    def _decoded(self, request: ModelInferRequest, engine: Engine) -> InferRequest:
        max_rows, regions = self._identity.max_batch, self._regions
        checked = decode_request(request.message, engine.spec, max_rows, regions, request.raw)
        self._known.remember(request, engine, checked)
        return checked

    def _live(self, call: Call, request: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    def _ready(self, call: Call, request: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=self.is_ready)

    def _model_ready(self, call: Call, request: Any) -> Any:
        engine = self._engines.get(request.name)
        is_known = engine is not None and request.version in ("", engine.spec.version)
        return service_pb2.ModelReadyResponse(ready=self.is_ready and is_known)

    def _server_metadata(self, call: Call, request: Any) -> Any:
        offered = self._regions is not None
        return metadata.server_metadata(self._identity.version, shared_memory=offered)

    def _model_metadata(self, call: Call, request: Any) -> Any:
        return metadata.model_metadata(self._engine_of(request).spec)

    def _model_config(self, call: Call, request: Any) -> Any:
        identity = self._identity
        return metadata.model_config(
            self._engine_of(request).spec,
            identity.max_batch,
            identity.max_queue_delay_us,
            identity.instance_count,
        )

    def _statistics(self, call: Call, request: Any) -> Any:
        engines = [self._engine_of(request)] if request.name else self._engines_named("")
        wall_minus_monotonic_ns = time.time_ns() - time.monotonic_ns()
        return service_pb2.ModelStatisticsResponse(
            model_stats=[
                metadata.model_statistics(engine.spec, engine.figures, wall_minus_monotonic_ns)
                for engine in engines
            ]
        )

    def _name(self, call: Call, request: Any) -> Any:
        return sut_pb2.NameReply(name=self._identity.name)

    def _load_samples(self, call: Call, request: Any) -> None:
        self._hint(call, request, "load_samples")

    def _unload_samples(self, call: Call, request: Any) -> None:
        self._hint(call, request, "unload_samples")

    def _hint(self, call: Call, request: Any, method: str) -> None:
        """Pass a hint to the models on a thread, since a user's own class may take its time."""
        engines = self._engines_named(request.model)
        sample_index = list(request.sample_index)

        def tell() -> None:
            for engine in engines:
                getattr(engine, method)(sample_index)

        self.running_hints.append(method)
        done = self._loop.run_in_executor(None, tell)
        done.add_done_callback(lambda _: self.running_hints.remove(method))
        done.add_done_callback(partial(_answer_hint, call, method))

    def _flush(self, call: Call, request: Any) -> None:
        engines = self._engines_named(request.model)
        remaining = len(engines)

        def settled() -> None:
            nonlocal remaining
            remaining -= 1
            if remaining == 0:
                count = sum(engine.figures.settled_count for engine in engines)
                reply = sut_pb2.FlushReply(answered_count=count)
                call.answer([reply.SerializeToString()])

        for engine in engines:
            engine.figures.when_settled(settled)
            engine.hurry()

    def _clock(self, call: Call, request: Any) -> Any:
        return sut_pb2.ClockReply(
            sent_ns=request.sent_ns,
            received_ns=call.received_ns,
            replied_ns=time.monotonic_ns(),
        )


def _answer_hint(call: Call, method: str, done: Future[None]) -> None:
    error = done.exception()
    if error is None:
        call.answer([sut_pb2.SamplesReply().SerializeToString()])
    else:
        call.refuse(Code.INTERNAL, f"{method} failed: {described(error)}")

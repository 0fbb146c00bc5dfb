"""A KServe v2 server of grpcio's own, as others write them: some of its calls may be absent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

Tensor = tuple[str, str, list[int]]


class ForeignServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """``absent``: calls that it does not have. ``authorities``: of every call that came."""

    def __init__(
        self,
        inputs: Collection[Tensor],
        config: Callable[[Any], None] | None,
        absent: Collection[str],
    ) -> None:
        self._inputs, self._config, self._absent = inputs, config, absent
        self.authorities: set[str] = set()

    def _meet(self, name: str, context: Any) -> None:
        self.authorities.add(context.host() if hasattr(context, "host") else "")
        if name in self._absent:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {name}")

    def ServerMetadata(self, request: Any, context: Any) -> Any:
        self._meet("ServerMetadata", context)
        return service_pb2.ServerMetadataResponse(name="foreign", version="1")

    def ModelReady(self, request: Any, context: Any) -> Any:
        self._meet("ModelReady", context)
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._meet("ModelMetadata", context)
        made = service_pb2.ModelMetadataResponse(name=request.name, platform="foreign")
        for name, datatype, shape in self._inputs:
            made.inputs.add(name=name, datatype=datatype, shape=shape)
        return made

    def ModelConfig(self, request: Any, context: Any) -> Any:
        self._meet("ModelConfig", context)
        if self._config is None:
            context.abort(grpc.StatusCode.INTERNAL, "no configuration kept")
        made = model_config_pb2.ModelConfig(name=request.name)
        self._config(made)
        return service_pb2.ModelConfigResponse(config=made)


@contextmanager
def foreign_kserve(
    inputs: Collection[Tensor] = (("x", "FP32", [-1, 4]),),
    config: Callable[[Any], None] | None = None,
    absent: Collection[str] = (),
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[tuple[int, ForeignServicer]]:
    """(port on 127.0.0.1, servicer) of a server that ends with the block."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = ForeignServicer(inputs, config, absent)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port, servicer
    finally:
        server.stop(None).wait()

"""KServe's methods of the system shared memory extension, for a servicer's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.errors import CallError, Code
from sut_server.messages.shared_memory import Regions

Method = tuple[type, Callable[[Call, Any], Any]]


def shared_memory_methods(prefix: str, regions: Regions | None) -> dict[str, Method]:
    """Path -> request type and method; without ``regions`` each is UNIMPLEMENTED."""

    def offered() -> Regions:
        if regions is None:
            text = "this server offers no shared memory; start it with --shared-memory"
            raise CallError(Code.UNIMPLEMENTED, text)
        return regions

    def register(call: Call, request: Any) -> Any:
        offered().register(request.name, request.key, request.offset, request.byte_size)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def unregister(call: Call, request: Any) -> Any:
        offered().unregister(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def status(call: Call, request: Any) -> Any:
        reply = service_pb2.SystemSharedMemoryStatusResponse()
        for region in offered().registered(request.name):
            said = reply.regions[region.name]
            said.name, said.key = region.name, region.key
            said.offset, said.byte_size = region.offset, region.size
        return reply

    def unregister_cuda(call: Call, request: Any) -> Any:
        """There is none, so all are unregistered: clients ask for both kinds at their end."""
        offered()
        return service_pb2.CudaSharedMemoryUnregisterResponse()

    name = prefix + "SystemSharedMemory"
    return {
        prefix + "CudaSharedMemoryUnregister": (
            service_pb2.CudaSharedMemoryUnregisterRequest,
            unregister_cuda,
        ),
        name + "Register": (service_pb2.SystemSharedMemoryRegisterRequest, register),
        name + "Unregister": (service_pb2.SystemSharedMemoryUnregisterRequest, unregister),
        name + "Status": (service_pb2.SystemSharedMemoryStatusRequest, status),
    }

"""A grpc.aio server that answers ModelInfer with ready bytes: the usual way to write one."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import uvloop
from tritonclient.grpc import service_pb2


async def main() -> None:
    """Listen on a free port, say where, serve until ended."""
    answer = service_pb2.ModelInferResponse(model_name="null")
    output = answer.outputs.add(name="output", datatype="FP32")
    output.shape.extend([1, 1])
    answer.raw_output_contents.append(bytes(4))
    ready = answer.SerializeToString()

    async def infer(request: bytes, context: object) -> bytes:
        return ready

    handler = grpc.unary_unary_rpc_method_handler(infer)
    methods = {"ModelInfer": handler}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"grpc.aio ready on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())

"""The request that every client sends: KServe v2 ModelInfer with one FP32 tensor."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from grpc_wire.messages import frame_message
from tritonclient.grpc import service_pb2

IMAGE_ELEMENTS = 3 * 224 * 224


def infer_request(elements: int = 16, model: str = "null") -> bytes:
    """Without gRPC's prefix: 91 bytes for 16 elements, 602 KB for an image."""
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="input", datatype="FP32")
    tensor.shape.extend([1, elements])
    request.raw_input_contents.append(bytes(4 * elements))
    content: bytes = request.SerializeToString()
    return content


@contextlib.contextmanager
def request_file(elements: int = 16, model: str = "null") -> Iterator[str]:
    """A file with the framed request, for clients that read it; 0 elements: an empty message."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(frame_message(infer_request(elements, model) if elements else b""))
        file.flush()
        yield file.name

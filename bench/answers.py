"""Stored answers of a KServe v2 model, one file a method, for peers that serve bytes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

MODEL = "null"
VERSION = "1"
INPUT_ELEMENTS = 16


def stored_answers(output: str = "FP32") -> dict[str, bytes]:
    """Method -> serialized answer. ``output``: FP32, one element that is stored; or BYTES, whose
    raw contents the server appends by itself, of a length that it draws."""
    messages: dict[str, Any] = {
        "ServerLive": service_pb2.ServerLiveResponse(live=True),
        "ServerReady": service_pb2.ServerReadyResponse(ready=True),
        "ModelReady": service_pb2.ModelReadyResponse(ready=True),
        "ServerMetadata": service_pb2.ServerMetadataResponse(name="peer", version=VERSION),
        "ModelMetadata": _metadata(output),
        "ModelConfig": _configuration(output),
        "ModelInfer": _answer(output),
    }
    return {method: message.SerializeToString() for method, message in messages.items()}


@contextlib.contextmanager
def answer_folder(output: str = "FP32") -> Iterator[str]:
    """A folder with a file a method, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        for method, content in stored_answers(output).items():
            (Path(folder) / method).write_bytes(content)
        yield folder


def _metadata(output: str) -> Any:
    message = service_pb2.ModelMetadataResponse(name=MODEL, versions=[VERSION], platform="peer")
    message.inputs.add(name="input", datatype="FP32", shape=[-1, INPUT_ELEMENTS])
    message.outputs.add(name="output", datatype=output, shape=[-1, 1])
    return message


def _configuration(output: str) -> Any:
    kind = {"FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}[output]
    config = model_config_pb2.ModelConfig(name=MODEL, platform="peer", max_batch_size=8)
    config.input.add(name="input", data_type="TYPE_FP32", dims=[INPUT_ELEMENTS])
    config.output.add(name="output", data_type=kind, dims=[1])
    return service_pb2.ModelConfigResponse(config=config)


def _answer(output: str) -> Any:
    message = service_pb2.ModelInferResponse(model_name=MODEL, model_version=VERSION)
    message.outputs.add(name="output", datatype=output, shape=[1, 1])
    if output == "FP32":
        message.raw_output_contents.append(bytes(4))
    return message

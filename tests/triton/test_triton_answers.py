"""The same model behind the real Triton and behind the embedded SUT: the same answers."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytestmark = pytest.mark.triton

MODEL = "efficientnet-lite0"
SAMPLES = 20
LARGEST_LOGIT_DIFFERENCE = 1e-3
TIMEOUT_S = 30.0


def images() -> np.ndarray:
    """The twenty labelled images as the library gives them: [20, 3, 224, 224]."""
    from loadgen_service.core.settings import Settings
    from loadgen_service.qsl import open_library

    tensor = service_pb2.ModelMetadataResponse.TensorMetadata(
        name="input", datatype="FP32", shape=[-1, 3, 224, 224]
    )
    settings = Settings(dataset="imagenet-sample", model=MODEL)
    library = open_library(settings, [tensor], batched=True)
    raw = [library.sample(i)[0] for i in range(SAMPLES)]
    return np.stack([np.frombuffer(r, "<f4").reshape(3, 224, 224) for r in raw])


def logits(address: str, pictures: np.ndarray) -> np.ndarray:
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return np.concatenate([_infer(stub, picture) for picture in pictures])


def _infer(stub, picture: np.ndarray) -> np.ndarray:
    request = service_pb2.ModelInferRequest(
        model_name=MODEL, raw_input_contents=[picture.tobytes()]
    )
    request.inputs.add(name="input", datatype="FP32", shape=[1, *picture.shape])
    answer = stub.ModelInfer(request, timeout=TIMEOUT_S)
    return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(1, -1)


def test_triton_and_the_embedded_sut_agree_sample_by_sample(triton_address, embedded_address):
    pictures = images()
    one, other = logits(triton_address, pictures), logits(embedded_address, pictures)
    assert one.shape == other.shape == (SAMPLES, 1000)
    assert (one.argmax(axis=1) == other.argmax(axis=1)).all()
    assert np.abs(one - other).max() <= LARGEST_LOGIT_DIFFERENCE


def test_triton_and_the_embedded_sut_describe_the_same_tensors(triton_address, embedded_address):
    described = []
    for address in (triton_address, embedded_address):
        with grpc.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelMetadataRequest(name=MODEL)
            answer = stub.ModelMetadata(request, timeout=TIMEOUT_S)
        tensors = [*answer.inputs, *answer.outputs]
        described.append([(t.name, t.datatype, list(t.shape)) for t in tensors])
    assert described[0] == described[1]

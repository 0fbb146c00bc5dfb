"""The whole way of a sample without a network: library, arena, model, response, score."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.qsl import Arena, TensorSpec, build_arena, open_library
from loadgen_service.qsl.scoring import score_top
from sut_server.models.zoo import onnx_path

BATCH = 4


def answers(arena: Arena, model: str):
    """(sample indexes, serialised response) of batches over the whole arena."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(onnx_path(model)), sess_options=options, providers=["CPUExecutionProvider"]
    )
    indexes = arena.sample_indexes
    for start in range(0, len(indexes), BATCH):
        batch = indexes[start : start + BATCH]
        content = b"".join(arena.tensors(index)[0] for index in batch.tolist())
        pixels = np.frombuffer(content, "<f4").reshape(len(batch), *arena.specs[0].shape)
        logits = session.run(None, {"input": pixels})[0]
        message = service_pb2.ModelInferResponse(raw_output_contents=[logits.tobytes()])
        message.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
        yield batch, message.SerializeToString()


@pytest.mark.parametrize(
    ("dataset", "model", "shape", "least"),
    [
        ("imagenet-sample", "efficientnet-lite0", (-1, 3, 224, 224), {"top1": 0.9, "top5": 0.95}),
        ("digits", "digits", (-1, 64), {"top1": 0.96, "top5": 0.99}),
    ],
)
def test_a_built_in_pair_is_as_accurate_as_documented(tmp_path, dataset, model, shape, least):
    library = open_library(
        Settings(dataset=dataset, model=model), [TensorSpec("input", "FP32", shape)], True
    )
    made = build_arena(library, range(library.total_sample_count), tmp_path)
    arena = Arena.open(made.path, made.content_hash)
    scores = score_top(library.labels, answers(arena, model))
    assert scores["count"] == library.total_sample_count
    assert all(scores[name] >= share for name, share in least.items()), scores

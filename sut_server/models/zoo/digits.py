"""A small classifier of handwritten digits, trained here in a second from scikit-learn's file.

Even rows of the file train it; odd rows are the built-in data set ``digits``, which it never saw.
Input: ``input`` FP32 [batch,64], pixels / 16. Output: ``logits`` FP32 [batch,10].
"""

from __future__ import annotations

import gzip
from typing import Final

import numpy as np

from sut_server.models.zoo.efficientnet_lite0 import IR_VERSION, OPSET
from sut_server.models.zoo.packages import package_file
from sut_server.models.zoo.torch_file import FloatArray

SIDE: Final = 8
PIXEL_COUNT: Final = SIDE * SIDE
CLASS_COUNT: Final = 10
PIXEL_MAX: Final = 16.0
HIDDEN_COUNT: Final = 128
EPOCH_COUNT: Final = 20
BATCH_SIZE: Final = 32
LEARNING_RATE: Final = 0.1
MOMENTUM: Final = 0.9
WEIGHT_DECAY: Final = 1e-4
SEED: Final = 20260704
SHIFTS: Final = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Each training digit is also shown moved by one pixel: 96 % right answers become 97.5 %."""

Weights = list[FloatArray]


def training_half() -> tuple[FloatArray, FloatArray]:
    """Pixels / 16 [n,64] and classes [n] of the file's even rows."""
    path = package_file("sklearn", "datasets", "data", "digits.csv.gz")
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[::2, :-1] / PIXEL_MAX, table[::2, -1].astype(np.int64)


def shifted(pixels: FloatArray, classes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The digits [n,64] and their classes, once for each of SHIFTS, zeros coming in at the edge."""
    padded = np.pad(pixels.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, 1 + y : 1 + y + SIDE, 1 + x : 1 + x + SIDE] for y, x in SHIFTS]
    return np.concatenate(moved).reshape(-1, PIXEL_COUNT), np.tile(classes, len(SHIFTS))


def train(pixels: FloatArray, classes: FloatArray) -> Weights:
    """Weights of one hidden ReLU layer by gradient descent in double, from a fixed seed."""
    random = np.random.RandomState(SEED)
    weights = [
        random.standard_normal((PIXEL_COUNT, HIDDEN_COUNT)) * np.sqrt(2 / PIXEL_COUNT),
        np.zeros(HIDDEN_COUNT),
        random.standard_normal((HIDDEN_COUNT, CLASS_COUNT)) * np.sqrt(1 / HIDDEN_COUNT),
        np.zeros(CLASS_COUNT),
    ]
    speeds = [np.zeros_like(weight) for weight in weights]
    for epoch in range(EPOCH_COUNT):
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCH_COUNT))
        order = random.permutation(len(pixels))
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            slopes = _gradients(weights, pixels[rows], classes[rows])
            for weight, speed, slope in zip(weights, speeds, slopes, strict=True):
                speed *= MOMENTUM
                speed -= rate * (slope + WEIGHT_DECAY * weight)
                weight += speed
    return weights


def _gradients(weights: Weights, pixels: FloatArray, classes: FloatArray) -> Weights:
    """Gradients of the mean cross-entropy, in the order of ``weights``."""
    hidden_weight, hidden_bias, output_weight, output_bias = weights
    hidden = np.maximum(pixels @ hidden_weight + hidden_bias, 0)
    logits = hidden @ output_weight + output_bias
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(classes)), classes] -= 1
    error /= len(classes)
    hidden_error = (error @ output_weight.T) * (hidden > 0)
    return [pixels.T @ hidden_error, hidden_error.sum(0), hidden.T @ error, error.sum(0)]


def build_onnx() -> bytes:
    """The serialised, checked model. Raises ImportError if a package is missing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    weights = train(*shifted(*training_half()))
    nodes = [
        helper.make_node("Gemm", ["input", names[0], names[1]], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", names[2], names[3]], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", PIXEL_COUNT])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASS_COUNT])],
        [
            numpy_helper.from_array(weight.astype(np.float32), name)
            for name, weight in zip(names, weights, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

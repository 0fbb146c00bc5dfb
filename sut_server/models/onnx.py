"""A model file run by ONNX Runtime on CPU threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sut_server.errors import UsageError, described
from sut_server.models.spec import Batch, ModelSpec
from sut_server.models.tensors import TensorSpec

_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxModel:
    """One inference session; ``run`` releases the interpreter's lock while it computes."""

    def __init__(self, path: Path, name: str, thread_count: int) -> None:
        """Raises UsageError if ONNX Runtime is absent or the file is not a model it can run."""
        self._session = _open_session(path, thread_count)
        self.spec = ModelSpec(
            name=name,
            platform="onnxruntime_onnx",
            inputs=_specs(self._session.get_inputs()),
            outputs=_specs(self._session.get_outputs()),
        )
        self._output_names = [spec.name for spec in self.spec.outputs]

    def infer(self, batch: Batch) -> Batch:
        outputs = self._session.run(self._output_names, dict(batch))
        return dict(zip(self._output_names, outputs, strict=True))

    def load_samples(self, sample_index: list[int]) -> None:
        """Nothing to prepare: every request carries its tensors."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """Nothing to drop."""


def _open_session(path: Path, thread_count: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "this model needs ONNX Runtime: pip install 'loadgen-service[demo]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UsageError(f"{path}: ONNX Runtime cannot load it: {described(error)}") from error


def _specs(nodes: list[Any]) -> tuple[TensorSpec, ...]:
    """Tensors of a session; a length without a number (a symbol such as "batch") is -1."""
    specs = []
    for node in nodes:
        if node.type not in _DATATYPES:
            raise UsageError(f"tensor {node.name!r} has type {node.type}, which KServe v2 lacks")
        shape = tuple(length if isinstance(length, int) else -1 for length in node.shape)
        specs.append(TensorSpec(node.name, _DATATYPES[node.type], shape))
    return tuple(specs)

"""The built-in models: made from what Python packages ship, kept in a cache as ONNX files."""

from sut_server.models.zoo.build import MODEL_NAMES, onnx_path

__all__ = ["MODEL_NAMES", "onnx_path"]

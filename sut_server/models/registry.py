"""Which model a ``--model`` flag names: a built-in name, or a prefix and what its loader reads.

Heavy imports (ONNX Runtime, the model zoo, a user's module) happen only when asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sut_server.errors import UsageError
from sut_server.models.onnx import OnnxModel
from sut_server.models.python import PythonModel
from sut_server.models.spec import Model

BUILT_IN: Final = ("efficientnet-lite0", "digits")
"""Models that ``sut_server.models.zoo`` makes and keeps."""


def _open_onnx(target: str, thread_count: int) -> Model:
    path = Path(target)
    return OnnxModel(path, path.stem, thread_count)


def _open_python(target: str, thread_count: int) -> Model:
    return PythonModel(target)


LOADERS: Final[dict[str, Callable[[str, int], Model]]] = {
    "onnx": _open_onnx,
    "python": _open_python,
}
"""Prefix of the flag -> loader of what stands behind it, given the threads of one inference."""


def open_model(flag: str, thread_count: int) -> Model:
    """Load the model of a flag: a built-in name, or ``PREFIX:TARGET``.

    Raises UsageError for a name, file, module or class that is not there.
    """
    prefix, colon, target = flag.partition(":")
    if colon and prefix in LOADERS:
        return LOADERS[prefix](target, thread_count)
    if flag in BUILT_IN:
        zoo = importlib.import_module("sut_server.models.zoo")
        return OnnxModel(zoo.onnx_path(flag), flag, thread_count)
    raise UsageError(
        f"--model {flag!r}: no such model; there are {', '.join(BUILT_IN)}, null, synthetic, "
        "synthetic-stream, accumulator, onnx:PATH and python:PKG.MODULE:CLASS"
    )

"""Which built-in models exist, and where their ONNX files lie once made.

A model is made on first use and renamed into place, so that two processes may start together.
What is inside a model is the business of the module that makes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sut_server.errors import UsageError

CACHE_VARIABLE: Final = "LOADGEN_CACHE"
"""Environment variable that moves the cache away from ``~/.cache/loadgen``."""

RECIPE_VERSION: Final = 2
"""Part of the file's name: raise it when a recipe changes, so that old files are left alone."""


def _efficientnet_lite0() -> bytes:
    from sut_server.models.zoo.efficientnet_lite0 import build_onnx

    return build_onnx()


def _digits() -> bytes:
    from sut_server.models.zoo.digits import build_onnx

    return build_onnx()


_RECIPES: Final[dict[str, Callable[[], bytes]]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "digits": _digits,
}

MODEL_NAMES: Final = tuple(_RECIPES)


def cache_directory() -> Path:
    """``$LOADGEN_CACHE/models`` or ``~/.cache/loadgen/models``."""
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root) if root else Path.home() / ".cache" / "loadgen") / "models"


def onnx_path(name: str) -> Path:
    """Path of a built-in model's ONNX file, made first if the cache lacks it (under a second).

    Raises UsageError for an unknown name, a missing package, or a cache that cannot be written.
    """
    if name not in _RECIPES:
        raise UsageError(f"unknown built-in model {name!r}; there are {', '.join(MODEL_NAMES)}")
    path = cache_directory() / f"{name}-v{RECIPE_VERSION}.onnx"
    if not path.is_file():
        _write(path, _make(name))
    return path


def _make(name: str) -> bytes:
    try:
        return _RECIPES[name]()
    except ImportError as error:
        raise UsageError(
            f"model {name} needs {error.name or error}: pip install 'loadgen-service[demo]'"
        ) from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"cannot keep the model in {path.parent}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with space that may be written"
        ) from error

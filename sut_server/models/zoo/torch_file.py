"""Reads the tensors of a legacy ``torch.save`` file without torch.

The file is a pickle of tensors that point into storages, followed by the storages' raw bytes.
Only the few names that a state dict needs may be unpickled; anything else is refused, so a file
cannot run code.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[Any]]

_STORAGE_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}

_HEAD_PICKLE_COUNT: Final = 3
"""Magic number, protocol version and system facts come before the object."""


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as pickled: a strided window on a storage. Strides count elements."""

    storage: str
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: str, offset: int, size: tuple[int, ...], strides: tuple[int, ...], *_rest: object
) -> _View:
    return _View(storage, offset, size, strides)


class _StateUnpickler(pickle.Unpickler):
    """Gives views in place of tensors, and remembers each storage's element type."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module_name == "torch" and global_name in _STORAGE_DTYPES:
            return global_name
        raise pickle.UnpicklingError(f"{module_name}.{global_name} does not belong in weights")

    def persistent_load(self, pid: Any) -> str:
        _kind, storage_type, key, _location, _count, _view = pid
        self.dtypes[key] = _STORAGE_DTYPES[storage_type]
        return str(key)


def read_state(path: Path) -> dict[str, FloatArray]:
    """Tensors by name, each a contiguous copy of its own.

    Raises pickle.UnpicklingError if the file holds more than tensors.
    """
    with path.open("rb") as file:
        for _ in range(_HEAD_PICKLE_COUNT):
            _StateUnpickler(file).load()
        unpickler = _StateUnpickler(file)
        views = unpickler.load()
        keys = _StateUnpickler(file).load()
        storages = {key: _read_storage(file, unpickler.dtypes[key]) for key in keys}
    return {name: _copy(view, storages[view.storage]) for name, view in views.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> FloatArray:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _copy(view: _View, storage: FloatArray) -> FloatArray:
    # Tensors of this file are strided (TensorFlow's layout): a reshape would give garbage.
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.size, strides).copy()

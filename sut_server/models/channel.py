"""Arrays and JSON over a stream socket between a server and its own model process.

Nothing that comes is code: the head is JSON, and the arrays' bytes follow as KServe v2 has them.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from sut_server.models.spec import Batch, ModelSpec
from sut_server.models.tensors import Array, TensorSpec, from_raw, to_raw

_SIZE: Final = struct.Struct("<Q")
_TEXTS: Final = "BYTES"
"""In place of a dtype: an array of objects, each a number of bytes."""


class Channel:
    """A head and named arrays, both ways."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(self, head: Any, arrays: Mapping[str, Array] | None = None) -> None:
        """``head``: what JSON can say. Raises OSError, of which TimeoutError is one."""
        described, raws = [], []
        for name, array in (arrays or {}).items():
            kind = _TEXTS if array.dtype.kind in "OSU" else array.dtype.newbyteorder("<").str
            raws.append(memoryview(to_raw(array)))
            described.append([name, kind, array.shape, len(raws[-1])])
        text = json.dumps([head, described]).encode()
        self._stream.sendall(_SIZE.pack(len(text)) + text)
        for raw in raws:
            self._stream.sendall(raw)

    def receive(self) -> tuple[Any, dict[str, Array]]:
        """Raises EOFError where the other side has closed, and OSError."""
        (size_bytes,) = _SIZE.unpack(self._read(_SIZE.size))
        head, described = json.loads(self._read(size_bytes))
        arrays = {}
        for name, kind, shape, raw_bytes in described:
            raw = self._read(raw_bytes)
            if kind == _TEXTS:
                arrays[name] = from_raw(name, _TEXTS, tuple(shape), memoryview(raw))
            else:
                arrays[name] = np.frombuffer(raw, dtype=np.dtype(kind)).reshape(shape)
        return head, arrays

    def _read(self, size_bytes: int) -> bytearray:
        memory = bytearray(size_bytes)
        view, done = memoryview(memory), 0
        while done < size_bytes:
            count = self._stream.recv_into(view[done:])
            if not count:
                raise EOFError
            done += count
        return memory


def spec_as_json(spec: ModelSpec) -> dict[str, Any]:
    """A model's spec for ``Channel.send``."""
    tensors = {
        side: [[one.name, one.datatype, one.shape] for one in specs]
        for side, specs in (("inputs", spec.inputs), ("outputs", spec.outputs))
    }
    return {"name": spec.name, "platform": spec.platform, "version": spec.version, **tensors}


def spec_of_json(said: Mapping[str, Any]) -> ModelSpec:
    """The spec in what ``spec_as_json`` made."""
    inputs, outputs = (
        tuple(TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in said[side])
        for side in ("inputs", "outputs")
    )
    return ModelSpec(said["name"], said["platform"], inputs, outputs, version=said["version"])


def only_arrays(outputs: Batch) -> dict[str, Array]:
    """Outputs that are arrays: the server says which of the others is none."""
    return {
        name: array
        for name, array in outputs.items()
        if hasattr(array, "dtype") and hasattr(array, "shape")
    }

"""Objects with large arrays over a stream socket between a server and its own model process.

The head is a pickle; the arrays' memory follows it as it is (pickle's protocol 5). Only for peers
that run the same operator's code: a pickle is a program.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any, Final

_HEAD: Final = struct.Struct("<QI")
_SIZE: Final = struct.Struct("<Q")


class Channel:
    """Whole objects both ways."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(self, thing: Any) -> None:
        """Raises OSError, of which TimeoutError is one."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
        raws = [buffer.raw() for buffer in buffers]
        sizes = b"".join(_SIZE.pack(len(raw)) for raw in raws)
        self._stream.sendall(_HEAD.pack(len(head), len(raws)) + sizes + head)
        for raw in raws:
            self._stream.sendall(raw)

    def receive(self) -> Any:
        """Raises EOFError where the other side has closed, and OSError."""
        head_bytes, count = _HEAD.unpack(self._read(_HEAD.size))
        sizes = [_SIZE.unpack(self._read(_SIZE.size))[0] for _ in range(count)]
        head = self._read(head_bytes)
        return pickle.loads(head, buffers=[self._read(size) for size in sizes])

    def _read(self, size_bytes: int) -> bytearray:
        memory = bytearray(size_bytes)
        view, done = memoryview(memory), 0
        while done < size_bytes:
            count = self._stream.recv_into(view[done:])
            if not count:
                raise EOFError
            done += count
        return memory

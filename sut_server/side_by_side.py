"""Memory for large requests, so that the tensors of those that come one after another adjoin.

A batch of them is then one array as it lies, and nobody joins it. Where a tensor will begin within
its request is guessed by the last ones, and what becomes of a guess is checked: a place is used
only if the tensor was found exactly there, and the next request adjoins only what was used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from grpc_wire.limits import IN_PLACE_BYTES_MIN

from sut_server.models.tensors import Array

BLOCK_BYTES_MAX: Final = (32 << 20) - (1 << 16)
"""Of one block: below ``freed_memory.LARGEST_BYTES``, so that its pages are used again."""

HEAD_BYTES_MAX: Final = 4_096
"""The most that a request may have before its tensor."""

ALIGNMENT_BYTES: Final = 64
"""A block's last tensor ends at a multiple of it: a cache line, and more than any type needs."""

WARM_COUNT: Final = 3
"""Blocks fetched before the first request: one is filled, one is computed on, one waits."""

ELSEWHERE_MAX: Final = 64
"""Requests that go elsewhere while one is on its way; then it is waited for no longer."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Where a tensor lies: its first byte is ``start`` of ``block``, an array of bytes."""

    block: Array
    start: int


class SideBySide:
    """Gives places from the end of a block to its start.

    A request's head, the bytes before its tensor, lies in the place that the next tensor is to
    fill. So a place is given only when the request in the one above has been taken in.
    """

    def __init__(self, batch_rows: int) -> None:
        """``batch_rows``: samples of the largest batch."""
        self._batch_rows = batch_rows
        self._last_bytes = 0
        self._tensor_bytes = 0
        """Of the last two requests, if it was the same and some of it fit into a block."""
        self._block: Array = np.empty(0, dtype=np.uint8)
        self._block_tensor_bytes = 0
        self._address = 0
        self._lowest = 0
        """Where the last tensor begins that was taken in."""
        self._awaited = -1
        """Where the tensor of a request on its way is to begin; -1: none is."""
        self._elsewhere_count = 0

    def warm_up(self, tensor_bytes: int) -> None:
        """Fetch the memory that requests of such tensors will need from the kernel, and free it.

        It stays with the process (``freed_memory``). A virtual machine's host may take milliseconds
        for each 2 MiB that are written to for the first time.
        """
        if tensor_bytes >= IN_PLACE_BYTES_MIN and 2 * tensor_bytes <= BLOCK_BYTES_MAX:
            size_bytes = self._block_bytes(tensor_bytes)
            for block in [np.empty(size_bytes, dtype=np.uint8) for _ in range(WARM_COUNT)]:
                block.fill(0)

    def memory(self, size_bytes: int) -> memoryview:
        """Writable memory for a request, of any content. What it holds is told by ``settle``."""
        tensor_bytes = self._tensor_bytes
        head_bytes = size_bytes - tensor_bytes
        if not tensor_bytes or not 0 < head_bytes <= HEAD_BYTES_MAX:
            return _elsewhere(size_bytes)
        if self._awaited >= 0:
            self._elsewhere_count += 1
            if self._elsewhere_count <= ELSEWHERE_MAX:
                return _elsewhere(size_bytes)
            self._lowest = 0  # whoever still writes to that block has it alone
        self._elsewhere_count = 0
        if tensor_bytes != self._block_tensor_bytes or self._lowest < HEAD_BYTES_MAX + tensor_bytes:
            self._begin(tensor_bytes)
        end = self._lowest
        self._awaited = end - tensor_bytes
        return self._block[end - size_bytes : end].data

    def settle(self, tensors: Collection[Array]) -> Placed | None:
        """Tell the tensors of a request of which nothing else will be read.

        Returns where its tensor lies, if that is its only one and was put into a place.
        """
        if len(tensors) != 1:
            return None
        (tensor,) = tensors
        size_bytes = tensor.nbytes
        if size_bytes < IN_PLACE_BYTES_MIN:
            return None
        is_usual = size_bytes == self._last_bytes and 2 * size_bytes <= BLOCK_BYTES_MAX
        self._last_bytes = size_bytes
        self._tensor_bytes = size_bytes if is_usual else 0
        if self._awaited < 0 or size_bytes != self._block_tensor_bytes:
            return None
        if tensor.__array_interface__["data"][0] != self._address + self._awaited:
            return None
        self._lowest, self._awaited = self._awaited, -1
        return Placed(self._block, self._lowest)

    def _block_bytes(self, tensor_bytes: int) -> int:
        spare_bytes = HEAD_BYTES_MAX + ALIGNMENT_BYTES
        count = (BLOCK_BYTES_MAX - spare_bytes) // tensor_bytes
        if count > self._batch_rows:
            count -= count % self._batch_rows
        return spare_bytes + count * tensor_bytes

    def _begin(self, tensor_bytes: int) -> None:
        size_bytes = self._block_bytes(tensor_bytes)
        self._block = np.empty(size_bytes, dtype=np.uint8)
        self._block_tensor_bytes = tensor_bytes
        self._address = self._block.ctypes.data
        self._lowest = size_bytes - (self._address + size_bytes) % ALIGNMENT_BYTES


def _elsewhere(size_bytes: int) -> memoryview:
    """Memory that adjoins nothing, and is not cleared before it is read into."""
    return np.empty(size_bytes, dtype=np.uint8).data


def adjoin(places: Sequence[Placed | None], tensor_bytes: int) -> bool:
    """Whether each tensor, of so many bytes, ends where the one before it in ``places`` begins."""
    above = places[0]
    for place in places[1:]:
        if above is None or place is None or place.block is not above.block:
            return False
        if place.start + tensor_bytes != above.start:
            return False
        above = place
    return True


def as_one(lowest: Placed, first: Array, count: int) -> Array:
    """``count`` adjoining tensors like ``first``, the lowest, as one along their first axis."""
    stop = lowest.start + count * first.nbytes
    whole = lowest.block[lowest.start : stop].view(first.dtype)
    whole.flags.writeable = False
    return whole.reshape(-1, *first.shape[1:])

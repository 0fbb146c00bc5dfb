"""Names for equal plans and comparable workloads: hashes over canonical little-endian bytes.

Decides what is hashed and under which version; never depends on worker count or host byte order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

PLAN_HASH_VERSION: Final = "plan-v1"
WORKLOAD_HASH_VERSION: Final = "workload-v1"


class ColumnHash:
    """SHA-256 over named columns. Name, type and length go in before the values."""

    __slots__ = ("_digest", "_version")

    def __init__(self, version: str) -> None:
        self._version = version
        self._digest = hashlib.sha256(version.encode("ascii") + b"\n")

    def text(self, name: str, value: str) -> None:
        """Add a named word."""
        self._digest.update(f"{name}={value}\n".encode())

    def column(self, name: str, values: npt.NDArray[np.generic]) -> None:
        """Add a column of integers, little-endian whatever the host."""
        canonical = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        self.text(name, f"{canonical.dtype.str}:{canonical.size}")
        self._digest.update(canonical.view(np.uint8).data)

    def finish(self) -> str:
        """``version:hex``."""
        return f"{self._version}:{self._digest.hexdigest()}"


def mapping_hash(version: str, values: Mapping[str, object]) -> str:
    """Hash of a flat mapping of plain values, written as sorted JSON."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"{version}:{hashlib.sha256(text.encode()).hexdigest()}"

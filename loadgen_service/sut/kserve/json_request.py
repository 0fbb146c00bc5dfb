"""KServe v2 over HTTP for servers without binary tensors: requests whose tensors are JSON numbers.

Made from the same raw tensors as the others. Knows no socket and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from loadgen_service.errors import SettingsError
from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import OwnTensors, RequestTensor, ShapesOf
from loadgen_service.sut.kserve.http_request import DTYPES

JSON: Final = "application/json"
"""Content type of such a request."""

JSON_TOTAL_BYTES_MAX: Final = 2 << 30
"""What one worker spends on requests kept for a series: tensors as text are several times larger
than the arena's, and cannot be slices of it."""

_REMEDY: Final = "use --http-tensors binary"


class JsonInferBuilder:
    """Requests of one run. ``tensors_of(sample)`` gives its raw tensors, ordered as ``tensors``.

    ``batched``: shapes lead with the number of samples.
    """

    def __init__(
        self,
        tensors: Sequence[RequestTensor],
        batched: bool,
        tensors_of: Callable[[int], Sequence[bytes | memoryview]],
        shapes_of: ShapesOf | None = None,
        bytes_max: int = JSON_TOTAL_BYTES_MAX,
    ) -> None:
        """``shapes_of``: where samples have shapes of their own."""
        for tensor in tensors:
            if tensor.datatype == "BF16":
                raise SettingsError(f"input {tensor.name!r}: JSON has no BF16; {_REMEDY}")
        self._own = OwnTensors(tensors, tensors_of, shapes_of)
        self._batched = batched
        self._bytes_left = bytes_max

    def build(self, samples: Sequence[int]) -> Parts:
        """The request's own header lines and its JSON. Raises ``SettingsError``."""
        inputs = [
            self._input(tensor, pieces)
            for tensor, pieces in zip(*self._own.of(samples), strict=True)
        ]
        try:
            body = json.dumps({"inputs": inputs}, separators=(",", ":"), allow_nan=False).encode()
        except ValueError:
            raise SettingsError(
                f"sample {samples[0]}: JSON has no infinite numbers and no NaN; {_REMEDY}"
            ) from None
        if len(samples) == 1:  # made before the run, one for each sample
            self._keep(len(body))
        return b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _keep(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise SettingsError(
                "http_tensors: the loaded samples as JSON do not fit in memory; load fewer with "
                f"--performance-sample-count, or {_REMEDY}"
            )

    def _input(self, tensor: RequestTensor, pieces: Sequence[bytes | memoryview]) -> dict[str, Any]:
        return {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [len(pieces), *tensor.shape] if self._batched else list(tensor.shape),
            "data": values(tensor, b"".join(pieces)),
        }


def values(tensor: RequestTensor, raw: bytes) -> list[Any]:
    """Raw little-endian elements as what JSON has for them, in order. Raises ``SettingsError``."""
    if tensor.datatype != "BYTES":
        found: list[Any] = np.frombuffer(raw, DTYPES[tensor.datatype]).tolist()
        return found
    try:
        return [element.decode() for element in _elements(raw)]
    except UnicodeDecodeError:
        raise SettingsError(
            f"input {tensor.name!r}: an element is not UTF-8, which JSON needs; {_REMEDY}"
        ) from None


def _elements(raw: bytes) -> Iterator[bytes]:
    """Of a BYTES tensor: each is a little-endian length and its bytes."""
    at = 0
    while at < len(raw):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        yield raw[start:at]

"""A SUT's own timings, read out of a ModelInferResponse without parsing the message.

Parameters are a protobuf map: each entry is its key (field 1) and an InferParameter (field 2)
whose ``int64_param`` is field 2. So the bytes ``<name> 12 <len> 10`` are followed by the value.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = ("received_ns", "queue_ns", "compute_ns", "sent_ns")

_SEARCH_BYTES_MAX: Final = 1024
"""Parameters stand before the tensors, behind the model's name: no need to search an image."""

_INT64_PARAM_TAG: Final = 0x10
_NEEDLES: Final = tuple(name.encode() + b"\x12" for name in NAMES)

ServerTimings = tuple[int, int, int, int]
"""received, queue, compute, sent in ns on the SUT's monotonic clock; -1 where not given."""


def find_timings(message: bytes) -> ServerTimings | None:
    """The four timings, or None if the response carries none of them."""
    if message.find(_NEEDLES[0], 0, _SEARCH_BYTES_MAX) < 0:
        return None
    values = [_value(message, needle) for needle in _NEEDLES]
    return values[0], values[1], values[2], values[3]


def _value(message: bytes, needle: bytes) -> int:
    at = message.find(needle, 0, _SEARCH_BYTES_MAX)
    if at < 0:
        return -1
    at += len(needle) + 1  # behind the length of the InferParameter
    if at >= len(message) or message[at] != _INT64_PARAM_TAG:
        return -1
    value = shift = 0
    for byte in message[at + 1 : at + 11]:
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value if value < 1 << 63 else -1
        shift += 7
    return -1

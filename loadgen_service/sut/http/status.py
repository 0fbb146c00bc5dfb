"""What the heads of HTTP answers mean to a record: statuses as gRPC codes, after google.rpc's own
table, and how a body is coded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CODES: Final = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    408: 4,
    409: 10,
    413: 11,
    422: 3,
    429: 8,
    499: 1,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
}
_UNKNOWN: Final = 2


UNASKED: Final = "which was not asked for; --accept-compression gzip asks"


def coding_of(headers: Mapping[bytes, bytes]) -> str:
    """How a body is coded (``content-encoding``); "" where it comes as it is."""
    coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    return "" if coding == "identity" else coding


def code_of(status: int) -> int:
    """The code that a record keeps; its text keeps the status. 0 for 200."""
    return 0 if status == 200 else _CODES.get(status, _UNKNOWN)

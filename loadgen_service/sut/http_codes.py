"""HTTP statuses as the gRPC codes of the records, after google.rpc's own table."""

from __future__ import annotations

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


def code_of(status: int) -> int:
    """The code that a record keeps; its text keeps the status. 0 for 200."""
    return 0 if status == 200 else _CODES.get(status, _UNKNOWN)

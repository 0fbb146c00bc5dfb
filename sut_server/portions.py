"""In what portions a read is answered where answers cost nothing: pure arithmetic."""

from __future__ import annotations

from typing import Final

WHOLE_COUNT_MAX: Final = 8
"""No more requests of one read are answered in one write."""

PORTION_COUNT_MAX: Final = 16
"""Nor are more ever, but in the largest reads."""

PORTIONS_MAX: Final = 8
"""Portions of a read, and one: so that a request much longer than those before is not minced."""


def portion_bytes(left_bytes: int, request_bytes: float) -> int:
    """How many of a read's bytes are taken before the answers so far are written.

    Three quarters of the requests in them: the caller wakes up and works on those answers while the
    last requests are read. Halves would leave both sides waiting for each other in turn.
    ``request_bytes``: of one request, by what came before.
    """
    count = left_bytes / request_bytes
    if count <= WHOLE_COUNT_MAX:
        return left_bytes
    # A fifth more, so that a request that is a little longer than usual is not cut.
    return int((min(PORTION_COUNT_MAX, count * 3 / 4) + 0.2) * request_bytes)

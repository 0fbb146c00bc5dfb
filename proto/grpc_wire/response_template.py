"""The frames of a good unary answer, which are the same for every call but for the stream id."""

from __future__ import annotations

from typing import Final

from grpc_wire.errors import OK
from grpc_wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame_start
from grpc_wire.headers import encode_block, status_fields
from grpc_wire.limits import REMEMBERED_SIZES

HEAD_FIELDS: Final = [(":status", "200"), ("content-type", "application/grpc")]
TAIL_FIELDS: Final = status_fields(OK, "")
HEAD: Final = encode_block(HEAD_FIELDS)
TAIL: Final = encode_block(TAIL_FIELDS)
HEAD_START: Final = frame_start(len(HEAD), HEADERS, END_HEADERS)
TAIL_START: Final = frame_start(len(TAIL), HEADERS, END_HEADERS | END_STREAM)
# The same for every connection, so kept for all of them: DATA's length -> bytes before it.
MIDDLES: Final[dict[int, bytes]] = {}


def usual_middle(size: int) -> bytes:
    """Return the bytes between the stream ids of an answer's HEADERS and its DATA."""
    if len(MIDDLES) >= REMEMBERED_SIZES:
        MIDDLES.clear()
    found = MIDDLES[size] = HEAD + frame_start(size, DATA, 0)
    return found

"""HTTP/2 frames as bytes (RFC 9113): their layout, and how the small ones are made and read.

Refuses to know streams, windows and the order of frames.
"""

from __future__ import annotations

import struct
from typing import Final

from grpc_wire.errors import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    ConnectionFault,
)

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

FRAME_HEADER_BYTES: Final = 9
PRIORITY_BYTES: Final = 5
KIND_AT: Final = 3
DEFAULT_WINDOW_BYTES: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384
LARGEST_FRAME_BYTES: Final = (1 << 24) - 1
LARGEST_WINDOW_BYTES: Final = (1 << 31) - 1
LARGEST_STREAM_ID: Final = (1 << 31) - 1

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# length and type in one word, flags, stream id with its reserved bit
FRAME_HEADER: Final = struct.Struct(">IBI")
# the same, and the prefix of a gRPC message: compressed flag and length
FRAME_AND_PREFIX: Final = struct.Struct(">IBIBI")
_SETTING: Final = struct.Struct(">HI")
WORD: Final = struct.Struct(">I")
"""A stream id, a window's increment or an error code."""
_TWO_WORDS: Final = struct.Struct(">II")


def frame_start(length: int, kind: int, flags: int) -> bytes:
    """Return the first five bytes of a frame: all of its header but the stream id."""
    return (length << 16 | kind << 8 | flags).to_bytes(5, "big")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one whole frame."""
    return FRAME_HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    """Return a SETTINGS frame that announces these values."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in settings.items()))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, WORD.pack(increment))


def rst_stream_frame(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM with an HTTP/2 error code."""
    return frame(RST_STREAM, 0, stream_id, WORD.pack(code))


def goaway_frame(last_stream_id: int, code: int, text: str = "") -> bytes:
    """Return a GOAWAY with debug data."""
    head = _TWO_WORDS.pack(last_stream_id, code)
    return frame(GOAWAY, 0, 0, head + text.encode("utf-8", "replace")[:256])


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the values of a SETTINGS payload, checked (RFC 9113 6.5.2)."""
    if len(payload) % 6:
        raise ConnectionFault(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    settings = dict(_SETTING.iter_unpack(payload))
    if settings.get(ENABLE_PUSH, 0) > 1:
        raise ConnectionFault(PROTOCOL_ERROR, f"ENABLE_PUSH is {settings[ENABLE_PUSH]}")
    if settings.get(INITIAL_WINDOW_SIZE, 0) > LARGEST_WINDOW_BYTES:
        raise ConnectionFault(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1")
    frame_bytes = settings.get(MAX_FRAME_SIZE, DEFAULT_FRAME_BYTES)
    if not DEFAULT_FRAME_BYTES <= frame_bytes <= LARGEST_FRAME_BYTES:
        raise ConnectionFault(PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {frame_bytes}")
    return settings


def read_goaway(payload: bytes) -> tuple[int, int, str]:
    """Return (last stream id, HTTP/2 error code, debug text) of a GOAWAY payload."""
    if len(payload) < 8:
        raise ConnectionFault(FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    last_stream_id, code = _TWO_WORDS.unpack_from(payload)
    text = payload[8:264].decode("utf-8", "replace")
    return last_stream_id & LARGEST_STREAM_ID, code, text


def read_word(payload: bytes, name: str) -> int:
    """Return the one word of a RST_STREAM or WINDOW_UPDATE payload."""
    if len(payload) != 4:
        raise ConnectionFault(FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes")
    (word,) = WORD.unpack(payload)
    return int(word)


def content_span(
    kind: int, flags: int, data: bytes | memoryview, start: int, stop: int
) -> tuple[int, int]:
    """Return where a DATA or HEADERS frame's content lies, without padding and priority."""
    if flags & PADDED:
        if start == stop:
            raise ConnectionFault(FRAME_SIZE_ERROR, "padded frame without a pad length")
        stop -= data[start]
        start += 1
    if kind == HEADERS and flags & HAS_PRIORITY:
        start += PRIORITY_BYTES
    if start > stop:
        raise ConnectionFault(PROTOCOL_ERROR, "padding is longer than its frame")
    return start, stop

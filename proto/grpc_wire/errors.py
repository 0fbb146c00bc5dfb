"""Codes of HTTP/2 and gRPC, how one maps to the other, and the faults that end a stream or a
connection. Knows nothing about frames or state.
"""

from __future__ import annotations

from typing import Final

# HTTP/2 error codes, RFC 9113 section 7.
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

_NAMES: Final = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"),
    *("CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)

# gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html
OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16
# Ours, outside gRPC's 0-16: the connection broke under an open call.
BROKEN_CONNECTION: Final = 255

# gRPC over HTTP/2, "Errors": what a call's RST_STREAM code means.
_GRPC_OF_RESET: Final = {
    NO_ERROR: INTERNAL,
    PROTOCOL_ERROR: INTERNAL,
    INTERNAL_ERROR: INTERNAL,
    FLOW_CONTROL_ERROR: INTERNAL,
    SETTINGS_TIMEOUT: INTERNAL,
    FRAME_SIZE_ERROR: INTERNAL,
    REFUSED_STREAM: UNAVAILABLE,
    CANCEL: CANCELLED,
    COMPRESSION_ERROR: INTERNAL,
    CONNECT_ERROR: INTERNAL,
    ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    INADEQUATE_SECURITY: PERMISSION_DENIED,
}

# gRPC's doc/http-grpc-status-mapping.md: an answer without grpc-status.
_GRPC_OF_HTTP: Final = {
    400: INTERNAL,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: UNIMPLEMENTED,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}


class HeaderError(ValueError):
    """A header that must not be sent: a bad name, a bad value, or too many bytes of them."""


class ConnectionFault(Exception):
    """The peer broke the rules of the connection: it ends with GOAWAY and ``code``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class MessageFault(Exception):
    """A stream's messages cannot be read: the call ends with gRPC status ``code``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class CallFault(Exception):
    """A call's answer is unacceptable: it ends with gRPC ``code``, its stream by ``reset_code``."""

    def __init__(self, code: int, text: str, reset_code: int) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.reset_code = reset_code


def error_name(code: int) -> str:
    """Return the RFC's name of an HTTP/2 error code, or its hexadecimal number."""
    return _NAMES[code] if 0 <= code < len(_NAMES) else hex(code)


def grpc_of_reset(code: int) -> int:
    """Return the gRPC status of a call that the peer ended by RST_STREAM with ``code``."""
    return _GRPC_OF_RESET.get(code, UNKNOWN)


def grpc_of_http(status: int) -> int:
    """Return the gRPC status of an answer with this HTTP status and no grpc-status."""
    return _GRPC_OF_HTTP.get(status, UNKNOWN)

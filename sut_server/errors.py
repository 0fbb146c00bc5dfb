"""What can go wrong, and whose fault it is: the operator's (UsageError) or a caller's (CallError).

A failed call is an answer with a gRPC status, never an exception that leaves the server.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The gRPC status codes that this server answers with."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


def described(error: BaseException) -> str:
    """One line for an exception that code of others raised; its ``str()`` may itself raise."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception:
        return f"{name} (its text cannot be had)"
    return f"{name}: {text}" if text else name


def printable(text: str) -> str:
    """Text of others for a terminal: control characters are escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def no_method(path: bytes) -> str:
    """The line for a call of a method that is not served."""
    return f"this server has no method {path.decode(errors='replace')}"


class UsageError(Exception):
    """The operator's mistake: one line that names it and the remedy; the process exits with 2."""


class HangError(UsageError):
    """A model that has not come back: its thread would hold up an ordinary exit for ever."""


class CallError(Exception):
    """One call's failure: its gRPC status and a line for the caller."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

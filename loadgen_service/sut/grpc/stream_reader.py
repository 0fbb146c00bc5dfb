"""ModelStreamInfer's answers: which are pieces of output, and which say that the request failed.

KServe v2 reports a failure as a message on a stream that stays sound; here it settles the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from loadgen_service.sut.interface import DONE, MESSAGE, Event

CODE_UNKNOWN: Final = 2
"""gRPC's UNKNOWN: an error message on a stream has a text and no code."""

CODE_INTERNAL: Final = 13

_NO_MESSAGE: Final = "the stream ended well without any message: no answer came"
_NO_ANSWER: Final = "the stream carried no ModelStreamInferResponse"
_ERROR_TAG: Final = b"\x0a"  # ModelStreamInferResponse.error_message = 1, never behind field 2


class StreamReader:
    """Reads the events of streaming calls. ``keep``: join the answers into the last event.

    A call that failed on its stream is settled, and its stream left to end by itself: the server is
    about to do so, and Triton 2.51 dies of a cancellation that comes between. Only a stream that
    goes on with more answers is cancelled.
    """

    def __init__(self, cancel: Callable[[int], None], keep: bool) -> None:
        self._cancel = cancel
        self._kept: dict[int, list[bytes]] | None = {} if keep else None
        self._failed: set[int] = set()
        self._begun: set[int] = set()

    def read(self, events: Sequence[Event]) -> list[Event]:
        """The events for the loop; nothing of a call whose failure was told."""
        said: list[Event] = []
        for event in events:
            if event[0] == MESSAGE:
                key, message = event[1], event[2]
                if key in self._failed:
                    self._cancel(key)
                    continue
                if message.startswith(_ERROR_TAG):
                    self._failed.add(key)
                    said.append((DONE, key, CODE_UNKNOWN, None, _error_text(message)))
                    self._forget(key)
                    continue
                self._begun.add(key)
                if self._kept is not None:
                    self._kept.setdefault(key, []).append(message)
                said.append(event)
            elif event[0] == DONE:
                if event[1] in self._failed:
                    self._failed.remove(event[1])
                else:
                    said.append(self._ended(event))
            else:
                said.append(event)
        return said

    def forget(self, key: int) -> None:
        """The call was given up: nothing more is read of it."""
        self._forget(key)

    def _ended(self, event: Event) -> Event:
        has_begun = event[1] in self._begun
        pieces = self._forget(event[1])
        if not event[2] and not has_begun:
            return (DONE, event[1], CODE_INTERNAL, None, _NO_MESSAGE)
        if event[2] or not pieces:
            return event
        try:
            return (DONE, event[1], 0, joined_answers(pieces), "")
        except DecodeError:  # a server's broken bytes must settle the call, not end the worker
            return (DONE, event[1], CODE_INTERNAL, None, _NO_ANSWER)

    def _forget(self, key: int) -> list[bytes]:
        self._begun.discard(key)
        return self._kept.pop(key, []) if self._kept is not None else []


def joined_answers(messages: Sequence[bytes]) -> bytes:
    """One serialised ModelInferResponse with the outputs of all, as protobuf merges messages.

    Raises DecodeError where one of them is no ModelStreamInferResponse.
    """
    whole = service_pb2.ModelInferResponse()
    for message in messages:
        whole.MergeFrom(service_pb2.ModelStreamInferResponse.FromString(message).infer_response)
    serialised: bytes = whole.SerializeToString()
    return serialised


def _error_text(message: bytes) -> str:
    try:
        text = service_pb2.ModelStreamInferResponse.FromString(message).error_message
    except DecodeError:
        return _NO_ANSWER
    return " ".join(str(text).split())

"""Answers on their way from a script's threads to whoever runs it: stamped at once, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from loadgen_service.binding.values import QuerySampleResponse

Callback = Callable[[QuerySampleResponse], None]


class Answer(NamedTuple):
    """One sample's answer, or its first token (``is_first``), at ``now_ns`` of the monotonic clock.

    ``content`` is None where nobody wants the bytes.
    """

    now_ns: int
    sample_id: int
    content: bytes | None
    token_count: int
    is_first: bool


class Receiver(Protocol):
    """Whoever runs the script now. Both methods are called on any of its threads."""

    def wants(self, sample_id: int) -> bool:
        """Whether the bytes of this sample's answer are kept."""

    def receive(self, answers: Sequence[Answer]) -> None:
        """Take answers of one completion call."""


def take(
    receiver: Receiver,
    responses: Sequence[QuerySampleResponse],
    callback: Callback | None,
    *,
    is_first: bool,
) -> None:
    """Stamp a completion call at its entry and copy what is wanted, as LoadGen does (6.3).

    ``callback`` is called for the samples whose bytes are kept, after the stamp and before the
    copy; for first tokens it is accepted and never called.
    """
    now_ns = time.monotonic_ns()
    answers = []
    for response in responses:
        content = None
        if receiver.wants(response.id):
            if callback is not None and not is_first:
                callback(response)
            content = response.content()
        answers.append(Answer(now_ns, response.id, content, response.n_tokens, is_first))
    receiver.receive(answers)


class AnswerQueue:
    """Answers for a thread that waits for them."""

    def __init__(self) -> None:
        self._arrived: deque[Answer] = deque()
        self._ready = threading.Condition()

    def put(self, answers: Sequence[Answer]) -> None:
        """From any thread."""
        with self._ready:
            self._arrived.extend(answers)
            self._ready.notify()

    def get(self, timeout_s: float) -> list[Answer]:
        """All that has come, waiting for the first at most ``timeout_s``."""
        with self._ready:
            if not self._arrived and timeout_s > 0:
                self._ready.wait(timeout_s)
            found = list(self._arrived)
            self._arrived.clear()
        return found

"""Dynamic batching: which waiting requests run together, and when.

Knows no clock, thread or model: the caller says what time it is and how many batches may start.
Requests leave in the order in which they came and are never split over two batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the batcher reads of a request."""

    @property
    def rows(self) -> int:
        """Samples in the request."""

    @property
    def merge_key(self) -> Hashable:
        """Requests with equal keys may share a batch (same shapes but for the batch dimension)."""

    @property
    def alive(self) -> bool:
        """False once the caller has gone: the request is skipped."""


W = TypeVar("W", bound=Waiting)


class Batcher(Generic[W]):
    """A first-in first-out queue that is cut into batches of at most ``max_rows`` rows.

    A batch is ripe when nothing more fits into it, or when its oldest request has waited for
    ``max_delay_ns``. With a delay of 0 whatever waits is ripe: requests then share a batch only
    because they came while the model was busy.
    """

    def __init__(self, max_rows: int, max_delay_ns: int, max_waiting: int) -> None:
        self._max_rows = max_rows
        self._max_delay_ns = max_delay_ns
        self._max_waiting = max_waiting
        self._queue: deque[tuple[W, int]] = deque()
        self._hurried_count = 0
        self._dead_count = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, request: W, now_ns: int) -> bool:
        """Queue a request of at most ``max_rows`` rows; False if ``max_waiting`` already wait."""
        if len(self._queue) >= self._max_waiting and self._dead_count:
            self._remove_dead()
        if len(self._queue) >= self._max_waiting:
            return False
        self._queue.append((request, now_ns))
        return True

    def note_dead(self) -> None:
        """The caller of a waiting request has gone: it no longer counts among ``max_waiting``."""
        self._dead_count += 1

    def due(self, now_ns: int, free_count: int) -> list[list[W]]:
        """Take the batches to start now, at most ``free_count`` of them."""
        batches: list[list[W]] = []
        while len(batches) < free_count:
            size = self._ripe_size(now_ns)
            if size == 0:
                break
            batches.append([self._pop() for _ in range(size)])
        return batches

    def wake_ns(self) -> int | None:
        """When the oldest request becomes ripe by age; None with nothing waiting."""
        self._drop_dead()
        return self._queue[0][1] + self._max_delay_ns if self._queue else None

    def hurry(self) -> None:
        """Make everything that waits now ripe at once, as a flush wants."""
        self._hurried_count = len(self._queue)

    def _ripe_size(self, now_ns: int) -> int:
        """Length of the batch at the head of the queue, 0 if it should wait for more."""
        self._drop_dead()
        if not self._queue:
            return 0
        size, is_full = self._head_batch()
        is_old = now_ns - self._queue[0][1] >= self._max_delay_ns
        return size if is_full or is_old or self._hurried_count > 0 else 0

    def _head_batch(self) -> tuple[int, bool]:
        """How many requests from the head fit together, and whether nothing more can join them."""
        key = self._queue[0][0].merge_key
        rows = size = 0
        for request, _ in self._queue:
            if request.merge_key != key or rows + request.rows > self._max_rows:
                return size, True
            rows += request.rows
            size += 1
        return size, rows >= self._max_rows

    def _remove_dead(self) -> None:
        """Take out requests whose callers have gone, wherever they stand."""
        live = [entry for entry in self._queue if entry[0].alive]
        hurried = list(self._queue)[: self._hurried_count]
        self._hurried_count = sum(request.alive for request, _ in hurried)
        self._queue = deque(live)
        self._dead_count = 0

    def _drop_dead(self) -> None:
        while self._queue and not self._queue[0][0].alive:
            self._pop()

    def _pop(self) -> W:
        self._hurried_count = max(0, self._hurried_count - 1)
        request = self._queue.popleft()[0]
        if not request.alive:
            self._dead_count = max(0, self._dead_count - 1)
        return request

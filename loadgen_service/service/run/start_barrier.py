"""Where the streams of a mixed run meet: at their common start, and before results are made.

Each stream's conductor waits here, with its own leased workers, a deadline and a named cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen_service.core.units import NS_PER_S
from loadgen_service.service.run.leased_workers import LeasedWorkers

MEET_TIMEOUT_NS: Final = 3600 * NS_PER_S
"""Longest wait for the other streams: their own waits end far sooner, warm-ups apart."""

MORE_STREAMS: Final = 2
"""The last stream's margin times this: every stream's conductor must hear of the start first."""


class StreamGate:
    """The meetings of the streams ``names``, told apart by their index.

    ``broken`` is called once, with the index of the stream that left before it came to the start:
    the others will not meet it, so they must be stopped.
    """

    def __init__(self, names: Sequence[str], broken: Callable[[int], None]) -> None:
        self._names = names
        self._margins: dict[int, int] = {}
        self._left: set[int] = set()
        self._broken = broken
        self._all_left = asyncio.Event()
        self.t0_ns: int | None = None
        # One at a time: each may take the memory of its records.
        self.writing = asyncio.Lock()

    def awaited(self) -> list[str]:
        """Names of the streams that have not come to the start."""
        return [name for index, name in enumerate(self._names) if index not in self._margins]

    def has_come(self, stream_index: int) -> bool:
        """Whether this stream came to the start; its later series begin by themselves."""
        return stream_index in self._margins

    def has_left(self, stream_index: int) -> bool:
        """Whether this stream has no load any more."""
        return stream_index in self._left

    def come(self, stream_index: int, now_ns: int, margin_ns: int) -> None:
        """A stream is armed and needs ``margin_ns`` to begin; the last to come sets ``t0_ns``."""
        self._margins[stream_index] = margin_ns
        if not self.awaited() and not self._left:
            self.t0_ns = now_ns + MORE_STREAMS * max(self._margins.values())

    def leave(self, stream_index: int) -> None:
        """A stream has no load any more, however it ended; twice is once."""
        if stream_index in self._left:
            return
        is_first = not self._left
        self._left.add(stream_index)
        if len(self._left) == len(self._names):
            self._all_left.set()
        if is_first and self.t0_ns is None:
            self._broken(stream_index)

    async def all_left(self) -> None:
        """Until no stream has load any more: each stream's own waits have deadlines, so it ends."""
        await self._all_left.wait()


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """One stream's place at the gate."""

    gate: StreamGate
    index: int

    def meets_before(self, series_kind: str) -> bool:
        """Whether a series of this kind has to wait for the other streams: the first measured one.

        Each stream warms its SUT up by itself.
        """
        return series_kind != "warmup" and not self.gate.has_come(self.index)

    async def meet(
        self,
        leased: LeasedWorkers,
        margin_ns: int,
        look_at_clocks: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> int:
        """The common start, by the service's clock. Raises as ``LeasedWorkers.wait`` does."""
        gate = self.gate
        gate.come(self.index, leased.now_ns(), margin_ns)
        leased.sessions.changed.set()

        def is_met() -> bool:
            look_at_clocks()
            return gate.t0_ns is not None

        cause = f"streams {', '.join(gate.awaited())} were not ready for the common start"
        await leased.wait(is_met, MEET_TIMEOUT_NS, cause, stopped)
        assert gate.t0_ns is not None
        return gate.t0_ns

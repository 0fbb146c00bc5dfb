"""Handing requests over: which payload goes to which SUT, one by one or many at once.

Decides no pace and keeps no record; the loop says when, and is told which cell each request has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

from loadgen_service.sut.base import Cell, IssuesTogether, SystemUnderTest
from loadgen_service.worker.shard import Shard

TOGETHER_COUNT_MIN: Final = 8
"""Fewer requests cost less one by one."""


class Issuer:
    """Issues a shard's requests. ``pending`` gets the cell of each, by position.

    ``pulled``: the SUT by number that each open request went to, where SUTs take what they can.
    """

    def __init__(
        self, shard: Shard, suts: Sequence[SystemUnderTest], pending: dict[int, Cell]
    ) -> None:
        self._shard = shard
        self._suts = suts
        self._pending = pending
        self.pulled: dict[int, int] = {}
        self._load, self._turn = [0] * len(suts), 0
        only = suts[0] if len(suts) == 1 and shard.sut_of is None else None
        self._together = only.issue_together if isinstance(only, IssuesTogether) else None

    def issue(self, positions: Sequence[int], now_ns: int) -> None:
        """Hand the requests over, all taken at ``now_ns``."""
        if self._together is not None and len(positions) >= TOGETHER_COUNT_MIN:
            cell = self._together(positions, self._shard.payloads_of(positions), now_ns)
            if cell is not None:
                self._pending.update(zip(positions, repeat(cell), strict=False))
                self._suts[0].flush()
                return
        pending, suts = self._pending, self._suts
        payload_of = self._shard.payload_of
        if self._shard.pulled and len(suts) > 1:
            for key in positions:
                sut = self._pull(key)
                pending[key] = suts[sut].issue(key, payload_of(key), now_ns)
        elif self._shard.sut_of is not None:
            sut_of = self._shard.sut_of
            for key in positions:
                pending[key] = suts[sut_of(key)].issue(key, payload_of(key), now_ns)
        else:
            issue = suts[0].issue
            for key in positions:
                pending[key] = issue(key, payload_of(key), now_ns)
            suts[0].flush()
            return
        for one in suts:
            one.flush()

    def cancel(self, key: int) -> None:
        """Have its SUT forget the request."""
        self._suts[self.sut_of(key)].cancel(key)

    def sut_of(self, key: int) -> int:
        """The SUT, by number, that an open request went to."""
        if self._shard.pulled:
            return self.pulled.get(key, 0)
        return self._shard.sut_of(key) if self._shard.sut_of is not None else 0

    def end(self, key: int) -> int:
        """The request is settled: its SUT may take another. Returns the SUT's number."""
        sut = self.pulled.pop(key, None)
        if sut is None:
            return 0
        self._load[sut] -= 1
        return sut

    def _pull(self, key: int) -> int:
        """The SUT with the fewest requests out takes the next; of equals the one in turn."""
        load, turn = self._load, self._turn
        sut: int = min((*range(turn, len(load)), *range(turn)), key=load.__getitem__)
        self._turn = (sut + 1) % len(load)
        load[sut] += 1
        self.pulled[key] = sut
        return sut

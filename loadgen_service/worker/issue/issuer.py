"""Handing requests over: which payload goes to which SUT, SUT by SUT.

Decides no pace and keeps no record; the loop says when, and is told which cell each request has.

Which SUT has the fewest requests out, at a cost that does not grow with the number of SUTs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from loadgen_service.sut.interface import Cell, IssuesEach, SystemUnderTest
from loadgen_service.worker.issue.shard import Shard

EACH_COUNT_MIN: Final = 8
"""Fewer requests cost less one by one."""


class LeastOutstanding:
    """Requests out by SUT. The SUTs with equally many are the bits of one number."""

    def __init__(self, sut_count: int) -> None:
        self._counts = [0] * sut_count
        self._suts_with = [(1 << sut_count) - 1]  # by how many they have out
        self._fewest = 0  # no SUT has fewer out
        self._turn = 0

    def take(self) -> int:
        """The SUT with the fewest gets one more; of equals the one in turn. Returns its number."""
        with_as_many = self._suts_with
        while not with_as_many[self._fewest]:
            self._fewest += 1
        equals = with_as_many[self._fewest]
        in_turn = (equals >> self._turn << self._turn) or equals
        sut = (in_turn & -in_turn).bit_length() - 1
        self._turn = (sut + 1) % len(self._counts)
        self._count(sut, self._fewest + 1)
        return sut

    def end(self, sut: int) -> None:
        """One of a SUT's requests has ended."""
        count = self._counts[sut] - 1
        self._count(sut, count)
        self._fewest = min(self._fewest, count)

    def _count(self, sut: int, count: int) -> None:
        if count == len(self._suts_with):
            self._suts_with.append(0)
        self._suts_with[self._counts[sut]] ^= 1 << sut
        self._suts_with[count] |= 1 << sut
        self._counts[sut] = count


class Issuer:
    """Issues a shard's requests. ``pending`` gets the cell of each, by position.

    ``pulled``: the SUT by number that each open request went to, where SUTs take what they can.
    ``has_one_sut``: all go to the first.
    """

    def __init__(
        self, shard: Shard, suts: Sequence[SystemUnderTest], pending: dict[int, Cell]
    ) -> None:
        self._shard = shard
        self._suts = suts
        self._pending = pending
        self.pulled: dict[int, int] = {}
        self._least_outstanding = LeastOutstanding(len(suts))
        self._each = [sut.issue_each if isinstance(sut, IssuesEach) else None for sut in suts]
        self._choose = self._pull if shard.pulled and len(suts) > 1 else shard.sut_of
        self.has_one_sut = self._choose is None

    def issue(self, positions: Sequence[int], now_ns: int) -> None:
        """Hand the requests over, all taken at ``now_ns``."""
        for sut, keys in self.by_sut(positions):
            self.issue_to(sut, keys, now_ns)

    def by_sut(self, positions: Sequence[int]) -> Iterable[tuple[int, Sequence[int]]]:
        """The positions that each SUT, by number, gets, in order: what one write can carry."""
        choose = self._choose
        if choose is None:
            return ((0, positions),)
        chosen: dict[int, list[int]] = {}
        for key in positions:
            chosen.setdefault(choose(key), []).append(key)
        return chosen.items()

    def issue_to(self, sut: int, positions: Sequence[int], now_ns: int) -> None:
        """Hand requests over to the SUT that ``by_sut`` named for them."""
        target, pending, payload_of = self._suts[sut], self._pending, self._shard.payload_of
        each = self._each[sut]
        if each is not None and len(positions) >= EACH_COUNT_MIN:
            count, cell = each(positions, list(map(payload_of, positions)), now_ns)
            if cell is not None:
                pending.update(dict.fromkeys(positions[:count], cell))
                positions = positions[count:]
        issue = target.issue
        for key in positions:
            pending[key] = issue(key, payload_of(key), now_ns)
        target.flush()

    def issue_again(self, key: int, released_ns: int) -> Cell:
        """Hand an open request over once more, to the SUT that it went to before."""
        target = self._suts[self.sut_of(key)]
        cell = target.issue(key, self._shard.payload_of(key), released_ns)
        target.flush()
        return cell

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
        self._least_outstanding.end(sut)
        return sut

    def _pull(self, key: int) -> int:
        sut = self.pulled[key] = self._least_outstanding.take()
        return sut

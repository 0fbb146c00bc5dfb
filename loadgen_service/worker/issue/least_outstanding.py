"""Which SUT has the fewest requests out, at a cost that does not grow with the number of SUTs."""

from __future__ import annotations


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

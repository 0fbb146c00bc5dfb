"""Reads of one turn, reported together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grpc_wire.events import DONE

from loadgen_service.sut.read_coalescer import EVENTS_MAX, Read, ReadCoalescer


class Rig:
    """A gathering whose turn ends when the test says so."""

    def __init__(self) -> None:
        self.reported: list[list[Read]] = []
        self.soon: list[Callable[[], None]] = []
        self.gathering = ReadCoalescer(self._take, self.soon.append)

    def _take(self, reads: Sequence[Read]) -> None:
        self.reported.append(list(reads))

    def read(self, now_ns: int, count: int = 1) -> None:
        self.gathering(now_ns, [(DONE, now_ns, 0, b"", "")] * count)

    def end_turn(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()

    def instants(self) -> list[list[int]]:
        return [[now_ns for now_ns, _ in reads] for reads in self.reported]


def test_the_reads_of_a_turn_are_reported_at_its_end_each_with_its_instant() -> None:
    rig = Rig()
    for now_ns in (1, 2, 3):
        rig.read(now_ns)
    assert rig.reported == []
    rig.end_turn()
    rig.read(4)
    rig.end_turn()
    assert rig.instants() == [[1, 2, 3], [4]]


def test_many_events_do_not_wait_for_the_end_of_the_turn() -> None:
    rig = Rig()
    rig.read(1, EVENTS_MAX - 1)
    rig.read(2)
    assert rig.instants() == [[1, 2]]
    rig.read(3)
    rig.end_turn()
    assert rig.instants() == [[1, 2], [3]]
    assert rig.soon == []


def test_what_was_asked_for_early_is_not_reported_again() -> None:
    rig = Rig()
    rig.read(1)
    rig.gathering.report()
    rig.end_turn()
    rig.gathering.report()
    assert rig.instants() == [[1]]


def test_what_comes_while_reads_are_reported_is_not_lost() -> None:
    rig = Rig()

    def take(reads: Sequence[Read]) -> None:
        rig.reported.append(list(reads))
        if len(rig.reported) == 1:
            rig.read(2)

    rig.gathering = ReadCoalescer(take, rig.soon.append)
    rig.read(1)
    rig.end_turn()
    rig.end_turn()
    assert rig.instants() == [[1], [2]]

"""On which connection a call goes out: in turn, or where the answer came in that opened it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from grpc_wire.events import DONE, MESSAGE
from grpc_wire.headers import request_headers

from loadgen_service.sut.grpc.client import MIX_TURNS, SHARES_MAX, WirePath, WireSut
from loadgen_service.sut.net.addresses import parse_addresses


class FakeWire:
    """Takes calls while there is room."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.room = 1000

    @property
    def open_count(self) -> int:
        return len(self.keys)

    def call(self, key: int, headers: object, parts: object, *, streaming: bool) -> bool:
        if len(self.keys) >= self.room:
            return False
        self.keys.append(key)
        return True

    def calls(
        self, keys: Sequence[int], headers: object, messages: Sequence[object], each_bytes: int
    ) -> bool:
        if len(self.keys) + len(keys) > self.room:
            return False
        self.keys += keys
        return True


class FakeLink:
    """A connection without a socket."""

    def __init__(self) -> None:
        self.wire = FakeWire()
        self.is_writable = True
        self.cell: list[int] | None = None

    def new_cell(self, released_ns: int) -> list[int]:
        self.cell = [released_ns, -1]
        return self.cell

    def add_cell(self, cell: list[int]) -> None:
        """A call that had to wait brings its own."""

    def flush(self) -> None:
        self.cell = None


class Rig:
    """A SUT over fake links; each answer opens a call, as a closed loop does."""

    def __init__(self, link_count: int, keep_shares: bool, streaming: bool = False) -> None:
        (address,) = parse_addresses(["grpc://127.0.0.1:1"])
        headers = request_headers(path="/p", authority="a")
        path = WirePath(address, [("127.0.0.1", 1)], headers, 1, 1, keep_shares=keep_shares)
        path = replace(path, streaming=streaming)
        self.sut = WireSut(path, self.on_answers)
        self.links: list[Any] = [FakeLink() for _ in range(link_count)]
        self.sut._links = list(self.links)
        self.next_key = 0
        self.traced = False

    def issue(self, count: int) -> None:
        for _ in range(count):
            if self.traced:
                self.sut.issue_traced(self.next_key, b"m", 0, "00-1-2-01")
            else:
                self.sut.issue(self.next_key, b"m", 0)
            self.next_key += 1
        self.sut.flush()

    def on_answers(self, now_ns: int, events: Sequence[Any]) -> None:
        self.issue(sum(event[0] == DONE for event in events))

    def answer(self, place: int, count: int) -> None:
        link = self.links[place]
        keys, link.wire.keys = link.wire.keys[:count], link.wire.keys[count:]
        self.sut.on_events(1, [(DONE, key, 0, b"", "") for key in keys], link)

    def answer_oldest(self) -> None:
        holding = [place for place, link in enumerate(self.links) if link.wire.keys]
        self.answer(min(holding, key=lambda place: self.links[place].wire.keys[0]), 1)

    def spread(self) -> list[int]:
        return [link.wire.open_count for link in self.links]


def test_calls_rotate_until_answers_come() -> None:
    rig = Rig(3, keep_shares=True)
    rig.issue(7)
    assert sorted(rig.spread()) == [2, 2, 3]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_closed_loop_keeps_its_shares(place: int) -> None:
    rig = Rig(3, keep_shares=True)
    rig.issue(6)
    for _ in range(5):
        rig.answer(place, 2)
        assert rig.spread() == [2, 2, 2]
    assert rig.links[place].wire.keys == [rig.next_key - 2, rig.next_key - 1]


def test_answers_that_are_reported_together_keep_the_shares_too() -> None:
    rig = Rig(3, keep_shares=True)
    rig.issue(9)
    together: list[Any] = []
    rig.sut._sink = lambda now_ns, events: together.extend(events)
    for _ in range(4):
        rig.answer(0, 3)
        rig.answer(2, 1)
        rig.issue(len(together))
        together.clear()
        assert rig.spread() == [3, 3, 3]


def test_pieces_of_an_answer_open_no_call() -> None:
    rig = Rig(2, keep_shares=True, streaming=True)
    rig.issue(4)
    rig.sut.on_events(1, [(MESSAGE, 0, b"piece")] * 3, rig.links[1])
    rig.answer(0, 1)
    rig.answer(0, 1)
    assert rig.spread() == [2, 2]


def test_a_connection_that_was_lost_leaves_its_calls_to_the_others() -> None:
    rig = Rig(3, keep_shares=True)
    rig.issue(9)
    rig.sut._sink = lambda now_ns, events: None
    rig.answer(0, 3)
    rig.answer(1, 3)
    rig.links[0].is_writable = rig.links[1].is_writable = False
    rig.links[2].wire.room = 9
    rig.issue(6)
    assert rig.spread() == [0, 0, 9]
    assert rig.sut.blocked_count == 0


def test_answers_that_open_no_call_are_not_remembered_without_end() -> None:
    rig = Rig(2, keep_shares=True)
    rig.sut._sink = lambda now_ns, events: None
    for _ in range(SHARES_MAX + 10):
        rig.issue(1)
        rig.sut._shares.clear()
    for place in (0, 1):
        while rig.links[place].wire.keys:
            rig.answer(place, 1)
    assert len(rig.sut._shares) == SHARES_MAX
    rig.issue(8)
    assert rig.spread() == [8, 0]


def test_an_open_loop_gives_each_connection_as_many_calls() -> None:
    rig = Rig(3, keep_shares=False)
    rig.issue(6)
    rig.answer(0, 2)
    rig.answer(0, 1)
    assert sum(rig.spread()) == 6
    assert rig.spread() != [2, 2, 2]


def test_where_there_is_no_room_another_connection_takes_the_call() -> None:
    rig = Rig(2, keep_shares=True)
    rig.issue(4)
    rig.links[0].is_writable = False
    rig.answer(0, 2)
    assert rig.spread() == [0, 4]
    assert rig.sut.blocked_count == 0


def test_traced_calls_find_another_connection_too() -> None:
    rig = Rig(2, keep_shares=True)
    rig.issue(8)
    rig.links[0].is_writable = False
    rig.traced = True
    rig.answer(0, 4)
    assert rig.spread() == [0, 8]
    assert rig.sut.blocked_count == 0


def test_a_connection_that_goes_away_gets_no_more_calls() -> None:
    rig = Rig(2, keep_shares=True)
    rig.issue(4)
    rig.sut._links.remove(rig.links[0])
    rig.sut._retiring.add(rig.links[0])
    rig.answer(0, 2)
    assert rig.spread() == [0, 4]


def test_a_new_connection_gets_its_share() -> None:
    rig = Rig(2, keep_shares=True)
    rig.issue(8)
    rig.links.append(FakeLink())
    rig.sut._links = list(rig.links)
    rig.sut._mix_count = MIX_TURNS * 8
    for _ in range(MIX_TURNS * 8):
        rig.answer_oldest()
    assert sorted(rig.spread()) == [2, 3, 3]
    mixed = rig.spread()
    for _ in range(9):
        rig.answer_oldest()
        assert rig.spread() == mixed


def test_one_connection_takes_many_calls_together_and_they_share_a_cell() -> None:
    rig = Rig(1, keep_shares=True)
    cell = rig.sut.issue_together(range(5), [b"m"] * 5, 9, 1)
    assert cell is not None
    assert rig.sut.issue(5, b"m", 9) is cell
    assert rig.sut.issue(6, b"m", 10) is not cell
    assert rig.links[0].wire.keys == list(range(7))


@pytest.mark.parametrize("why", ["no room", "not writable", "calls wait", "streams", "two", "none"])
def test_otherwise_nothing_is_done(why: str) -> None:
    rig = Rig({"two": 2, "none": 0}.get(why, 1), keep_shares=True, streaming=why == "streams")
    for link in rig.links:
        link.wire.room = 4 if why == "no room" else 1000
        link.is_writable = why != "not writable"
    if why == "calls wait":
        rig.sut.waiting[77] = (b"m", [0, -1], rig.sut._path.headers)
    assert rig.sut.issue_together(range(5), [b"m"] * 5, 9, 1) is None
    assert all(not link.wire.keys and link.cell is None for link in rig.links)

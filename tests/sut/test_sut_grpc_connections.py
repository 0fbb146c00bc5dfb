"""On which connection a call goes out: that with the fewest open, in turn among equals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc_wire.events import DONE
from grpc_wire.headers import request_headers

from loadgen_service.sut.grpc.client import WirePath, WireSut
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
    """A SUT over fake connections; each answer opens a call, as a closed loop does."""

    def __init__(self, link_count: int) -> None:
        (address,) = parse_addresses(["grpc://127.0.0.1:1"])
        headers = request_headers(path="/p", authority="a")
        path = WirePath(address, [("127.0.0.1", 1)], headers, 1, 1)
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

    def answer(self, index: int, count: int) -> None:
        wire = self.links[index].wire
        keys, wire.keys = wire.keys[:count], wire.keys[count:]
        self.sut.on_events(1, [(DONE, key, 0, b"", "") for key in keys])

    def spread(self) -> list[int]:
        return [link.wire.open_count for link in self.links]


def test_each_connection_gets_as_many_calls() -> None:
    rig = Rig(3)
    rig.issue(6)
    assert rig.spread() == [2, 2, 2]
    rig.issue(1)
    assert sorted(rig.spread()) == [2, 2, 3]


def test_calls_go_out_where_answers_came_from() -> None:
    rig = Rig(3)
    rig.issue(6)
    rig.answer(0, 2)
    assert rig.spread() == [2, 2, 2]
    assert [sum(key >= 6 for key in link.wire.keys) for link in rig.links] == [2, 0, 0]
    rig.answer(1, 1)
    assert [sum(key >= 8 for key in link.wire.keys) for link in rig.links] == [0, 1, 0]


def test_idle_connections_take_their_turn() -> None:
    rig = Rig(3)
    used = []
    for _ in range(6):
        rig.issue(1)
        (index,) = (at for at, link in enumerate(rig.links) if link.wire.keys)
        used.append(index)
        rig.links[index].wire.keys.clear()
    assert sorted(used) == [0, 0, 1, 1, 2, 2]


def test_where_there_is_no_room_another_connection_takes_the_call() -> None:
    rig = Rig(2)
    rig.issue(4)
    rig.links[0].is_writable = False
    rig.answer(0, 2)
    assert rig.spread() == [0, 4]
    assert rig.sut.blocked_count == 0


def test_traced_calls_find_another_connection_too() -> None:
    rig = Rig(2)
    rig.issue(8)
    rig.links[0].is_writable = False
    rig.traced = True
    rig.answer(0, 4)
    assert rig.spread() == [0, 8]
    assert rig.sut.blocked_count == 0


def test_calls_wait_in_order_where_no_connection_has_room() -> None:
    rig = Rig(2)
    for link in rig.links:
        link.wire.room = 2
    rig.issue(6)
    assert rig.spread() == [2, 2]
    assert list(rig.sut.waiting) == [4, 5]
    assert rig.sut.blocked_count == 2
    rig.links[1].wire.room = 3
    rig.sut.sweep(5)
    assert rig.spread() == [2, 3]
    assert list(rig.sut.waiting) == [5]

"""Requests handed over one by one or together: the same payloads, keys and cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_fakes import FakeClock, FakeSut, Rig

from loadgen_service.core.plan.plan import SampleCounts
from loadgen_service.core.settings import Settings
from loadgen_service.sut.interface import Cell, Parts
from loadgen_service.worker.issue.issuer import TOGETHER_COUNT_MIN, Issuer
from loadgen_service.worker.issue.least_outstanding import LeastOutstanding

MANY = TOGETHER_COUNT_MIN


class TogetherSut(FakeSut):
    """Takes many calls at once, while it ``is_willing``."""

    is_willing = True

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.together: list[list[int]] = []

    def issue_together(
        self, keys: Sequence[int], messages: Sequence[Parts], released_ns: int, each_bytes: int
    ) -> Cell | None:
        if not self.is_willing:
            return None
        assert each_bytes == 0 or {len(message) for message in messages} == {each_bytes}
        self.together.append(list(keys))
        cell = [released_ns, -1]
        self.open.update({k: (m, cell) for k, m in zip(keys, messages, strict=True)})
        self._fresh.append(cell)
        return cell


def shard_of(tmp_path: Path, worker: tuple[int, int] = (0, 1), **given: Any) -> Any:
    wanted: dict[str, Any] = {"min_duration_ms": 10, "min_query_count": 50, **given}
    rig = Rig(tmp_path, Settings(**wanted), samples=SampleCounts(7, 7), worker=worker)
    return rig.loop._shard


CLOSED = {"scenario": "concurrency", "concurrency": 64}
OPEN = {"scenario": "server", "target_qps": 10_000}


@pytest.mark.parametrize("worker", [(0, 1), (0, 3), (2, 3)])
@pytest.mark.parametrize("given", [CLOSED, OPEN], ids=["closed", "open"])
def test_together_and_one_by_one_are_the_same(
    tmp_path: Path, given: dict[str, Any], worker: tuple[int, int]
) -> None:
    shard = shard_of(tmp_path, worker, **given)
    opened = []
    for sut in (TogetherSut(), FakeSut(FakeClock())):
        pending: dict[int, Cell] = {}
        issuer = Issuer(shard, [sut], pending)  # type: ignore[list-item]  # never opened
        for first in range(0, 2 * MANY, MANY):
            issuer.issue(range(first, first + MANY), 17)
        assert list(pending) == list(range(2 * MANY))
        assert all(cell == [17, sut._clock()] for cell in pending.values())
        opened.append({key: parts for key, (parts, _) in sut.open.items()})
    assert opened[0] == opened[1]


@pytest.mark.parametrize("worker", [(0, 1), (1, 2)])
@pytest.mark.parametrize("given", [CLOSED, OPEN], ids=["closed", "open"])
def test_payloads_of_a_range_are_those_of_its_positions(
    tmp_path: Path, given: dict[str, Any], worker: tuple[int, int]
) -> None:
    shard = shard_of(tmp_path, worker, **given)
    count = len(shard._round or shard._samples)
    around_its_end = range(count // worker[1] - 2 * MANY, count // worker[1] + MANY)
    for first in range(count - MANY) if given is OPEN else [0, 1, *around_its_end]:
        positions = range(first, first + MANY)
        wanted = [shard.payload_of(position) for position in positions]
        assert shard.payloads_of(positions) == wanted
        assert shard.payloads_of(list(positions)) == wanted


@pytest.mark.parametrize(
    ("build", "each_bytes"),
    [
        (lambda samples: b"ab", 2),
        (lambda samples: bytes(1 + samples[0] % 2), 0),
        (lambda samples: (b"a", b"b"), 0),
        (lambda samples: (b"a", b"b") if samples[0] else b"ab", 0),
    ],
    ids=["alike", "of two lengths", "in parts", "some in parts"],
)
def test_the_length_of_each_payload_is_said_where_it_is_known(
    tmp_path: Path, build: Any, each_bytes: int
) -> None:
    rig = Rig(tmp_path, Settings(**CLOSED), samples=SampleCounts(7, 7), build=build)
    assert rig.loop._shard.payload_bytes == each_bytes


def test_few_go_one_by_one_and_so_do_those_that_find_no_room(tmp_path: Path) -> None:
    sut, pending = TogetherSut(), {}
    issuer = Issuer(shard_of(tmp_path, **CLOSED), [sut], pending)  # type: ignore[list-item]
    issuer.issue(range(MANY - 1), 1)
    assert not sut.together
    sut.is_willing = False
    issuer.issue(range(MANY, 2 * MANY), 2)
    assert not sut.together
    assert list(sut.open) == list(pending) == [*range(MANY - 1), *range(MANY, 2 * MANY)]


def test_each_of_several_suts_gets_its_requests_together(tmp_path: Path) -> None:
    suts = [TogetherSut(), TogetherSut()]
    shard = shard_of(tmp_path, scenario="offline", target_qps=1000)
    issuer = Issuer(shard, suts, {})  # type: ignore[arg-type]
    issuer.issue(range(2 * MANY), 1)
    assert [sut.together for sut in suts] == [
        [list(range(0, 2 * MANY, 2))],
        [list(range(1, 2 * MANY, 2))],
    ]
    assert [issuer.end(key) for key in (0, 1)] == [0, 1]
    assert issuer.end(0) == 0


@pytest.mark.parametrize(("sut_count", "out", "writes"), [(1, 64, 2), (2, 80, 2), (8, 256, 2)])
def test_a_burst_leaves_in_as_few_writes_a_sut_with_several_as_with_one(
    tmp_path: Path, sut_count: int, out: int, writes: int
) -> None:
    addresses = [f"grpc://127.0.0.1:{9000 + number}" for number in range(sut_count)]
    wanted = {"scenario": "concurrency", "concurrency": out, "sut": addresses}
    rig = Rig(tmp_path, Settings(**wanted), sut_count=sut_count)  # type: ignore[arg-type]
    rig.wake()
    assert [len(sut.open) for sut in rig.suts] == [out // sut_count] * sut_count
    assert [sut.flush_count for sut in rig.suts] == [writes] * sut_count
    for number, sut in enumerate(rig.suts):
        assert all(key % sut_count == number for key in sut.open)


def test_what_the_writes_to_other_suts_cost_is_not_charged_to_a_sut(tmp_path: Path) -> None:
    addresses = [f"grpc://127.0.0.1:{9000 + number}" for number in range(4)]
    wanted = {"scenario": "concurrency", "concurrency": 40, "sut": addresses}
    rig = Rig(tmp_path, Settings(**wanted), sut_count=4)  # type: ignore[arg-type]

    def slow_flush(self: FakeSut) -> None:
        rig.clock.now_ns += 1_000
        FakeSut.flush(self)

    for sut in rig.suts:
        sut.flush = slow_flush.__get__(sut)  # type: ignore[method-assign]
    rig.wake()
    for answered in (0, 2):  # a burst at the start; what some answers open leaves whole
        rig.loop.on_events(
            rig.clock.now_ns,
            [event for sut in rig.suts for event in sut.answers(list(sut.open)[:answered])],
        )
        cells = [cell for sut in rig.suts for _, cell in sut.open.values()]
        assert len(cells) == 40
        assert {issued - taken for taken, issued in cells} == {1_000}


@given(
    sut_count=st.integers(1, 9),
    choices=st.lists(st.integers(0, 30), max_size=200),
)
def test_the_fewest_out_is_the_first_of_the_fewest_from_the_one_in_turn(
    sut_count: int, choices: list[int]
) -> None:
    fewest = LeastOutstanding(sut_count)
    counts, turn = [0] * sut_count, 0
    for choice in choices:
        busy = [sut for sut, count in enumerate(counts) if count]
        if choice < 12 and busy:
            sut = busy[choice % len(busy)]
            counts[sut] -= 1
            fewest.end(sut)
            continue
        in_turn = [*range(turn, sut_count), *range(turn)]
        wanted = min(in_turn, key=counts.__getitem__)
        assert fewest.take() == wanted
        counts[wanted] += 1
        turn = (wanted + 1) % sut_count

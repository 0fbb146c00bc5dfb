"""Which SUT a request goes to, and in how many writes."""

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
from loadgen_service.worker.issue.issuer import EACH_COUNT_MIN, Issuer, LeastOutstanding


def shard_of(tmp_path: Path, worker: tuple[int, int] = (0, 1), **given: Any) -> Any:
    wanted: dict[str, Any] = {"min_duration_ms": 10, "min_query_count": 50, **given}
    rig = Rig(tmp_path, Settings(**wanted), samples=SampleCounts(7, 7), worker=worker)
    return rig.loop._shard


CLOSED = {"scenario": "concurrency", "concurrency": 64}
OPEN = {"scenario": "server", "target_qps": 10_000}


class EachSut(FakeSut):
    """Takes at most ``most`` calls with one look."""

    def __init__(self, most: int) -> None:
        super().__init__(FakeClock())
        self.most = most
        self.taken: list[int] = []

    def issue_each(
        self, keys: Sequence[int], messages: Sequence[Parts], released_ns: int
    ) -> tuple[int, Cell | None]:
        count = min(self.most, len(keys))
        if not count:
            return 0, None
        cell = [released_ns, -1]
        for key, message in zip(keys[:count], messages, strict=False):
            self.open[key] = (message, cell)
        self.taken += keys[:count]
        self._fresh.append(cell)
        return count, cell


@pytest.mark.parametrize("most", [0, 3, 1000])
@pytest.mark.parametrize("given", [CLOSED, OPEN], ids=["closed", "open"])
def test_taken_with_one_look_or_one_by_one_is_the_same(
    tmp_path: Path, most: int, given: dict[str, Any]
) -> None:
    shard = shard_of(tmp_path, **given)
    opened = []
    for sut in (EachSut(most), FakeSut(FakeClock())):
        pending: dict[int, Cell] = {}
        issuer = Issuer(shard, [sut], pending)  # type: ignore[list-item]  # never opened
        issuer.issue(range(EACH_COUNT_MIN - 1), 17)
        issuer.issue(range(EACH_COUNT_MIN, 2 * EACH_COUNT_MIN), 18)
        assert list(pending) == [*range(7), *range(8, 16)]
        assert [cell[0] for cell in pending.values()] == [17] * 7 + [18] * 8
        assert all(cell[1] == sut._clock() for cell in pending.values())
        opened.append({key: parts for key, (parts, _) in sut.open.items()})
    assert opened[0] == opened[1]


def test_each_of_several_suts_gets_its_requests(tmp_path: Path) -> None:
    suts = [FakeSut(FakeClock()), FakeSut(FakeClock())]
    shard = shard_of(tmp_path, scenario="offline", target_qps=1000)
    pending: dict[int, Cell] = {}
    issuer = Issuer(shard, suts, pending)  # type: ignore[arg-type]
    issuer.issue(range(10), 1)
    assert [list(sut.open) for sut in suts] == [list(range(0, 10, 2)), list(range(1, 10, 2))]
    assert sorted(pending) == list(range(10))
    assert [issuer.end(key) for key in (0, 1)] == [0, 1]
    assert issuer.end(0) == 0


@pytest.mark.parametrize(
    ("sut_count", "out", "writes"), [(1, 64, 2), (2, 80, 2), (8, 256, 2), (8, 64, 1)]
)
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

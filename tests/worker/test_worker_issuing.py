"""Requests handed over one by one or together: the same payloads, keys and cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from worker_fakes import FakeClock, FakeSut, Rig

from loadgen_service.core.plan import SampleCounts
from loadgen_service.core.settings import Settings
from loadgen_service.sut.base import Cell, Parts
from loadgen_service.worker.issuing import TOGETHER_COUNT_MIN, Issuer

MANY = TOGETHER_COUNT_MIN


class TogetherSut(FakeSut):
    """Takes many calls at once, while it ``is_willing``."""

    is_willing = True

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.together: list[list[int]] = []

    def issue_together(
        self, keys: Sequence[int], messages: Sequence[Parts], taken_ns: int
    ) -> Cell | None:
        if not self.is_willing:
            return None
        self.together.append(list(keys))
        cell = [taken_ns, -1]
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
    count = len(shard._samples)
    around_its_end = range(count // worker[1] - 2 * MANY, count // worker[1] + MANY)
    for first in range(count - MANY) if given is OPEN else [0, 1, *around_its_end]:
        positions = range(first, first + MANY)
        wanted = [shard.payload_of(position) for position in positions]
        assert shard.payloads_of(positions) == wanted
        assert shard.payloads_of(list(positions)) == wanted


def test_few_go_one_by_one_and_so_do_those_that_find_no_room(tmp_path: Path) -> None:
    sut, pending = TogetherSut(), {}
    issuer = Issuer(shard_of(tmp_path, **CLOSED), [sut], pending)  # type: ignore[list-item]
    issuer.issue(range(MANY - 1), 1)
    assert not sut.together
    sut.is_willing = False
    issuer.issue(range(MANY, 2 * MANY), 2)
    assert not sut.together
    assert list(sut.open) == list(pending) == [*range(MANY - 1), *range(MANY, 2 * MANY)]


def test_with_several_suts_each_request_goes_its_own_way(tmp_path: Path) -> None:
    suts = [TogetherSut(), TogetherSut()]
    shard = shard_of(tmp_path, scenario="offline", target_qps=1000)
    issuer = Issuer(shard, suts, {})  # type: ignore[arg-type]
    issuer.issue(range(2 * MANY), 1)
    assert not any(sut.together for sut in suts)
    assert [len(sut.open) for sut in suts] == [MANY, MANY]
    assert [issuer.end(key) for key in (0, 1)] == [0, 1]
    assert issuer.end(0) == 0

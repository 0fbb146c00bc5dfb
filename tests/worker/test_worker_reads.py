"""The loop, where answers of several reads are reported together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worker_fakes import T0_NS, Rig

from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.sut.interface import MESSAGE
from loadgen_service.sut.read_coalescer import ReadCoalescer
from loadgen_service.worker.session.series import Series


def rig_of(tmp_path: Path, keep_responses: bool = False, **given: Any) -> Rig:
    wanted = {"min_duration_ms": 10, "min_query_count": 20, "timeout_ms": 1000, **given}
    rig = Rig(tmp_path, Settings(**wanted), keep_responses=keep_responses)
    rig.wake()
    return rig


def test_each_read_has_its_own_instant_and_a_closed_loop_counts_from_the_first(
    tmp_path: Path,
) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=4)
    sut = rig.suts[0]
    rig.at(70)
    rig.loop.on_reads(
        [(T0_NS + 50, sut.answers([0, 1])), (T0_NS + 60, sut.answers([2], 14, "gone"))]
    )
    assert list(sut.open) == [3, 4, 5, 6]
    rig.at(90)
    rig.answer([3, 4, 5, 6])
    columns = rig.columns()
    assert columns["row"].tolist() == list(range(7))
    assert columns["completed_ns"].tolist() == [50, 50, 60, 90, 90, 90, 90]
    assert columns["status"].tolist()[2] == Status.FAILED
    assert columns["scheduled_ns"].tolist() == [0, 0, 0, 0, 50, 50, 50]
    assert columns["issued_ns"].tolist()[4:] == [70, 70, 70]


def test_an_open_loop_issues_what_is_due_at_the_last_read(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="server", target_qps=1_000_000, arrivals="constant")
    first, second = rig.plan.scheduled_ns[1:3].tolist()
    sut = rig.suts[0]
    rig.at(second)
    rig.loop.on_reads([(T0_NS + first, sut.answers([0])), (T0_NS + second, [])])
    assert sorted(sut.open) == [1, 2]
    assert rig.loop.completed_count == 1


def test_pieces_of_streams_have_the_instant_of_their_read(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=2)
    done = rig.suts[0].answers([0])
    rig.loop.on_reads(
        [
            (T0_NS + 10, [(MESSAGE, 0, b"a")]),
            (T0_NS + 20, [(MESSAGE, 1, b"a")]),
            (T0_NS + 30, [(MESSAGE, 0, b"b"), *done]),
        ]
    )
    columns = rig.columns()
    assert columns["first_response_ns"].tolist() == [10]
    assert columns["completed_ns"].tolist() == [30]
    assert columns["token_count"].tolist() == [2]


@pytest.mark.parametrize("concurrency", [64, 200])
def test_more_answers_than_a_block_of_the_log_holds_are_all_recorded(
    tmp_path: Path, concurrency: int
) -> None:
    rig = rig_of(tmp_path, True, scenario="concurrency", concurrency=concurrency)
    rig.run_soon()
    rig.loop.stop(0)
    sut = rig.suts[0]
    keys = list(sut.open)
    assert len(keys) == concurrency
    reads = [(T0_NS + 100 + key, sut.answers([key])) for key in keys]
    rig.loop.on_reads(reads)
    columns = rig.columns()
    assert columns["completed_ns"].tolist() == [100 + key for key in keys]
    assert [key for key, _ in rig.loop.answers.responses] == keys
    assert rig.said == ["all issued", "finished"]


def test_one_read_with_more_answers_than_a_block_keeps_them_all(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, True, scenario="concurrency", concurrency=150)
    rig.run_soon()
    rig.loop.stop(0)
    keys = list(rig.suts[0].open)
    rig.answer(keys)
    assert [key for key, _ in rig.loop.answers.responses] == keys
    assert rig.columns()["row"].tolist() == keys


@pytest.mark.parametrize("happens", ["abandon", "wake"])
def test_what_was_read_before_something_happens_is_recorded_before_it(
    tmp_path: Path, happens: str
) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=3)
    series = object.__new__(Series)  # its clockwork alone: no loop, no sockets
    series._loop = rig.loop
    series._read_coalescer = ReadCoalescer(rig.loop.on_reads, lambda report: None)
    series._read_coalescer(T0_NS + 50, rig.suts[0].answers([1]))
    assert rig.loop.completed_count == 0
    if happens == "abandon":
        series.abandon("the user left")
    else:
        series._wake_after_reads()
    assert rig.loop.completed_count == 1
    assert rig.columns()["completed_ns"].tolist()[0] == 50

"""Requests that a SUT has certainly not processed: sent again, counted, never a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker_fakes import Rig

from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.sut.interface import REFUSED

MS = 1_000_000


def rig_of(tmp_path: Path, **given: Any) -> Rig:
    base: dict[str, Any] = {"min_duration_ms": 10, "min_query_count": 20, "timeout_ms": 100}
    return Rig(tmp_path, Settings(**{**base, **given}))


def refuse(rig: Rig, keys: list[int]) -> None:
    for key in keys:
        del rig.suts[0].open[key]
    rig.loop.on_events(rig.clock.now_ns, [(REFUSED, key, "GOAWAY") for key in keys])
    rig.run_soon()


def test_a_refused_request_is_sent_again_with_its_payload_and_its_release(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=3)
    rig.wake()
    before = {key: parts for key, (parts, _) in rig.suts[0].open.items()}
    rig.at(2 * MS)
    refuse(rig, [0, 2])
    assert sorted(rig.suts[0].open) == [0, 1, 2]
    assert {key: parts for key, (parts, _) in rig.suts[0].open.items()} == before
    rig.at(5 * MS)
    rig.answer([0, 1])
    columns = rig.columns()
    assert columns["row"].tolist() == [0, 1]
    assert columns["released_ns"].tolist() == [0, 0]
    assert columns["issued_ns"].tolist() == [2 * MS, 0]
    assert columns["completed_ns"].tolist() == [5 * MS, 5 * MS]
    assert (columns["status"] == Status.COMPLETED).all()
    assert rig.loop.resends.count == 2
    assert rig.loop.issued_count == 5  # three at first, two that the answers opened
    assert not rig.loop.errors


def test_a_refused_request_that_was_given_up_is_not_sent_again(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=2)
    rig.wake()
    rig.at(200 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    assert rig.loop.timed_out_count == 2
    rig.loop.on_events(rig.clock.now_ns, [(REFUSED, 0, "GOAWAY")])
    assert rig.loop.resends.count == 0


def test_the_deadline_counts_from_the_first_sending(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=1)
    rig.wake()
    for at_ms in (30, 60, 90):
        rig.at(at_ms * MS)
        refuse(rig, [0])
        rig.loop.sweep(rig.clock.now_ns)
    assert rig.loop.timed_out_count == 0
    rig.at(101 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    assert rig.loop.timed_out_count == 1
    assert rig.loop.resends.count == 3
    assert not rig.loop.resends.first_issued_ns


def test_the_most_that_were_out_does_not_count_those_that_wait(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, scenario="concurrency", concurrency=8)
    rig.suts[0].room = 3
    rig.wake()
    rig.loop.sweep(rig.clock.now_ns)
    assert rig.loop.outstanding_count == 8
    assert rig.loop.peak_outstanding == 3

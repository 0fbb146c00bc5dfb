"""Links with known one-way delays: the hop breakdown finds them, each within its error bar.

Two links are slower one way than the other, which no exchange of stamps can see: there the bar has
to be wide enough, and the estimate is wrong by as much as the bar allows.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fault_runs import Ended, Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

MS = 1e6
DELAYS_MS = {
    ("worker1", "sut1"): (5, 5),
    ("worker1", "sut2"): (20, 20),
    ("worker2", "sut1"): (25, 5),
    ("worker2", "sut2"): (2, 22),
}
"""There and back."""

# What two busy processors may add to a packet's way, twice over: our stamps are not the wire's.
BUSY_MS = 15
SHARE_MS = 1
"""What stamps and rounding may take off."""

FLAGS = ("--routing", "weights", "--sut-weights", "1,1", "--target-latency-ms", "500")


def run(fleet: Fleet, workers: int) -> Ended:
    asker = fleet.begin(*FLAGS, workers=workers)
    return fleet.finish(asker, time.monotonic())


def hops_of(ended: Ended, worker: dict[str, Any], sut: int) -> dict[str, np.ndarray]:
    """The halves of all requests of a worker to a SUT, made from the files as the page says."""
    names = ("worker_index", "sut_index", "status", "issued_ns", "completed_ns")
    rows = ended.columns(*names, "server_received_ns", "server_sent_ns")
    mine = (
        (rows["worker_index"] == worker["worker_index"])
        & (rows["sut_index"] == sut)
        & (rows["status"] == 1)
    )
    rows = {name: column[mine] for name, column in rows.items()}
    clocks = [one for one in worker["clocks"] if one["sut_index"] == sut]
    assert len(clocks) >= 2, "measured before and after the load"
    at = np.array([one["at_ns"] for one in clocks])
    assert at.min() < 0 < at.max()
    middle = (rows["issued_ns"] + rows["completed_ns"]) / 2
    first = clocks[0]["offset_ns"]
    moved = np.interp(middle, at, [one["offset_ns"] - first for one in clocks])
    shift = worker["start_clock_ns"] + first + np.rint(moved).astype(np.int64)
    return {
        "there": (rows["server_received_ns"] - shift - rows["issued_ns"]) / MS,
        "back": (rows["completed_ns"] - (rows["server_sent_ns"] - shift)) / MS,
        "bar": np.interp(middle, at, [one["error_ns"] for one in clocks]) / MS,
    }


def check_pair(hops: dict[str, np.ndarray], there_ms: float, back_ms: float) -> None:
    bar = np.median(hops["bar"])
    assert bar >= (there_ms + back_ms) / 2 - SHARE_MS
    for way, true_ms in (("there", there_ms), ("back", back_ms)):
        found = np.median(hops[way])
        assert true_ms - bar - SHARE_MS <= found <= true_ms + bar + BUSY_MS, (way, found, bar)
    both = hops["there"] + hops["back"]
    assert both.min() >= there_ms + back_ms - SHARE_MS
    assert np.median(both) <= there_ms + back_ms + 2 * BUSY_MS


def test_hops_are_the_injected_delays_within_their_bars(
    fleet: Fleet, fault_table: list[str]
) -> None:
    fleet.start()
    for (worker, sut), (there, back) in DELAYS_MS.items():
        fleet.hosts.shape(worker, sut, delay_ms=there, delay_back_ms=back)
    plans = []
    for count in (1, 2):
        ended = run(fleet, count)
        counts = ended.require_closed_accounts()
        assert counts["completed"] == counts["planned"]
        fault_table.append(ended.row(f"known delays, {count} worker(s)"))
        pids = {process.pid: f"worker{i}" for i, process in enumerate(fleet.workers, start=1)}
        workers = ended.summary["workers"]
        assert len(workers) == count
        for worker in workers:
            for sut in (0, 1):
                delays = DELAYS_MS[pids[worker["pid"]], f"sut{sut + 1}"]
                hops = hops_of(ended, worker, sut)
                check_pair(hops, *delays)
                fault_table.append(_row(pids[worker["pid"]], sut, delays, hops))
        check_summary(ended)
        rows = ended.columns("seq_id", "scheduled_ns", "sample_index", "sut_index")
        plans.append((ended.summary["plan_hash"], rows))
    assert plans[0][0] == plans[1][0]
    for name, column in plans[0][1].items():
        assert (column == plans[1][1][name]).all(), name


def check_summary(ended: Ended) -> None:
    """The page's own figures agree with those made from the files."""
    for part in ("suts", "workers"):
        for one in ended.summary[part]:
            assert one["to_sut_ns"]["count"] == one["requests"]["completed"]
            assert one["hop_error_ns"] > 0
            total = one["to_sut_ns"]["mean"] + one["from_sut_ns"]["mean"]
            assert abs(total - one["network_ns"]["mean"]) <= 2
    assert "to the SUT" in (ended.directory / "report.txt").read_text()


def _row(worker: str, sut: int, delays: tuple[int, int], hops: dict[str, np.ndarray]) -> str:
    found = " / ".join(f"{np.median(hops[way]):.1f}" for way in ("there", "back"))
    bar = np.median(hops["bar"])
    injected = " / ".join(str(one) for one in delays)
    return f"| {worker} to sut{sut + 1} | injected {injected} ms | {found} +- {bar:.1f} ms | |"

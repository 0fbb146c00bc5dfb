"""The points of the live page, from series that are fed by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from loadgen_service.core.records.columns import Status
from loadgen_service.service.collect.live_stats import LiveStats, figures_of
from loadgen_service.web.timeline import POINTS_MAX, RUNS_MAX, Timeline, Timelines

S, MS = 1_000_000_000, 1_000_000


def run_with(live: LiveStats, run_id: str = "r", suts: int = 2) -> Any:
    return SimpleNamespace(
        run_id=run_id,
        series=SimpleNamespace(index=0),
        collector=SimpleNamespace(live={0: live}),
        t0_ns=0,
        sut_addresses=["a", "b"][:suts],
        hear_workers=lambda now_ns: None,
    )


def feed(live: LiveStats, at_ns: int, latencies_ms: list[float], failed: int = 0) -> None:
    """Rows whose last one was answered at ``at_ns``, to the SUTs in turn."""
    latency = np.array([int(ms * MS) for ms in latencies_ms] + [MS] * failed, dtype=np.int64)
    scheduled = at_ns - latency
    status = [Status.COMPLETED] * len(latencies_ms) + [Status.FAILED] * failed
    columns = {
        "status": np.array(status, dtype=np.uint8),
        "sut_index": (np.arange(len(latency)) % 2).astype(np.int16),
        "scheduled_ns": scheduled,
        "issued_ns": scheduled + 1000,
        "completed_ns": scheduled + latency,
    }
    live.take(figures_of(columns))


def test_a_point_is_of_what_came_since_the_last():
    live, timeline = LiveStats(), Timeline()
    feed(live, S, [10.0] * 50)
    timeline.look(run_with(live), S)
    feed(live, 2 * S, [100.0] * 30, failed=10)
    timeline.look(run_with(live), 2 * S)
    first, second = timeline.points
    assert (first["qps"], second["qps"]) == (50.0, 30.0)
    assert (first["errors"], second["errors"]) == (0.0, 10.0)
    assert abs(first["p99"] - 10) < 0.1
    assert abs(second["p50"] - 100) < 1
    assert [sut["qps"] for sut in second["suts"]] == [15.0, 15.0]


def test_a_point_without_answers_has_no_latency_and_no_rate():
    live, timeline = LiveStats(), Timeline()
    feed(live, S, [10.0] * 5)
    timeline.look(run_with(live), S)
    live.hear_issued(0, 9)
    timeline.look(run_with(live), 2 * S)
    assert timeline.points[1]["p99"] is None
    assert timeline.points[1]["qps"] == 0.0
    assert timeline.points[1]["outstanding"] == 4


def test_nothing_is_added_once_everything_is_answered():
    live, timeline = LiveStats(), Timeline()
    feed(live, S, [10.0] * 5)
    for second in range(1, 10):
        timeline.look(run_with(live), second * S)
    assert len(timeline.points) == 1


def test_a_new_series_goes_on_in_the_same_time():
    timeline, warm, live = Timeline(), LiveStats(kind="warmup"), LiveStats()
    feed(warm, S, [10.0] * 5)
    timeline.look(run_with(warm), S)
    feed(live, S, [20.0] * 5)
    timeline.look(run_with(live), 3 * S)
    assert [point["t"] for point in timeline.points] == [1.0, 3.0]
    assert abs(timeline.points[1]["p50"] - 20) < 0.2


def test_a_long_run_is_thinned_and_stays_bounded():
    live, timeline = LiveStats(), Timeline()
    for second in range(1, 3 * POINTS_MAX):
        feed(live, second * S, [10.0])
        timeline.look(run_with(live), second * S)
    assert len(timeline.points) < POINTS_MAX
    assert timeline.thinned >= 1
    seconds = [point["t"] for point in timeline.points]
    assert seconds == sorted(seconds)


def test_old_runs_are_forgotten():
    timelines = Timelines()
    for number in range(RUNS_MAX + 3):
        live = LiveStats()
        feed(live, S, [1.0])
        timelines.look([run_with(live, f"run{number}")], S)
    assert timelines.of("run0").points == []
    assert len(timelines.of(f"run{RUNS_MAX + 2}").points) == 1

"""The pacer in virtual time: what is released, when, and why it ends."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen_service.core.pacing.pacer import FAILURE_STREAK_ROUNDS, Pacer, worker_share
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesPlan,
    plan_series,
    series_specs,
    shard_rows,
)
from loadgen_service.core.settings import Settings

COUNTS = SampleCounts(total=100, performance=24)
MS = 1_000_000


def planned(series: int = -1, **fields: Any) -> tuple[Settings, SeriesPlan]:
    ours = Settings(**fields)
    return ours, plan_series(ours, COUNTS, series_specs(ours, COUNTS)[series])


@dataclass
class VirtualWorker:
    """A worker and a SUT in virtual time: each request takes ``service_ns``; ``late_ns`` is how
    late every wake-up is. ``fails``: requests fail instead."""

    pacer: Pacer
    service_ns: int = 3 * MS
    late_ns: int = 0
    fails: bool = False
    stop_at: tuple[int, int] | None = None
    taken: list[tuple[int, int, int]] = field(default_factory=list)
    most_outstanding: int = 0

    def run(self, until_ns: int = 10**15) -> VirtualWorker:
        """Go on until the pacer is done and all requests have ended."""
        now_ns, ending = -5 * MS, list[int]()
        while now_ns < until_ns:
            if self.stop_at and now_ns >= self.stop_at[0]:
                self.pacer.stop(self.stop_at[1])
            while ending and ending[0] <= now_ns:
                heapq.heappop(ending)
                settle = self.pacer.fail if self.fails else self.pacer.complete
                settle(1, now_ns)
            for position in self.pacer.take(now_ns):
                scheduled_ns = self.pacer.scheduled_ns(position, now_ns)
                self.taken.append((position, scheduled_ns, now_ns))
                heapq.heappush(ending, now_ns + self.service_ns)
            self.most_outstanding = max(self.most_outstanding, self.pacer.outstanding)
            if self.pacer.is_done(now_ns) and not ending:
                return self
            now_ns = self._next_ns(now_ns, ending)
        raise AssertionError(f"not done at {now_ns}")

    def _next_ns(self, now_ns: int, ending: list[int]) -> int:
        wake_ns = self.pacer.wake_ns()
        instants = [*ending[:1]]
        if wake_ns is not None:
            instants.append(max(wake_ns, now_ns) + self.late_ns)
        if self.stop_at and now_ns < self.stop_at[0]:
            instants.append(self.stop_at[0])
        assert instants, "nothing will ever wake this worker"
        # A pacer that says "at once" must then give something, or time would stand still.
        return max(min(instants), now_ns + 1)


def worker(ours: Settings, plan: SeriesPlan, index: int = 0, count: int = 1, **how: Any) -> Any:
    return VirtualWorker(Pacer(ours, plan, index, count), **how)


# ---------------------------------------------------------------- open loops


@settings(max_examples=40, deadline=None)
@given(
    scenario=st.sampled_from(["server", "burst"]),
    arrivals=st.sampled_from(["poisson", "constant", "gamma"]),
    worker_count=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_any_worker_count_issues_the_same_instants(
    scenario: str, arrivals: str, worker_count: int, seed: int
) -> None:
    ours, plan = planned(
        scenario=scenario, arrivals=arrivals, target_qps=200, min_duration_ms=500,
        burst_period_ms=90, schedule_rng_seed=seed,
    )  # fmt: skip
    issued = []
    for index in range(worker_count):
        rows = shard_rows(plan, index, worker_count, ours)
        done = worker(ours, plan, index, worker_count).run()
        assert done.pacer.ended_by == "plan"
        issued += [(int(rows[position]), due, now) for position, due, now in done.taken]
    expected = plan.scheduled_ns.tolist()
    assert sorted(issued) == [(row, due, due) for row, due in enumerate(expected)]


def test_open_loop_does_not_wait_for_a_slow_sut() -> None:
    ours, plan = planned(target_qps=1000, min_duration_ms=200)
    done = worker(ours, plan, service_ns=10**10).run()
    assert [now for _, _, now in done.taken] == plan.scheduled_ns.tolist()


def test_late_wake_ups_release_all_that_is_overdue_with_its_own_instant() -> None:
    ours, plan = planned(target_qps=2000, min_duration_ms=200)
    done = worker(ours, plan, late_ns=5 * MS).run()
    assert [due for _, due, _ in done.taken] == plan.scheduled_ns.tolist()
    assert all(0 <= now - due <= 5 * MS for _, due, now in done.taken)


def test_failures_do_not_pace_an_open_loop() -> None:
    ours, plan = planned(target_qps=1000, min_duration_ms=200)
    done = worker(ours, plan, fails=True).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("plan", plan.request_count)


def test_max_query_count_ends_an_open_loop() -> None:
    ours, plan = planned(target_qps=1000, max_query_count=30)
    done = worker(ours, plan).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("max_query_count", 30)


def test_query_that_passes_max_duration_is_the_last() -> None:
    ours, plan = planned(target_qps=1000, max_duration_ms=300)
    done = worker(ours, plan).run()
    assert done.pacer.ended_by == "max_duration"
    instants = [now for _, _, now in done.taken]
    assert instants[-1] > 300 * MS >= instants[-2]


def test_one_overdue_query_is_released_after_max_duration() -> None:
    ours, plan = planned(target_qps=1000, max_duration_ms=300)
    pacer = Pacer(ours, plan, 0, 1)
    assert len(pacer.take(400 * MS)) == 1
    assert pacer.ended_by == "max_duration"


def test_too_many_outstanding_ends_the_series() -> None:
    ours, plan = planned(target_qps=1000, max_async_queries=7)
    done = worker(ours, plan, service_ns=10**10).run()
    # LoadGen tests after the issue: the query that breaks the limit was sent.
    assert (done.pacer.ended_by, len(done.taken)) == ("max_async_queries", 8)


def test_backlog_does_not_hide_too_many_outstanding() -> None:
    ours, plan = planned(target_qps=1000, max_async_queries=7)
    pacer = Pacer(ours, plan, 0, 1)
    assert len(pacer.take(900 * MS)) == 8
    assert pacer.ended_by == "max_async_queries"


def test_coalesced_queries_count_as_one_issue() -> None:
    ours, plan = planned(target_qps=1000, max_async_queries=7, coalesce_queries=True)
    pacer = Pacer(ours, plan, 0, 1)
    assert len(pacer.take(900 * MS)) > 800
    assert pacer.ended_by == "max_async_queries"


def test_accuracy_ignores_every_limit() -> None:
    ours, plan = planned(
        mode="accuracy", target_qps=1000, max_async_queries=1, max_duration_ms=1,
        max_query_count=2,
    )  # fmt: skip
    done = worker(ours, plan, service_ns=10**10).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("plan", plan.request_count)


# ---------------------------------------------------------------- closed loops


def test_single_stream_keeps_one_query_outstanding_until_both_minima_are_met() -> None:
    ours, plan = planned(
        scenario="single_stream", expected_latency_ms=3, min_duration_ms=600, min_query_count=100
    )
    done = worker(ours, plan).run()
    instants = [now for _, _, now in done.taken]
    assert done.most_outstanding == 1
    assert done.pacer.ended_by == "minima"
    # The first query issued at or past the minimum is the last.
    assert instants[-1] >= 600 * MS > instants[-2]
    assert all(due == now for _, due, now in done.taken)


def test_single_stream_goes_on_until_the_count_is_met() -> None:
    ours, plan = planned(
        scenario="single_stream", expected_latency_ms=3, min_duration_ms=6, min_query_count=100
    )
    done = worker(ours, plan).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("minima", 100)


def test_sut_over_twice_as_fast_as_promised_runs_out_of_queries() -> None:
    ours, plan = planned(
        scenario="single_stream", expected_latency_ms=30, min_duration_ms=600, min_query_count=1
    )
    done = worker(ours, plan).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("ran_out", plan.request_count)


@pytest.mark.parametrize(
    ("limits", "ended_by"),
    [
        ({"max_query_count": 20}, "max_query_count"),
        ({"max_duration_ms": 50}, "max_duration"),
        ({"max_query_count": 100}, "minima"),
    ],
)
def test_maxima_end_a_closed_loop(limits: dict[str, int], ended_by: str) -> None:
    ours, plan = planned(
        scenario="single_stream", expected_latency_ms=3, min_duration_ms=60, **limits,
        min_query_count=100,
    )  # fmt: skip
    assert worker(ours, plan).run().pacer.ended_by == ended_by


def test_multi_stream_releases_whole_queries_and_waits_for_all_their_requests() -> None:
    ours, plan = planned(
        scenario="multi_stream", samples_per_query=8, samples_per_request=3,
        expected_latency_ms=3, min_duration_ms=60, min_query_count=10,
    )  # fmt: skip
    pacer = Pacer(ours, plan, 0, 1)
    assert pacer.take(0) == range(3)
    pacer.complete(2, MS)
    assert len(pacer.take(MS)) == 0
    assert pacer.wake_ns() is None
    pacer.complete(1, MS)
    assert pacer.take(MS) == range(3, 6)
    done = worker(ours, plan).run()
    assert done.pacer.ended_by == "minima"
    assert len(done.taken) % 3 == 0


@pytest.mark.parametrize("worker_count", [1, 2, 3, 5])
def test_concurrency_is_split_over_workers_and_held(worker_count: int) -> None:
    ours, plan = planned(scenario="concurrency", concurrency=7)
    held = []
    for index in range(worker_count):
        done = worker(ours, plan, index, worker_count, stop_at=(90 * MS, 100 * MS)).run()
        held.append(done.most_outstanding)
        assert done.pacer.ended_by == "stop"
        assert max(now for _, _, now in done.taken) <= 100 * MS
    assert sum(held) == 7
    assert max(held) - min(held) <= 1


def test_concurrency_share_ends_at_max_query_count() -> None:
    ours, plan = planned(scenario="concurrency", concurrency=4, max_query_count=50)
    taken = [len(worker(ours, plan, index, 3).run().taken) for index in range(3)]
    assert taken == [17, 17, 16]


def test_concurrency_warm_up_ends_by_itself() -> None:
    ours, plan = planned(0, scenario="concurrency", concurrency=4, warmup_duration_ms=20)
    done = worker(ours, plan).run()
    assert done.pacer.ended_by == "minima"
    assert max(now for _, _, now in done.taken) >= 20 * MS


def test_concurrency_accuracy_sends_the_set_once() -> None:
    ours, plan = planned(scenario="concurrency", concurrency=4, mode="accuracy")
    done = worker(ours, plan).run()
    assert (done.pacer.ended_by, len(done.taken)) == ("plan", plan.request_count)


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "concurrency"])
def test_closed_loop_paces_failures_and_gives_up(scenario: str) -> None:
    ours, plan = planned(scenario=scenario, concurrency=4, expected_latency_ms=1)
    done = worker(ours, plan, fails=True, service_ns=1000).run()
    assert done.pacer.ended_by == "failures"
    window = {"single_stream": 1, "multi_stream": 8, "concurrency": 4}[scenario]
    assert len(done.taken) <= (FAILURE_STREAK_ROUNDS + 1) * window
    # 1 ms doubling to 1 s: a dead SUT is not hammered.
    assert done.taken[-1][2] > 5_000 * MS


def test_success_ends_a_streak_of_failures() -> None:
    ours, plan = planned(scenario="single_stream", expected_latency_ms=1)
    pacer = Pacer(ours, plan, 0, 1)
    now_ns = 0
    for turn in range(5 * FAILURE_STREAK_ROUNDS):
        wake_ns = pacer.wake_ns()
        assert wake_ns is not None
        now_ns = max(now_ns + 1, wake_ns)
        assert len(pacer.take(now_ns)) == 1
        settle = pacer.complete if turn % 10 == 9 else pacer.fail
        settle(1, now_ns)
    assert pacer.ended_by == ""


def test_a_stop_within_a_back_off_ends_the_series_at_once() -> None:
    ours, plan = planned(scenario="single_stream", expected_latency_ms=1)
    pacer = Pacer(ours, plan, 0, 1)
    for now_ns in range(6):
        pacer.take(now_ns * 1000 * MS)
        pacer.fail(1, now_ns * 1000 * MS)
    pacer.stop(5_000 * MS + 1)
    wake_ns = pacer.wake_ns()
    assert wake_ns == 5_000 * MS + 2
    assert not pacer.take(wake_ns)
    assert pacer.ended_by == "stop"
    assert pacer.wake_ns() is None


# ---------------------------------------------------------------- offline


def test_offline_is_due_at_the_start_and_fills_a_window_a_sut() -> None:
    ours, plan = planned(
        scenario="offline", min_query_count=500, offline_window=6, samples_per_request=2,
        sut=["a", "b"],
    )  # fmt: skip
    held, positions = [], 0
    for index in range(3):
        done = worker(ours, plan, index, 3).run()
        assert {due for _, due, _ in done.taken} == {0}
        assert done.pacer.ended_by == "plan"
        held.append(done.most_outstanding)
        positions += len(done.taken)
    assert (held, positions) == ([4, 4, 4], 250)


def test_max_duration_cannot_stop_offline() -> None:
    ours, plan = planned(scenario="offline", min_query_count=500, max_duration_ms=1)
    assert worker(ours, plan).run().pacer.ended_by == "plan"


# ---------------------------------------------------------------- all of them


@settings(max_examples=60, deadline=None)
@given(
    scenario=st.sampled_from(
        ["single_stream", "multi_stream", "server", "offline", "burst", "concurrency"]
    ),
    stop_ns=st.integers(0, 400 * MS),
    notice_ns=st.integers(-50 * MS, 50 * MS),
)
def test_nothing_is_issued_after_a_stop(scenario: str, stop_ns: int, notice_ns: int) -> None:
    ours, plan = planned(
        scenario=scenario, target_qps=300, expected_latency_ms=1, min_duration_ms=300,
        burst_period_ms=40, concurrency=3, min_query_count=100,
    )  # fmt: skip
    heard_ns = max(0, stop_ns + notice_ns)
    done = worker(ours, plan, stop_at=(heard_ns, stop_ns)).run()
    assert all(now <= max(stop_ns, heard_ns) for _, _, now in done.taken)
    positions = [position for position, _, _ in done.taken]
    assert positions == list(range(done.pacer.issued_count))
    assert done.pacer.outstanding == 0


def test_nothing_is_issued_before_the_common_start() -> None:
    for scenario in ("single_stream", "server", "offline", "concurrency", "burst"):
        ours, plan = planned(scenario=scenario)
        pacer = Pacer(ours, plan, 0, 1)
        assert len(pacer.take(-1)) == 0
        assert pacer.wake_ns() == 0
        assert len(pacer.take(0)) > 0


def test_worker_without_rows_is_done_at_once() -> None:
    ours, plan = planned(target_qps=1, min_duration_ms=0, min_query_count=2)
    pacer = Pacer(ours, plan, 2, 3)
    assert pacer.is_done(0)
    assert (pacer.ended_by, pacer.wake_ns()) == ("plan", None)


def test_more_completions_than_requests_are_a_mistake_of_the_caller() -> None:
    ours, plan = planned()
    pacer = Pacer(ours, plan, 0, 1)
    with pytest.raises(ValueError, match="1 requests ended, but only 0"):
        pacer.complete(1, 0)


@given(whole=st.integers(0, 1000), worker_count=st.integers(1, 40))
def test_shares_add_up(whole: int, worker_count: int) -> None:
    shares = [worker_share(whole, index, worker_count) for index in range(worker_count)]
    assert sum(shares) == whole
    assert max(shares) - min(shares) <= 1

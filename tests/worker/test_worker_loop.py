"""The loop: instants, order, closed accounting, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from worker_fakes import T0_NS, Rig

from loadgen_service.core.plan.plan import SampleCounts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings
from loadgen_service.sut.interface import MESSAGE
from loadgen_service.sut.kserve.server_timings import NAMES
from loadgen_service.worker.issue.loop import CHUNK_COUNT

MS = 1_000_000


def settings(**given: Any) -> Settings:
    base: dict[str, Any] = {"min_duration_ms": 10, "min_query_count": 20, "timeout_ms": 1000}
    return Settings(**{**base, **given})


def server(**given: Any) -> Settings:
    return settings(scenario="server", target_qps=1000, **given)


def test_open_loop_issues_at_the_plans_instants(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    while not rig.loop.is_all_issued:
        rig.wake()
        rig.clock.now_ns += 300
        rig.answer(list(rig.suts[0].open))
    columns = rig.columns()
    assert columns["row"].tolist() == list(range(rig.plan.request_count))
    assert (columns["scheduled_ns"] == rig.plan.scheduled_ns).all()
    assert (columns["released_ns"] == columns["scheduled_ns"]).all()
    assert (columns["issued_ns"] == columns["released_ns"]).all()
    assert (columns["completed_ns"] == columns["scheduled_ns"] + 300).all()
    assert (columns["first_response_ns"] == columns["completed_ns"]).all()
    assert (columns["status"] == Status.COMPLETED).all()
    assert rig.said == ["all issued", "finished"]
    assert rig.loop.ended_by == "plan"


def test_nothing_is_issued_before_the_common_start(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server())
    rig.clock.now_ns = T0_NS - 5
    rig.loop.on_wake()
    assert rig.loop.issued_count == 0
    assert rig.waiter.at_ns == T0_NS
    rig.clock.now_ns = T0_NS + 7
    rig.loop.on_wake()
    assert rig.loop.issued_count == 1
    assert rig.loop.late_start_ns == 7


def test_a_late_wake_is_charged_to_the_schedule_and_shown_as_ours(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    rig.wake()
    rig.at(5 * MS + 100)
    rig.loop.on_wake()
    assert sorted(rig.suts[0].open) == [0, 1, 2, 3, 4, 5]
    rig.answer(range(6))
    columns = rig.columns()
    assert (columns["released_ns"] - columns["scheduled_ns"]).tolist()[1:] == [
        4 * MS + 100, 3 * MS + 100, 2 * MS + 100, MS + 100, 100
    ]  # fmt: skip


def test_waiting_for_room_counts_as_blocked_not_as_late(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    rig.suts[0].room = 1
    rig.wake()
    rig.wake()
    rig.at(9 * MS)
    rig.answer([0])
    rig.suts[0].make_room(1)
    rig.at(9 * MS + 50)
    rig.answer([1])
    columns = rig.columns()
    assert columns["released_ns"].tolist() == [0, MS]
    assert columns["issued_ns"].tolist() == [0, 9 * MS]
    assert columns["completed_ns"].tolist() == [9 * MS, 9 * MS + 50]


def test_a_burst_is_issued_in_chunks_with_their_own_instants(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings(scenario="burst", burst_query_count=500, burst_period_ms=100))
    real = rig.suts[0].flush

    def slow_flush() -> None:
        rig.clock.now_ns += 10
        real()

    rig.suts[0].flush = slow_flush  # type: ignore[method-assign]
    rig.wake()
    assert rig.loop.issued_count == 500
    rig.answer(list(rig.suts[0].open))
    columns = rig.columns()
    late = columns["released_ns"] - columns["scheduled_ns"]
    assert late[0] == 0
    assert late[-1] == 500 // CHUNK_COUNT * 10
    assert ((columns["issued_ns"] - columns["released_ns"]) == 10).all()


@pytest.mark.parametrize(
    ("count", "chunks"),
    [(1, [1]), (32, [32]), (33, [32, 1]), (127, [32, 32, 32, 31]), (200, [*[32] * 6, 8])],
)
def test_what_is_due_together_leaves_in_chunks(
    tmp_path: Path, count: int, chunks: list[int]
) -> None:
    rig = Rig(tmp_path, settings(scenario="concurrency", concurrency=count))
    handed = [0]
    rig.suts[0].flush = lambda: handed.append(rig.loop.issued_count)  # type: ignore[method-assign]
    rig.wake()
    assert np.diff(handed).tolist() == chunks
    rig.answer(list(rig.suts[0].open))
    assert np.diff(handed).tolist() == 2 * chunks


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream"])
def test_closed_loops_keep_one_query_out(tmp_path: Path, scenario: str) -> None:
    rig = Rig(
        tmp_path,
        settings(scenario=scenario, expected_latency_ms=1, samples_per_query=4),
    )
    per_query = rig.plan.requests_per_query
    rig.wake()
    while not rig.loop.is_finished:
        assert len(rig.suts[0].open) == per_query
        rig.clock.now_ns += MS
        rig.answer(list(rig.suts[0].open))
    columns = rig.columns()
    assert (columns["scheduled_ns"] == columns["released_ns"]).all()
    assert rig.loop.ended_by == "minima"
    assert len(columns["row"]) == rig.loop.issued_count == 20 * per_query


def test_concurrency_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings(scenario="concurrency", concurrency=5), worker=(1, 2))
    rig.wake()
    for _ in range(200):
        assert len(rig.suts[0].open) == 2  # 5 // 2, and worker 1 has no share of the rest
        rig.clock.now_ns += MS
        rig.answer([next(iter(rig.suts[0].open))])
    rig.loop.stop(rig.clock.now_ns - T0_NS)
    rig.clock.now_ns += MS
    rig.answer(list(rig.suts[0].open))
    assert rig.said == ["all issued", "finished"]
    assert rig.loop.ended_by == "stop"
    assert sorted(rig.columns()["row"].tolist()) == list(range(1, 2 * 202, 2))


def test_an_unanswered_request_times_out_and_its_late_answer_is_dropped(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", timeout_ms=200))
    rig.wake()
    late = rig.suts[0].answers([0])
    rig.suts[0].open[0] = (b"", [0, 0])
    rig.at(200 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    rig.run_soon()
    assert rig.suts[0].cancelled == [0]
    assert rig.loop.timed_out_count == 1
    rig.loop.on_events(rig.clock.now_ns, late)
    columns = rig.columns()
    assert columns["row"].tolist() == [0]
    assert columns["status"].tolist() == [Status.TIMED_OUT]
    assert columns["completed_ns"].tolist() == [-1]
    assert columns["issued_ns"].tolist() == [0]
    assert list(rig.loop.errors) == [(0, 4, "deadline passed, no answer; --timeout-ms sets it")]


def test_a_request_that_never_found_room_times_out_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", timeout_ms=200))
    rig.suts[0].room = 0
    rig.wake()
    rig.at(250 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    columns = rig.columns()
    assert columns["issued_ns"][0] == -1
    assert columns["status"][0] == Status.TIMED_OUT


def test_the_deadline_runs_from_the_issue(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", timeout_ms=200))
    rig.suts[0].room = 0
    rig.wake()
    rig.at(150 * MS)
    rig.suts[0].make_room(1)
    rig.at(260 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    assert 0 in rig.suts[0].open
    rig.at(350 * MS)
    rig.loop.sweep(rig.clock.now_ns)
    assert 0 not in rig.suts[0].open


def test_failures_are_rows_and_counted_by_kind(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    rig.wake()
    rig.at(5 * MS)
    rig.loop.on_wake()
    rig.answer([0, 2], code=14, text="gone")
    rig.answer([1], code=255, text="broken")
    columns = rig.columns()
    assert columns["status"].tolist() == [Status.FAILED] * 3
    assert columns["code"].tolist() == [14, 14, 255]
    assert dict(rig.loop.errors) == {(0, 14, "gone"): 2, (0, 255, "broken"): 1}


def test_error_texts_cannot_fill_the_memory(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", min_query_count=300))
    rig.at(10**9)
    rig.loop.on_wake()
    rig.run_soon()
    for key in list(rig.suts[0].open):
        rig.answer([key], code=13, text=f"request {key} failed")
    assert len(rig.loop.errors) <= 65
    assert sum(rig.loop.errors.values()) == rig.loop.failed_count >= 300


def test_a_closed_loop_that_only_fails_ends_by_failures(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings(scenario="single_stream", expected_latency_ms=1))
    for _ in range(100):
        if rig.loop.is_finished:
            break
        if rig.waiter.at_ns is not None:
            rig.wake()
        rig.answer(list(rig.suts[0].open), code=14, text="down")
    assert rig.loop.ended_by == "failures"
    assert rig.said == ["all issued", "finished"]


def test_queries_go_to_the_suts_of_the_plan(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", sut=["grpc://a:1", "grpc://b:1"]), sut_count=2)
    while not rig.loop.is_all_issued:
        rig.wake()
    assert all(key % 2 == 0 for key in rig.suts[0].open)
    assert all(key % 2 == 1 for key in rig.suts[1].open)
    rig.answer(list(rig.suts[0].open), 0)
    rig.answer(list(rig.suts[1].open), 1, code=13, text="no")
    columns = rig.columns()
    assert (columns["sut_index"] == columns["row"] % 2).all()
    assert {kind[0] for kind in rig.loop.errors} == {1}


def test_offline_pulls_by_the_suts_own_pace(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        settings(
            scenario="offline", target_qps=1000, sut=["grpc://a:1", "grpc://b:1"], offline_window=4
        ),
        sut_count=2,
    )
    rig.wake()
    fast, slow = rig.suts
    assert (len(fast.open), len(slow.open)) == (4, 4)
    while not rig.loop.is_all_issued:
        rig.clock.now_ns += MS
        rig.answer([next(iter(fast.open))], 0)
    while fast.open or slow.open:
        for sut in (0, 1):
            rig.answer(list(rig.suts[sut].open), sut)
    columns = rig.columns()
    assert sorted(columns["row"].tolist()) == list(range(rig.plan.request_count))
    assert (columns["scheduled_ns"] == 0).all()
    assert (columns["sut_index"] == 1).sum() == 4
    assert rig.said == ["all issued", "finished"]


def test_least_outstanding_goes_round_equals_and_spares_the_slow(tmp_path: Path) -> None:
    two = {"sut": ["grpc://a:1", "grpc://b:1"], "routing": "least_outstanding"}
    rig = Rig(tmp_path, server(arrivals="constant", **two), sut_count=2)
    fast, slow = rig.suts
    while not rig.loop.is_all_issued:
        rig.wake()
        rig.clock.now_ns += 300
        rig.answer(list(fast.open), 0)  # the other one never answers meanwhile
    assert len(slow.open) == 1
    rig.answer(list(slow.open), 1)
    columns = rig.columns()
    assert sorted(columns["row"].tolist()) == list(range(rig.plan.request_count))
    assert columns["sut_index"].sum() == 1
    assert (columns["scheduled_ns"] > 0).any()  # still an open loop


def test_least_outstanding_takes_turns_where_all_are_quick(tmp_path: Path) -> None:
    two = {"sut": ["grpc://a:1", "grpc://b:1"], "routing": "least_outstanding"}
    rig = Rig(tmp_path, server(arrivals="constant", **two), sut_count=2)
    while not rig.loop.is_all_issued:
        rig.wake()
        rig.clock.now_ns += 300
        for sut in (0, 1):
            rig.answer(list(rig.suts[sut].open), sut)
    counted = np.bincount(rig.columns()["sut_index"])
    assert abs(int(counted[0]) - int(counted[1])) <= 1


def test_several_samples_share_a_request(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        settings(scenario="offline", target_qps=1000, samples_per_request=8, offline_window=100),
    )
    rig.wake()
    for key, (parts, _) in rig.suts[0].open.items():
        start, stop = rig.plan.request_span(key)
        assert list(parts) == rig.plan.samples[start:stop].tolist()  # type: ignore[arg-type]


def test_every_request_carries_its_plans_sample(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(), worker=(2, 3), samples=SampleCounts(50, 50))
    while not rig.loop.is_all_issued:
        rig.wake()
    for key, (parts, _) in rig.suts[0].open.items():
        assert list(parts) == [rig.plan.samples[2 + 3 * key]]  # type: ignore[arg-type]


def test_responses_and_server_timings_are_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", mode="accuracy"), keep_responses=True)
    message = service_pb2.ModelInferResponse(model_name="m")
    for number, name in enumerate(NAMES, start=1):
        message.parameters[name].int64_param = number
    rig.wake()
    [(kind, key, code, _, text)] = rig.suts[0].answers([0])
    rig.loop.on_events(rig.clock.now_ns, [(kind, key, code, message.SerializeToString(), text)])
    rows, messages = rig.loop.take_responses()
    assert rows.tolist() == [0]
    assert messages == [message.SerializeToString()]
    columns = rig.columns()
    assert [columns[f"server_{name}"].tolist() for name in NAMES] == [[1], [2], [3], [4]]


def test_streamed_answers_give_first_response_and_token_count(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    rig.wake()
    rig.at(10)
    rig.loop.on_events(rig.clock.now_ns, [(MESSAGE, 0, b"a")])
    rig.at(20)
    rig.loop.on_events(rig.clock.now_ns, [(MESSAGE, 0, b"b"), *rig.suts[0].answers([0])])
    columns = rig.columns()
    assert columns["first_response_ns"].tolist() == [10]
    assert columns["completed_ns"].tolist() == [20]
    assert columns["token_count"].tolist() == [2]


def test_abandoning_settles_everything(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant"))
    rig.wake()
    rig.at(5 * MS)
    rig.loop.on_wake()
    out = rig.loop.outstanding_count
    rig.loop.abandon("the run was abandoned")
    assert rig.loop.is_finished
    columns = rig.columns()
    assert len(columns["row"]) == out == rig.loop.issued_count
    assert (columns["code"] == 1).all()


def test_more_events_than_a_block_holds_are_all_recorded(tmp_path: Path) -> None:
    rig = Rig(tmp_path, server(arrivals="constant", min_query_count=300))
    rig.at(10**9)
    rig.loop.on_wake()
    rig.run_soon()
    count = len(rig.suts[0].open)
    assert count > 3 * 64
    rig.answer(list(rig.suts[0].open))
    assert np.array_equal(np.sort(rig.columns()["row"]), np.arange(count))


def test_a_stop_drops_what_was_released_and_not_issued(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings(scenario="burst", burst_query_count=500, burst_period_ms=100))
    rig.loop.on_wake()
    issued = rig.loop.issued_count
    assert 0 < issued < 500
    rig.at(1)
    rig.loop.stop(0)
    rig.run_soon()
    assert rig.loop.is_all_issued
    assert rig.loop.issued_count == issued
    rig.answer(list(rig.suts[0].open))
    assert rig.loop.is_finished
    assert rig.loop.ended_by == "stop"

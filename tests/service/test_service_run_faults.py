"""Runs in which something goes wrong: what the user reads, and what is counted."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from loadgen_proto import loadgen_pb2 as pb
from service_bench import Bench, failed_findings, summary_of
from service_fake_worker import Faults


def test_too_few_workers_fail_the_run_with_the_remedy(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish(workers=2, lease_timeout_ms=300)
        assert status.state == pb.FAILED
        assert status.error_exit_code == 3
        assert "2 asked for, 1 idle" in status.error

    bench(test)


def test_a_worker_with_another_plan_is_refused(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(wrong_plan=True))
        status = await bench.finish()
        assert status.state == pb.FAILED
        assert "derived plan plan-v1:no" in status.error

    bench(test)


def test_an_unknown_model_is_the_users_mistake_in_one_line(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(describe_error="no model\nof that name"))
        status = await bench.finish()
        assert (status.state, status.error_exit_code) == (pb.FAILED, 2)
        assert status.error == "no model of that name"

    bench(test)


def test_a_failed_preparation_gives_the_workers_reason(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(prepare_error="cannot connect"))
        status = await bench.finish()
        assert (status.error, status.error_exit_code) == ("cannot connect", 2)

    bench(test)


def test_suts_with_unequal_tensors_are_refused(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(input_shape=(-1, 17))
        status = await bench.finish(sut=["grpc://a:1", "grpc://b:2"])
        assert status.error_exit_code == 2
        assert "grpc://b:2" in status.error

    bench(test)


def test_a_silent_worker_is_lost_and_its_rows_are_counted(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        bench.worker(faults=Faults(silent_after_batches=1))
        status = await bench.finish(workers=2, heartbeat_lost_ms=1000)
        summary = summary_of(status)
        counts = summary.counts.queries
        assert summary.valid is False
        assert counts.lost > 0
        assert counts.planned == (
            counts.not_issued + counts.completed + counts.failed + counts.timed_out + counts.lost
        )
        assert any("worker" in name for name in failed_findings(summary))

    bench(test)


def test_batches_sent_twice_are_counted_once(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        worker = bench.worker(faults=Faults(send_batches_twice=True))
        summary = summary_of(await bench.finish())
        assert summary.valid is True
        assert summary.counts.queries.completed == summary.counts.queries.planned
        assert worker.acked[-1] == worker.sequence
        assert worker.acked == sorted(worker.acked)

    bench(test)


def test_a_missing_batch_is_named_as_a_gap(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(skip_sequence=2))
        summary = summary_of(await bench.finish())
        assert summary.gaps == ["worker 0: batch 2 never came"]
        assert summary.valid is False

    bench(test)


def test_a_broken_session_is_readmitted_within_the_run(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        worker = bench.worker(faults=Faults(break_session_before_arming=True))
        summary = summary_of(await bench.finish())
        assert worker.epoch == 1
        assert summary.valid is True

    bench(test)


def test_failed_requests_are_rows_with_a_reason(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(failed_rows=frozenset({3, 4})))
        summary = summary_of(await bench.finish())
        assert summary.counts.queries.failed == 2
        assert [(e.code, e.message, e.count) for e in summary.errors] == [(14, "no thanks", 2)]
        assert summary.valid is False

    bench(test)


def test_a_worker_that_never_ends_its_series_is_given_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_service.service.run.series_conductor.QUIET_MARGIN_NS", 0)

    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(never_done=True))
        summary = summary_of(await bench.finish(timeout_ms=300))
        assert "sent no more records for too long" in (summary.workers[0].lost_reason or "")
        assert summary.valid is False

    bench(test)


def test_bad_settings_are_refused_in_one_line(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        request = pb.StartRunRequest(settings_json='{"target_qps": -1}')
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bench.stub.StartRun(request, metadata=bench.metadata)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details().startswith("target_qps: ")

    bench(test)


def test_a_call_without_the_token_is_refused(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await bench.stub.ListRuns(pb.ListRunsRequest(), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            call = bench.stub.WatchRun(pb.RunRequest(run_id="x"), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    bench(test)

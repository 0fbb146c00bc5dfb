"""Whole runs on a real service with workers that answer in no time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc
from service_fake_worker import FakeWorker, Faults

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary import Summary, summary_from_json
from loadgen_service.service.server import Service, serve

DEADLINE_S = 30

SERVER = {
    "sut": ["grpc://127.0.0.1:9"],
    "model": "fake",
    "scenario": "server",
    "target_qps": 1000.0,
    "min_duration_ms": 1000,
    "min_query_count": 600,
    "total_sample_count": 64,
    "lease_timeout_ms": 2000,
}


class Bench:
    """A service with fake workers, and the calls of a user."""

    def __init__(self, service: Service, stub: Any) -> None:
        self.service = service
        self.stub = stub
        self.metadata = (("authorization", f"Bearer {service.token}"),)
        self.tasks: list[asyncio.Task[None]] = []

    def worker(self, **options: Any) -> FakeWorker:
        worker = FakeWorker(self.service.address, self.service.token, **options)
        self.tasks.append(asyncio.create_task(worker.run()))
        return worker

    async def start(self, **changes: Any) -> str:
        settings = Settings(**{**SERVER, **changes})
        request = pb.StartRunRequest(settings_json=settings.model_dump_json())
        reply = await self.stub.StartRun(request, metadata=self.metadata)
        return str(reply.run_id)

    async def watch(self, run_id: str) -> list[pb.RunStatus]:
        call = self.stub.WatchRun(pb.RunRequest(run_id=run_id), metadata=self.metadata)
        return [status async for status in call]

    async def finish(self, **changes: Any) -> pb.RunStatus:
        return (await self.watch(await self.start(**changes)))[-1]

    async def stop_run(self, run_id: str) -> None:
        await self.stub.StopRun(pb.RunRequest(run_id=run_id), metadata=self.metadata)


def with_service(
    tmp_path: Path, test: Callable[[Bench], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))

    async def run() -> None:
        serve_settings = ServeSettings(port=0, results=str(tmp_path / "results"))
        service = await serve(serve_settings, embedded=True)
        async with grpc.aio.insecure_channel(service.address) as channel:
            bench = Bench(service, pb_grpc.LoadGenStub(channel))
            try:
                await asyncio.wait_for(test(bench), DEADLINE_S)
            finally:
                for task in bench.tasks:
                    task.cancel()
                await asyncio.gather(*bench.tasks, return_exceptions=True)
                await service.stop(drain_s=1)

    asyncio.run(run())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda test: with_service(tmp_path, test, monkeypatch)


def summary_of(status: pb.RunStatus) -> Summary:
    assert status.error == ""
    assert status.state in (pb.DONE, pb.INTERRUPTED)
    return summary_from_json(status.summary_json)


def failed_findings(summary: Summary) -> list[str]:
    return [finding.name for finding in summary.findings if not finding.met]


def test_a_run_ends_valid_with_all_its_files(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        worker = bench.worker()
        status = await bench.finish()
        summary = summary_of(status)
        assert failed_findings(summary) == []
        assert summary.valid is True
        assert summary.counts.queries.completed == summary.counts.queries.planned
        directory = Path(status.run_directory)
        names = {path.name for path in directory.iterdir()}
        assert names == {
            "settings.yaml",
            "summary.json",
            "records.parquet",
            "report.txt",
            "journal.jsonl",
        }
        table = pq.read_table(directory / "records.parquet")
        assert table.num_rows == summary.counts.samples.planned
        assert json.loads((directory / "summary.json").read_text())["plan_hash"].startswith("plan-")
        controls = [call for call in worker.calls if call.startswith("control ")]
        assert controls == [
            "control describe",
            "control clocks",
            "control load",
            "control flush",
            "control unload",
        ]

    bench(test)


def test_one_and_three_workers_issue_the_same_plan(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        tables = []
        for workers in (1, 3):
            while len(bench.tasks) < workers:
                bench.worker()
            summary = await bench.finish(workers=workers)
            assert len(summary_of(summary).workers) == workers
            table = pq.read_table(Path(summary.run_directory) / "records.parquet")
            tables.append(table.select(["scheduled_ns", "sample_index", "sut_index"]))
        assert tables[0].equals(tables[1])

    bench(test)


def test_several_suts_share_the_load_in_turn(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish(sut=["grpc://127.0.0.1:9", "grpc://127.0.0.1:10"])
        suts = summary_of(status).suts
        assert [sut.sut_index for sut in suts] == [0, 1]
        table = pq.read_table(Path(status.run_directory) / "records.parquet")
        assert np.bincount(table["sut_index"].to_numpy()).tolist()[0] >= table.num_rows // 2

    bench(test)


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
        assert len(worker.acked) == 2 * worker.sequence

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


def test_concurrency_stops_when_both_minima_are_acknowledged(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        workers = [bench.worker(), bench.worker()]
        status = await bench.finish(
            scenario="concurrency",
            concurrency=4,
            workers=2,
            min_duration_ms=400,
            min_query_count=50,
        )
        summary = summary_of(status)
        assert all("stop" in worker.calls for worker in workers)
        assert workers[0].stop_ns == workers[1].stop_ns >= 400_000_000
        assert summary.counts.queries.completed >= 50

    bench(test)


def test_a_stopped_run_writes_honest_partial_results(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        run_id = await bench.start(
            scenario="concurrency", concurrency=1, min_duration_ms=60_000, min_query_count=1
        )
        states = []
        call = bench.stub.WatchRun(pb.RunRequest(run_id=run_id), metadata=bench.metadata)
        async for status in call:
            states.append(status.state)
            if status.state == pb.RUNNING and status.queries.completed and len(states) < 1000:
                await bench.stop_run(run_id)
        assert states[-1] == pb.INTERRUPTED
        summary = summary_of(status)
        assert summary.state == "INTERRUPTED"
        assert summary.valid is False
        assert summary.counts.queries.completed > 0

    bench(test)


def test_a_run_stopped_in_the_queue_never_starts(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        first = await bench.start(lease_timeout_ms=5000)
        second = await bench.start()
        await bench.stop_run(second)
        assert (await bench.watch(second))[-1].state == pb.INTERRUPTED
        await bench.stop_run(first)
        assert (await bench.watch(first))[-1].state == pb.INTERRUPTED

    bench(test)


def test_runs_queue_first_in_first_out(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        ids = [await bench.start() for _ in range(3)]
        bench.worker()
        ended = []

        async def follow(run_id: str) -> None:
            await bench.watch(run_id)
            ended.append(run_id)

        await asyncio.gather(*map(follow, reversed(ids)))
        assert ended == ids

    bench(test)


def test_accuracy_is_scored_from_the_kept_responses(
    bench: Any, tmp_path: Path
) -> None:
    labels = np.arange(30) % 10
    labels[:3] = 9 - labels[:3]
    np.savez(
        tmp_path / "data.npz", input=np.zeros((30, 16), np.float32), labels=labels
    )

    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish(
            mode="accuracy", dataset=str(tmp_path / "data.npz"), total_sample_count=0
        )
        summary = summary_of(status)
        assert summary.accuracy == {"top1": 0.9, "count": 30.0, "top5": pytest.approx(0.9, abs=0.1)}
        responses = pq.read_table(Path(status.run_directory) / "responses.parquet")
        assert sorted(responses["request_index"].to_pylist()) == list(range(30))

    bench(test)


def test_a_warm_up_series_is_kept_apart(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        summary = summary_of(await bench.finish(warmup_duration_ms=200))
        assert [series.kind for series in summary.series] == ["warmup", "performance"]
        assert summary.counts.queries.planned == summary.series[1].counts.queries.planned

    bench(test)


def test_a_worker_that_never_ends_its_series_is_given_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_service.service.series.QUIET_MARGIN_NS", 0)

    async def test(bench: Bench) -> None:
        bench.worker(faults=Faults(never_done=True))
        summary = summary_of(await bench.finish(timeout_ms=300))
        assert "sent no more records for too long" in (summary.workers[0].lost_reason or "")
        assert summary.valid is False

    bench(test)


def test_fetched_files_are_those_of_the_run(bench: Any) -> None:
    async def test(bench: Bench) -> None:
        bench.worker()
        status = await bench.finish()
        content: dict[str, bytes] = {}
        call = bench.stub.FetchRun(pb.RunRequest(run_id=status.run_id), metadata=bench.metadata)
        async for chunk in call:
            content[chunk.path] = content.get(chunk.path, b"") + chunk.content
        directory = Path(status.run_directory)
        assert {"summary.json", "records.parquet", "report.txt"} <= content.keys()
        assert all((directory / name).read_bytes() == found for name, found in content.items())

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
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                call = bench.stub.WatchRun(pb.RunRequest(run_id="x"), metadata=metadata)
                await call.read()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    bench(test)

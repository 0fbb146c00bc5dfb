"""Whole runs on a real service with workers that answer in no time."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from loadgen_proto import loadgen_pb2 as pb
from service_bench import Bench, failed_findings, summary_of


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
            "SHA256SUMS",
            "settings.yaml",
            "summary.json",
            "records.parquet",
            "report.txt",
            "report.html",
            "journal.jsonl",
        }
        check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        checked = subprocess.run(check, cwd=directory, capture_output=True, text=True, check=True)
        assert checked.stdout.count(": OK") == len(names) - 2  # not itself, not the journal
        assert summary.checksums == "SHA256SUMS"
        pages = pq.ParquetFile(directory / "records.parquet", page_checksum_verification=True)
        table = pages.read()
        assert table.num_rows == summary.counts.samples.planned
        assert json.loads((directory / "summary.json").read_text())["plan_hash"].startswith("plan-")
        controls = [call for call in worker.calls if call.startswith("control ")]
        assert controls == [
            "control describe",
            "control load",
            "control clocks",
            "control statistics",
            "control flush",
            "control clocks",
            "control unload",
        ]

    bench(test)


def test_a_trace_is_read_by_the_service_and_sent_to_every_worker(
    bench: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("\n".join(str(2 * index) for index in range(40)))

    async def test(bench: Bench) -> None:
        workers = [bench.worker(), bench.worker()]
        status = await bench.finish(workers=2, arrivals="trace", trace_file=str(trace))
        summary = summary_of(status)
        assert summary.counts.queries.completed == 40
        for worker in workers:
            due_ns = np.frombuffer(worker.order.trace_ns, dtype="<i8")
            assert due_ns.tolist() == [2_000_000 * index for index in range(40)]
        table = pq.read_table(Path(status.run_directory) / "records.parquet")
        assert sorted(table["scheduled_ns"].to_pylist()) == due_ns.tolist()

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
        worker = bench.worker()
        status = await bench.finish(sut=["grpc://127.0.0.1:9", "grpc://127.0.0.1:10"])
        suts = summary_of(status).suts
        assert [sut.sut_index for sut in suts] == [0, 1]
        table = pq.read_table(Path(status.run_directory) / "records.parquet")
        turns = (table["query_index"].to_numpy() % 2).tolist()
        assert worker.plan.sut_index.tolist() == turns
        assert table["sut_index"].to_pylist() == turns
        assert [sut.requests.completed for sut in suts] == [turns.count(0), turns.count(1)]

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


def test_accuracy_is_scored_from_the_kept_responses(bench: Any, tmp_path: Path) -> None:
    labels = np.arange(30) % 10
    labels[:3] = 9 - labels[:3]
    np.savez(tmp_path / "data.npz", input=np.zeros((30, 16), np.float32), labels=labels)

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

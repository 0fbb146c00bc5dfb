"""The peak search over the protocol: every run at its rate, the best one speaks for all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from loadgen_proto import loadgen_pb2 as pb
from service_bench import Bench, summary_of, with_service
from service_fake_worker import FakeWorker

from loadgen_service.core.search.peak_search import PeakSearch
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary.run import summary_from_json
from loadgen_service.mlperf.audit.logs import read_detail_log
from loadgen_service.service.run.recovery import recover_all
from loadgen_service.service.server import serve
from loadgen_service.service.storage.run_directory import RunDirectories

SEARCH = {
    "mode": "find_peak",
    "target_qps": 10.0,
    "target_latency_ms": 50,
    "min_duration_ms": 40,
    "min_query_count": 20,
    "find_peak_decimals_of_precision": 0,
    "heartbeat_lost_ms": 20_000,
}


def rates(capacity_qps: float, **changes: Any) -> list[float]:
    """What LoadGen's sequence tries against a system of this capacity."""
    found = []
    search = PeakSearch.of(Settings(**{"scenario": "server", **SEARCH, **changes}))
    while search.next_qps is not None:
        found.append(search.next_qps)
        search.record(search.next_qps <= capacity_qps)
    return found


def journal(directory: str | Path) -> list[dict[str, Any]]:
    lines = (Path(directory) / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def kinds(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if kind in entry.values()]


@pytest.mark.parametrize("worker_count", [1, 2])
def test_the_peak_is_the_capacity_and_its_run_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_count: int
) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(worker_count):
            bench.worker(capacity_qps=17.0)
        status = await bench.finish(
            **SEARCH, workers=worker_count, find_peak_boundary_step_size=0.5
        )
        summary = summary_of(status)
        tried = rates(17.0, find_peak_boundary_step_size=0.5)
        starts = kinds(journal(status.run_directory), "start")
        assert [entry["target_qps"] for entry in starts] == tried
        assert summary.peak_qps == max(rate for rate in tried if rate <= 17) > 16
        rated = tried.index(summary.peak_qps)
        assert len(summary.series) == len(tried)
        assert summary.counts == summary.series[rated].counts
        assert next(found for found in summary.findings if found.name == "latency").met
        assert (
            f"peak {summary.peak_qps:.10g} queries/s in {len(tried)} runs"
            in (Path(status.run_directory) / "report.txt").read_text()
        )
        detail = read_detail_log(Path(status.run_directory))
        assert detail.number("result_query_count") == summary.counts.queries.completed
        told = (Path(status.run_directory) / "mlperf_log_summary.txt").read_text()
        assert f"target_qps : {summary.peak_qps:.15g}" in told

    with_service(tmp_path, test, monkeypatch)


def test_the_steps_are_told_in_loadgens_words_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(capacity_qps=15.0)
        status = await bench.finish(**SEARCH, strict_loadgen=True)
        text = (Path(status.run_directory) / "mlperf_log_detail.txt").read_text()
        keys = ("generic_message", "loaded_qsl_set", "generated_query_count", "result_validity")
        entries = [json.loads(line.partition(" ")[2]) for line in text.splitlines()]
        said = [
            entry["value"].partition(":")[0] if entry["key"] == keys[0] else entry["key"]
            for entry in entries
            if entry["key"] in keys
        ]
        halvings = len(rates(15.0)) - 2
        assert said == [
            "Starting FindPeakPerformance mode", "FindPeakPerformance", *keys[1:3],
            "FindBoundaries", *keys[1:3],
            "FindPeakPerformance", keys[1],
            *["FindPeakPerformanceBinarySearch", keys[2]] * halvings,
            "FindPeakPerformance", keys[3],
        ]  # fmt: skip

    with_service(tmp_path, test, monkeypatch)


def test_a_first_rate_that_fails_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(capacity_qps=5.0)
        summary = summary_of(await bench.finish(**SEARCH))
        assert summary.peak_qps is None
        assert summary.valid is False
        assert len(summary.series) == 1
        assert any("lower --target-qps" in note for note in summary.notes)

    with_service(tmp_path, test, monkeypatch)


def test_a_stopped_search_keeps_the_best_rate_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        bench.worker(capacity_qps=1e6)
        run_id = await bench.start(**SEARCH)
        call = bench.stub.WatchRun(pb.RunRequest(run_id=run_id), metadata=bench.metadata)
        async for status in call:
            if status.series_index >= 2 and status.state == pb.RUNNING:
                await bench.stop_run(run_id)
        summary = summary_of(status)
        assert summary.state == "INTERRUPTED"
        assert summary.peak_qps is not None
        assert summary.peak_qps >= 20
        assert any("cut short" in note for note in summary.notes)

    with_service(tmp_path, test, monkeypatch)


def test_a_died_service_recovers_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))

    def die(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async def run() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("loadgen_service.service.run.conductor.write_results", die)
            service = await serve(
                ServeSettings(port=0, results=str(tmp_path / "results")), embedded=True
            )
            worker = FakeWorker(service.address, service.token, capacity_qps=15.0)
            task = asyncio.create_task(worker.run())
            settings = Settings(
                sut=["grpc://127.0.0.1:9"], model="fake", scenario="server",
                total_sample_count=16, **SEARCH,
            )  # fmt: skip
            try:
                started = service.coordinator.start_run(settings.model_dump_json())
                async with asyncio.timeout(20):
                    while not started.is_over:
                        await asyncio.sleep(0.02)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await service.stop(drain_s=0)

    asyncio.run(run())
    store = RunDirectories(tmp_path / "results")
    (directory,) = store.unfinished()
    recover_all(store)
    summary = summary_from_json((directory.path / "summary.json").read_text())
    assert summary.peak_qps == max(rate for rate in rates(15.0) if rate <= 15)

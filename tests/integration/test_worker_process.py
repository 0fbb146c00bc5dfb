"""The real worker process against a coordinator that a test plays and a real SUT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_coordinator import FakeCoordinator
from loadgen_proto import loadgen_pb2 as pb
from sut_process import sut_server
from tritonclient.grpc import service_pb2

from loadgen_service.core.plan.arrivals import trace_to_bytes
from loadgen_service.core.plan.plan import SampleCounts, plan_hash, plan_series, series_specs
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings

WAIT_S = 20.0
COMMAND = "import sys; from loadgen_service.worker.process import main; sys.exit(main())"


@asynccontextmanager
async def worker(
    coordinator: FakeCoordinator, tmp_path: Path, *flags: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    cache, spill = tmp_path / "worker-cache", tmp_path / "spill"
    spill.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        "--coordinator",
        f"127.0.0.1:{coordinator.port}",
        "--spill-dir",
        str(spill),
        *flags,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LOADGEN_CACHE": str(cache), "TMPDIR": str(tmp_path)},
    )
    try:
        await coordinator.hear("heartbeat")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), WAIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def play(
    tmp_path: Path,
    scene: Callable[[FakeCoordinator, asyncio.subprocess.Process], Coroutine[Any, Any, None]],
    *flags: str,
) -> None:
    async def whole() -> None:
        coordinator = FakeCoordinator()
        await coordinator.start()
        try:
            async with worker(coordinator, tmp_path, *flags) as process:
                await scene(coordinator, process)
        finally:
            await coordinator.stop()

    asyncio.run(asyncio.wait_for(whole(), 4 * WAIT_S))


def given(port: int, **more: Any) -> Settings:
    base: dict[str, Any] = {
        "sut": [f"grpc://127.0.0.1:{port}"],
        "model": "null",
        "min_duration_ms": 300,
        "min_query_count": 50,
        "target_qps": 500,
        "timeout_ms": 2000,
    }
    return Settings(**{**base, **more})


def test_a_series_runs_as_planned_and_every_record_arrives(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache", index=1, count=2)
            counts = SampleCounts(32, 32)
            assert coordinator.said["ready"][-1].plan_hash == plan_hash(settings, counts)
            await coordinator.begin()
            done = await coordinator.finished()
            plan = plan_series(settings, counts, series_specs(settings, counts)[0])
            columns = coordinator.columns()
            rows = np.arange(1, plan.request_count, 2)
            assert np.array_equal(np.sort(columns["row"]), rows)
            assert np.array_equal(columns["scheduled_ns"], plan.scheduled_ns[columns["row"]])
            assert (columns["released_ns"] >= columns["scheduled_ns"]).all()
            assert (columns["issued_ns"] >= columns["released_ns"]).all()
            assert (columns["completed_ns"] > columns["issued_ns"]).all()
            assert (columns["status"] == Status.COMPLETED).all()
            assert (done.issued, done.completed, done.failed) == (len(rows), len(rows), 0)
            assert done.ended_by == "plan"
            assert done.last_issue_ns == columns["issued_ns"].max()
            first, *_, last = coordinator.said["done"]
            assert first.last_batch_sequence == 0
            assert last == done
            assert coordinator.said["progress"][-1].issued <= len(rows)

        play(tmp_path, scene)


def test_responses_of_an_accuracy_series_come_by_row(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, scenario="offline", mode="accuracy", samples_per_request=4)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache", path=False)
            assert coordinator.chunks_asked == 1
            await coordinator.begin()
            await coordinator.finished()
            rows: list[int] = []
            for batch in coordinator.batches.values():
                offset = 0
                rows += np.frombuffer(batch.responses.row, "<i8").tolist()
                for length in np.frombuffer(batch.responses.length, "<i8").tolist():
                    message = batch.responses.content[offset : offset + length]
                    assert service_pb2.ModelInferResponse.FromString(message).model_name == "null"
                    offset += length
            assert sorted(rows) == list(range(8))

        play(tmp_path, scene)


def test_a_concurrency_series_ends_with_the_coordinators_stop(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, scenario="concurrency", concurrency=4)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            await coordinator.begin()
            await coordinator.until(lambda: coordinator.columns().get("row", np.empty(0)).size > 99)
            # far enough ahead that the worker hears of it in time
            stop_ns = int(coordinator.columns()["released_ns"].max()) + 2_000_000_000
            coordinator.send(stop=pb.Stop(series_index=0, stop_ns=stop_ns, reason=pb.MINIMA_MET))
            done = await coordinator.finished()
            columns = coordinator.columns()
            assert done.ended_by == "stop"
            assert np.array_equal(np.sort(columns["row"]), np.arange(done.issued))
            assert (columns["released_ns"] <= stop_ns).all()

        play(tmp_path, scene)


def test_batches_that_were_not_acknowledged_are_sent_again(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, min_duration_ms=1500)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            coordinator.acknowledge = False
            await coordinator.begin()
            await coordinator.until(lambda: len(coordinator.batches) >= 3)
            await coordinator.stop()
            coordinator.acknowledge = True
            await coordinator.start()
            done = await coordinator.finished()
            assert coordinator.sessions == 2
            assert coordinator.repeats >= 3
            assert sorted(coordinator.batches) == list(range(1, done.last_batch_sequence + 1))
            assert np.array_equal(np.sort(coordinator.columns()["row"]), np.arange(done.issued))
            hello = coordinator.said["hello"]
            assert hello[0].epoch == 0
            assert hello[-1].run_id == "run-1"

        play(tmp_path, scene)


def test_a_stalled_sut_ends_in_time_outs_and_closed_accounting(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, timeout_ms=400, target_qps=100, target_latency_ms=100)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            sut.process.send_signal(signal.SIGSTOP)
            try:
                await coordinator.begin()
                done = await coordinator.finished()
            finally:
                sut.process.send_signal(signal.SIGCONT)
            assert done.timed_out == done.issued > 0
            columns = coordinator.columns()
            assert (columns["status"] == Status.TIMED_OUT).all()
            assert (columns["completed_ns"] == -1).all()
            assert [error.code for error in done.errors] == [4]

        play(tmp_path, scene)


def test_the_elected_worker_makes_control_calls(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings_json = given(sut.port).model_dump_json()

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            base = {"settings_json": settings_json, "timeout_ns": 5 * 10**9}
            coordinator.send(control=pb.Control(id=1, describe=pb.Describe(), **base))
            reply = await coordinator.hear("control")
            assert (reply.id, reply.error) == (1, "")
            assert reply.suts[0].inputs[0].name == "input"
            coordinator.send(control=pb.Control(id=2, clocks=pb.MeasureSutClocks(count=4), **base))
            reply = await coordinator.hear("control", 2)
            assert len(reply.clocks) == 1
            wrong = given(sut.port, model="resnet").model_dump_json()
            coordinator.send(
                control=pb.Control(
                    id=3, describe=pb.Describe(), settings_json=wrong, timeout_ns=5 * 10**9
                )
            )
            reply = await coordinator.hear("control", 3)
            assert reply.error_exit_code == 2
            assert "resnet" in reply.error

        play(tmp_path, scene)


def test_an_unreachable_sut_is_a_failure_by_name(tmp_path: Path) -> None:
    async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
        settings = given(9, connect_timeout_ms=1000)
        with pytest.raises(AssertionError, match="cannot reach"):
            await coordinator.prepare(settings, tmp_path / "cache")
        assert coordinator.said["failure"][-1].exit_code == 2

    play(tmp_path, scene)


def test_a_worker_told_once_leaves_after_its_run_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            await coordinator.begin()
            await coordinator.finished()
            coordinator.send(finish=pb.Finish(run_id="run-1", exit=False))
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            assert coordinator.said["goodbye"]
            assert not list((tmp_path / "spill").iterdir())

        play(tmp_path, scene, "--once")


def test_a_signal_in_a_run_keeps_what_nobody_acknowledged(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, min_duration_ms=60_000, target_qps=200)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            coordinator.acknowledge = False
            await coordinator.begin()
            await coordinator.until(lambda: len(coordinator.batches) >= 2)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            assert process.stderr is not None
            said = (await process.stderr.read()).decode()
            assert "batches that no coordinator acknowledged are kept in" in said
            assert list(tmp_path.glob("loadgen-left-over-run-1-0-*"))
            assert coordinator.said["goodbye"]

        play(tmp_path, scene)


def test_a_trace_comes_with_the_order_and_not_from_a_file(tmp_path: Path) -> None:
    with sut_server("--model", "null") as sut:
        settings = given(sut.port, arrivals="trace", trace_file="/of/the/service/only.txt")
        trace_ns = np.arange(60, dtype=np.int64) ** 2 * 100_000

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            content = trace_to_bytes(trace_ns)
            await coordinator.prepare(settings, tmp_path / "cache", trace_ns=content)
            hashed = plan_hash(settings, SampleCounts(32, 32), trace_ns)
            assert coordinator.said["ready"][-1].plan_hash == hashed
            await coordinator.begin()
            await coordinator.finished()
            columns = coordinator.columns()
            assert np.array_equal(np.sort(columns["scheduled_ns"]), trace_ns)

        play(tmp_path, scene)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_series_drains_it_before_the_goodbye(
    tmp_path: Path, number: signal.Signals
) -> None:
    with sut_server("--model", "synthetic", "--service-time", "constant:400") as sut:
        settings = given(sut.port, model="synthetic", min_duration_ms=60_000, timeout_ms=20_000)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            await coordinator.begin()
            await coordinator.until(lambda: len(coordinator.batches) >= 2)
            process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            done = await coordinator.finished()
            columns = coordinator.columns()
            assert done.ended_by == "signal"
            assert done.issued == done.completed == len(columns["row"])
            # what was out when the signal came, at 500 a second and 400 ms, was answered
            assert (columns["status"] == Status.COMPLETED).all()
            assert np.array_equal(np.sort(columns["row"]), np.arange(done.issued))
            (goodbye,) = coordinator.said["goodbye"]
            assert goodbye.reason == f"it was stopped by {number.name}"

        play(tmp_path, scene)


def _has_issued(coordinator: FakeCoordinator) -> bool:
    return any(progress.issued for progress in coordinator.said.get("progress", []))


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    with sut_server("--model", "synthetic", "--drop-rate", "1") as sut:
        settings = given(sut.port, model="synthetic", min_duration_ms=60_000, timeout_ms=600_000)

        async def scene(coordinator: FakeCoordinator, process: asyncio.subprocess.Process) -> None:
            await coordinator.prepare(settings, tmp_path / "cache")
            await coordinator.begin()
            await coordinator.until(lambda: _has_issued(coordinator))
            process.terminate()
            await coordinator.until(lambda: bool(coordinator.said.get("done")))
            process.terminate()
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            assert coordinator.said["done"][-1].last_batch_sequence == 0

        play(tmp_path, scene)


def test_another_host_without_tls_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    from loadgen_service.worker.process import main

    assert main(["--coordinator", "198.51.100.1:80"]) == 2
    said = capfd.readouterr().err
    assert "--tls-ca" in said
    assert said.count("\n") == 1

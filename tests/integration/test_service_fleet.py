"""The real thing on loopback: service, worker processes and sut-server, with faults."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc
from sut_process import sut_server

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.fleet.local import LocalWorkers
from loadgen_service.service.server import Service, serve

DEADLINE_S = 240

Change = Callable[[pb.RunStatus], Awaitable[None]]


class Fleet:
    """An embedded service and its worker processes."""

    def __init__(self, service: Service, workers: LocalWorkers, stub: Any) -> None:
        self.service = service
        self.workers = workers
        self.stub = stub
        self.metadata = (("authorization", f"Bearer {service.token}"),)

    async def run(self, port: int, during: Change | None = None, **changes: Any) -> pb.RunStatus:
        settings = Settings(
            **{
                "sut": [f"grpc://127.0.0.1:{port}"],
                "model": "synthetic",
                "target_qps": 200,
                "min_duration_ms": 2000,
                "total_sample_count": 32,
                # This host may be busy; these tests are about accounting, not about speed.
                "issue_delay_budget_ms": 10_000,
                "target_latency_ms": 2_000,
                "lease_timeout_ms": DEADLINE_S * 1000,
                **changes,
            }
        )
        request = pb.StartRunRequest(settings_json=settings.model_dump_json())
        run = await self.stub.StartRun(request, metadata=self.metadata)
        watched = self.stub.WatchRun(pb.RunRequest(run_id=run.run_id), metadata=self.metadata)
        async for status in watched:
            if during is not None and status.state == pb.RUNNING and status.queries.completed:
                await during(status)
                during = None
        return status


@asynccontextmanager
async def fleet(tmp_path: Path, count: int) -> AsyncIterator[Fleet]:
    service = await serve(ServeSettings(port=0, results=str(tmp_path / "runs")), embedded=True)

    def left(pid: int, reason: str) -> None:
        service.worker_left(pid, socket.gethostname(), reason)

    workers = LocalWorkers(count, service.address, service.token, on_exit=left)
    async with grpc.aio.insecure_channel(service.address) as channel:
        try:
            await workers.start()
            yield Fleet(service, workers, pb_grpc.LoadGenStub(channel))
        finally:
            await workers.stop()
            await service.stop(drain_s=1)


@pytest.fixture(scope="module")
def sut() -> Any:
    with sut_server("--model", "synthetic") as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))


def in_time(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work, DEADLINE_S)

    asyncio.run(bounded())


def summary_of(status: pb.RunStatus) -> Summary:
    assert status.error == ""
    summary = summary_from_json(status.summary_json)
    counts = summary.counts.queries
    assert counts.planned == (
        counts.not_issued + counts.completed + counts.failed + counts.timed_out + counts.lost
    )
    return summary


def failed(summary: Summary) -> list[str]:
    return [finding.name for finding in summary.findings if not finding.met]


def test_four_workers_issue_what_one_issues(tmp_path: Path, sut: Any) -> None:
    async def test() -> None:
        tables = []
        for count in (1, 4):
            async with fleet(tmp_path, count) as running:
                status = await running.run(sut.port, workers=count, min_query_count=500)
                assert set(failed(summary_of(status))) <= {"late_start"}
                table = pq.read_table(Path(status.run_directory) / "records.parquet")
                assert set(table["worker_index"].to_pylist()) == set(range(count))
                tables.append(table.select(["seq_id", "scheduled_ns", "sample_index", "sut_index"]))
        assert tables[0].equals(tables[1])

    in_time(test())


def test_a_killed_worker_loses_its_rows_and_no_others(tmp_path: Path, sut: Any) -> None:
    async def test() -> None:
        async with fleet(tmp_path, 2) as running:

            async def kill(status: pb.RunStatus) -> None:
                os.kill(running.workers.pids[0], signal.SIGKILL)

            status = await running.run(sut.port, kill, workers=2, min_duration_ms=20_000)
            summary = summary_of(status)
            assert summary.valid is False
            assert "worker_lost" in failed(summary)
            lost = [worker for worker in summary.workers if worker.lost_reason]
            assert len(lost) == 1
            assert lost[0].lost_reason == "killed by SIGKILL"
            assert summary.counts.queries.lost > 0

    in_time(test())


def test_a_worker_that_is_told_to_leave_drains_and_is_named(tmp_path: Path, sut: Any) -> None:
    async def test() -> None:
        async with fleet(tmp_path, 2) as service:

            async def dismiss(status: pb.RunStatus) -> None:
                os.kill(service.workers.pids[0], signal.SIGTERM)

            status = await service.run(sut.port, dismiss, workers=2, min_duration_ms=3000)
            summary = summary_of(status)
            counts = summary.counts.queries
            assert (counts.lost, counts.failed, counts.timed_out) == (0, 0, 0)
            assert counts.not_issued > 0
            assert failed(summary) != []
            (finding,) = [f for f in summary.findings if f.name == "worker_lost"]
            assert not finding.met
            assert "it was stopped by a signal and drained" in finding.measured
            assert "1 of 2 lost" in finding.measured
            assert summary.valid is False

    in_time(test())


def test_a_worker_that_sleeps_three_seconds_is_not_dead(tmp_path: Path, sut: Any) -> None:
    async def test() -> None:
        async with fleet(tmp_path, 1) as running:
            pid = running.workers.pids[0]

            async def pause(status: pb.RunStatus) -> None:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(3)
                os.kill(pid, signal.SIGCONT)

            summary = summary_of(await running.run(sut.port, pause, issue_delay_budget_ms=0))
            assert summary.counts.queries.lost == 0
            assert "worker_lost" not in failed(summary)
            assert "generator_late" in failed(summary)

    in_time(test())


def test_a_sut_that_dies_fails_queries_and_not_the_run(tmp_path: Path) -> None:
    async def test() -> None:
        with sut_server("--model", "synthetic") as mortal:
            async with fleet(tmp_path, 1) as running:

                async def kill(status: pb.RunStatus) -> None:
                    mortal.process.kill()

                status = await running.run(mortal.port, kill)
                summary = summary_of(status)
                assert summary.counts.queries.failed > 0
                assert summary.counts.queries.lost == 0
                assert "error_budget" in failed(summary)

    in_time(test())


def test_an_unreachable_sut_is_the_users_mistake(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            async with fleet(tmp_path, 1) as running:
                status = await running.run(held.getsockname()[1], connect_timeout_ms=300)
                assert status.error_exit_code == 2
                assert "cannot reach" in status.error

    in_time(test())


def test_an_interrupted_run_drains_and_says_so(tmp_path: Path, sut: Any) -> None:
    async def test() -> None:
        async with fleet(tmp_path, 1) as running:

            async def stop(status: pb.RunStatus) -> None:
                request = pb.RunRequest(run_id=status.run_id)
                await running.stub.StopRun(request, metadata=running.metadata)

            status = await running.run(sut.port, stop, min_duration_ms=60_000)
            summary = summary_of(status)
            assert status.state == pb.INTERRUPTED
            assert summary.state == "INTERRUPTED"
            assert summary.counts.queries.not_issued > 0
            assert summary.counts.queries.lost == 0

    in_time(test())


def test_a_second_stop_abandons_what_is_out(tmp_path: Path) -> None:
    async def test() -> None:
        with sut_server("--model", "synthetic", "--service-time", "constant:60000") as slow:
            async with fleet(tmp_path, 1) as running:

                async def stop_twice(run_id: str) -> None:
                    await asyncio.sleep(3)
                    for _ in range(2):
                        request = pb.RunRequest(run_id=run_id)
                        await running.stub.StopRun(request, metadata=running.metadata)
                        await asyncio.sleep(0.3)

                async def stop_the_only_run() -> None:
                    while not running.service.coordinator.runs:
                        await asyncio.sleep(0.05)
                    await stop_twice(next(iter(running.service.coordinator.runs)))

                stopping = asyncio.create_task(stop_the_only_run())
                status = await running.run(
                    slow.port, target_qps=20, min_duration_ms=60_000, timeout_ms=600_000
                )
                await stopping
                counts = summary_of(status).counts.queries
                assert status.state == pb.INTERRUPTED
                assert counts.completed == 0
                assert counts.failed + counts.timed_out + counts.lost == counts.issued > 0

    in_time(test())


def test_workers_of_another_host_come_with_tls_and_token(
    tmp_path: Path, sut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = self_signed(tmp_path)
    token = "t" * 32
    (tmp_path / "token").write_text(token)
    settings = ServeSettings(
        port=0,
        results=str(tmp_path / "runs"),
        tls_cert=str(cert),
        tls_key=str(key),
        token_file=str(tmp_path / "token"),
    )

    # As seen from another host, the service's files are not there: samples must be fetched.
    monkeypatch.setattr("loadgen_service.service.run.preparation.gethostname", lambda: "elsewhere")

    async def test() -> None:
        service = await serve(settings)
        environment = {**os.environ, "LOADGEN_CACHE": str(tmp_path / "other-host")}
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "loadgen_service", "worker", "--coordinator", service.address),
            *("--tls-ca", str(cert), "--token-file", str(tmp_path / "token"), "--once"),
            env=environment,
        )
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            async with grpc.aio.secure_channel(service.address, credentials) as channel:
                running = Fleet(service, LocalWorkers(0, "", ""), pb_grpc.LoadGenStub(channel))
                running.metadata = metadata
                summary = summary_of(await running.run(sut.port, min_duration_ms=500))
                assert summary.counts.queries.completed == summary.counts.queries.planned
                assert list((tmp_path / "other-host" / "arenas").glob("*.arena"))
            assert await asyncio.wait_for(worker.wait(), 20) == 0
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
            await service.stop(drain_s=1)

    in_time(test())


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loadgen test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"

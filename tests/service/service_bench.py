"""A real service with fake workers, and the calls of a user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc
from service_fake_worker import FakeWorker

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary.run import Summary, summary_from_json
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

    def __init__(self, service: Service, stub: Any, results: Path) -> None:
        self.service = service
        self.results = results
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
            bench = Bench(service, pb_grpc.LoadGenStub(channel), tmp_path / "results")
            try:
                await asyncio.wait_for(test(bench), DEADLINE_S)
            finally:
                for task in bench.tasks:
                    task.cancel()
                await asyncio.gather(*bench.tasks, return_exceptions=True)
                await service.stop(drain_s=1)

    asyncio.run(run())


def summary_of(status: pb.RunStatus) -> Summary:
    assert status.error == ""
    assert status.state in (pb.DONE, pb.INTERRUPTED)
    return summary_from_json(status.summary_json)


def failed_findings(summary: Summary) -> list[str]:
    return [finding.name for finding in summary.findings if not finding.met]

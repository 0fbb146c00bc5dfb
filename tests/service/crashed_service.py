"""A service that dies between the last record and the results."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from loadgen_proto import loadgen_pb2 as pb
from service_fake_worker import FakeWorker, Faults

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.service.server import serve

SETTINGS = Settings(
    sut=["grpc://127.0.0.1:9"],
    model="fake",
    target_qps=1000,
    min_duration_ms=1000,
    total_sample_count=16,
    header=["x-key=secret"],
)


def crash_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults, asked: Settings = SETTINGS
) -> None:
    """A run whose service stops between the last record and the results."""
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))

    def die(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async def run() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("loadgen_service.service.run.conductor.write_results", die)
            settings = ServeSettings(port=0, results=str(tmp_path / "results"))
            service = await serve(settings, embedded=True)
            worker = asyncio.create_task(
                FakeWorker(service.address, service.token, faults=faults).run()
            )
            try:
                started = service.coordinator.start_run(asked.model_dump_json())
                async with asyncio.timeout(20):
                    while not started.is_over:
                        await asyncio.sleep(0.02)
                assert started.status().state == pb.FAILED
            finally:
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
                await service.stop(drain_s=0)

    asyncio.run(run())

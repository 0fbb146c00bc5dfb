"""Simulated workers in one process: ADDRESS TOKEN PID WORKERS QPS BATCHES_PER_S SECONDS.

Each speaks the whole protocol and sends its records on time, without a SUT. Prints JSON: CPU
seconds that the service (process PID) spent while the series ran, its wall time, and its memory.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from pathlib import Path

import grpc.aio
import numpy as np
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "service"), str(ROOT / "bench")]

import service_fake_worker  # noqa: E402
from processes import cpu_seconds  # noqa: E402
from service_fake_worker import FakeWorker  # noqa: E402

from loadgen_service.core.settings import Settings  # noqa: E402

PROGRESS_S = 0.2
SPAN: dict[str, float] = {}


class TimelyWorker(FakeWorker):
    """Sends what has ended by now, in batches at even intervals, and its progress beside."""

    batches_per_s = 10.0
    service_pid = 0

    async def _on_start(self, body: pb.Start) -> None:
        if not SPAN:
            delay = max(0, body.t0_coordinator_ns - time.monotonic_ns()) / 1e9
            asyncio.get_running_loop().call_later(delay, mark, "began", self.service_pid)
        telling = asyncio.create_task(self._tell(body.series_index))
        try:
            await super()._on_start(body)
        finally:
            telling.cancel()

    async def _tell(self, index: int) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            await self.say(progress=pb.SeriesProgress(series_index=index, issued=self.sequence))

    async def _send(self, records: object, index: int, rows: np.ndarray) -> bool:
        # The last row of a batch ends when the clock says so.
        due_s = float(self.plan.scheduled_ns[rows[-1]]) / 1e9 + SPAN["t0"]
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        return await super()._send(records, index, rows)

    async def _say_done(self, index: int, rows: np.ndarray, last: int) -> None:
        if last:
            SPAN.update(ended=time.monotonic(), spent=cpu_seconds(self.service_pid))
        await super()._say_done(index, rows, last)


def mark(name: str, pid: int) -> None:
    """The series begins."""
    SPAN.update({name: time.monotonic(), "before": cpu_seconds(pid), "t0": time.monotonic()})


def plan_once() -> None:
    """A hundred workers in one process plan the same series: once is enough."""
    for name in ("plan_hash", "plan_series"):
        real = getattr(service_fake_worker, name)
        setattr(service_fake_worker, name, _cached(real))


def _cached(real):  # type: ignore[no-untyped-def]
    kept: dict[str, object] = {}

    @functools.wraps(real)
    def call(settings: Settings, *rest: object) -> object:
        if "it" not in kept:
            kept["it"] = real(settings, *rest)
        return kept["it"]

    return call


async def main(
    address: str, token: str, pid: int, workers: int, qps: float, batches: float, seconds: float
) -> None:
    """One run."""
    plan_once()
    service_fake_worker.ROWS_A_BATCH = max(1, round(qps / batches))
    TimelyWorker.service_pid = pid
    metadata = (("authorization", f"Bearer {token}"),)
    settings = Settings(
        sut=["grpc://127.0.0.1:9"], model="fake", scenario="server", target_qps=qps * workers,
        min_duration_ms=round(seconds * 1000), min_query_count=1, total_sample_count=64,
        workers=workers, target_latency_ms=100,
    )  # fmt: skip
    fleet = [asyncio.create_task(TimelyWorker(address, token).run()) for _ in range(workers)]
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.LoadGenStub(channel)
        request = pb.StartRunRequest(settings_json=settings.model_dump_json())
        started = await stub.StartRun(request, metadata=metadata)
        call = stub.WatchRun(pb.RunRequest(run_id=started.run_id), metadata=metadata)
        last = [status async for status in call][-1]
    for task in fleet:
        task.cancel()
    await asyncio.gather(*fleet, return_exceptions=True)
    if last.error or "ended" not in SPAN:
        raise SystemExit(f"the run failed: {last.error or pb.RunState.Name(last.state)}")
    peak = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]
    wall_s = SPAN["ended"] - SPAN["began"]
    print(json.dumps({"cpu_s": SPAN["spent"] - SPAN["before"], "wall_s": wall_s,
                      "peak_bytes": int(peak) * 1024}))  # fmt: skip


if __name__ == "__main__":
    _, where, key, process, many, rate, cuts, length = sys.argv
    asyncio.run(main(where, key, int(process), int(many), float(rate), float(cuts), float(length)))

"""A coordinator in a few lines: it plays the steps that a test names and keeps what workers say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.records.columns import received_columns
from loadgen_service.core.settings import Settings
from loadgen_service.qsl.arena.builder import ArenaFile, build_arena
from loadgen_service.qsl.tensors import TensorSpec
from loadgen_service.service.collect.live_stats import sent_of

WAIT_S = 20.0
START_MARGIN_NS = 150_000_000


class Samples:
    """A library of ``count`` samples of sixteen floats."""

    dataset_hash = "test"
    tensors = (TensorSpec("input", "FP32", (16,)),)
    preprocess_ns = None

    def sample(self, index: int) -> tuple[bytes, ...]:
        return (np.full(16, index, "<f4").tobytes(),)

    def shapes(self, index: int) -> None:
        """All alike: the shape of the tensors."""


class FakeCoordinator(pb_grpc.FleetServicer):
    """Serves one worker. ``said`` holds its words by kind, ``batches`` its batches by sequence."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = {}
        self.batches: dict[int, pb.Batch] = {}
        self.repeats = 0
        self.acknowledge = True
        self.sessions = 0
        self.arena: ArenaFile | None = None
        self.chunks_asked = 0
        self.changed = asyncio.Event()
        self._calls: list[asyncio.Task[Any]] = []
        self._outgoing: asyncio.Queue[pb.ToWorker] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = grpc.aio.server()
        pb_grpc.add_FleetServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    # ------------------------------------------------------------ the service
    async def Session(
        self, requests: AsyncIterator[pb.FromWorker], context: Any
    ) -> AsyncIterator[pb.ToWorker]:
        self.sessions += 1
        self._outgoing = outgoing = asyncio.Queue()
        outgoing.put_nowait(pb.ToWorker(welcome=pb.Welcome(heartbeat_interval_ns=200_000_000)))
        hearing = asyncio.create_task(self._hear(requests, outgoing))
        try:
            while True:
                yield await outgoing.get()
        finally:
            hearing.cancel()

    async def _hear(
        self, requests: AsyncIterator[pb.FromWorker], outgoing: asyncio.Queue[pb.ToWorker]
    ) -> None:
        async for message in requests:
            now_ns = time.monotonic_ns()
            kind = message.WhichOneof("message") or ""
            if kind == "ping":
                pong = pb.Pong(
                    index=message.ping.index,
                    sent_ns=message.ping.sent_ns,
                    received_ns=now_ns,
                    replied_ns=time.monotonic_ns(),
                )
                outgoing.put_nowait(pb.ToWorker(pong=pong))
            self.said.setdefault(kind, []).append(getattr(message, kind))
            self.changed.set()

    async def Records(
        self, requests: AsyncIterator[pb.Batch], context: Any
    ) -> AsyncIterator[pb.BatchAck]:
        async for batch in requests:
            kind = batch.WhichOneof("message")
            if kind == "open":
                continue
            sequence = getattr(batch, kind).sequence
            self.repeats += sequence in self.batches
            self.batches[sequence] = batch
            self.changed.set()
            if self.acknowledge:
                yield pb.BatchAck(sequence=sequence)

    async def FetchArena(
        self, request: pb.ArenaRequest, context: Any
    ) -> AsyncIterator[pb.ArenaChunk]:
        assert self.arena is not None
        self.chunks_asked += 1
        content = self.arena.path.read_bytes()
        for offset in range(0, len(content), 1000):
            yield pb.ArenaChunk(offset=offset, content=content[offset : offset + 1000])

    # ------------------------------------------------------------ what tests do
    def send(self, **message: Any) -> None:
        self._outgoing.put_nowait(pb.ToWorker(**message))

    async def hear(self, kind: str, count: int = 1) -> Any:
        """The newest word of a kind, once there are ``count``; a failure ends the wait."""
        async with asyncio.timeout(WAIT_S):
            while len(self.said.get(kind, [])) < count:
                if kind != "failure" and self.said.get("failure"):
                    raise AssertionError(self.said["failure"][-1].error)
                self.changed.clear()
                await self.changed.wait()
        return self.said[kind][-1]

    async def until(self, is_met: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_met():
                self.changed.clear()
                try:
                    await asyncio.wait_for(self.changed.wait(), 0.05)
                except TimeoutError:
                    continue

    async def prepare(
        self,
        settings: Settings,
        cache: Path,
        *,
        index: int = 0,
        count: int = 1,
        path: bool = True,
        trace_ns: bytes = b"",
    ) -> None:
        self.arena = build_arena(Samples(), range(32), cache)
        self.send(
            prepare=pb.Prepare(
                run_id="run-1",
                settings_json=settings.model_dump_json(),
                worker_index=index,
                worker_count=count,
                arena=pb.Arena(
                    content_hash=self.arena.content_hash,
                    size_bytes=self.arena.size_bytes,
                    path=str(self.arena.path) if path else "/no/such/file",
                    batched=True,
                ),
                total_sample_count=32,
                performance_sample_count=32,
                trace_ns=trace_ns,
            )
        )
        await self.hear("ready")

    async def begin(self, series_index: int = 0) -> int:
        """Measure clocks, arm and start; the start on this process's clock."""
        clocks = len(self.said.get("clock", []))
        self.send(measure_clock=pb.MeasureClock(count=8))
        await self.hear("clock", clocks + 1)
        armed = len(self.said.get("armed", []))
        self.send(arm=pb.Arm(series_index=series_index))
        await self.hear("armed", armed + 1)
        t0_ns = time.monotonic_ns() + START_MARGIN_NS
        self.send(start=pb.Start(series_index=series_index, t0_coordinator_ns=t0_ns))
        return t0_ns

    async def finished(self) -> pb.SeriesDone:
        """The series' last word."""
        await self.until(lambda: self.said.get("done", [None])[-1] is not None and self._is_done())
        done: pb.SeriesDone = self.said["done"][-1]
        await self.until(lambda: done.last_batch_sequence in self.batches)
        return done

    def _is_done(self) -> bool:
        return bool(self.said["done"][-1].last_batch_sequence)

    def columns(self) -> dict[str, np.ndarray]:
        """Every record that came, in order of its batches."""
        found: dict[str, list[np.ndarray]] = {}
        for sequence in sorted(self.batches):
            records = self.batches[sequence].records
            for name, piece in received_columns(sent_of(records), records.count).items():
                found.setdefault(name, []).append(piece)
        return {name: np.concatenate(pieces) for name, pieces in found.items()}

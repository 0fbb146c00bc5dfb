"""One run on one worker: samples, plan, connections, then its series one after another.

Decides nothing about the run; the coordinator says when each step happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Final

import grpc
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.plan.arrivals import trace_from_bytes
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesSpec,
    peak_series,
    plan_hash,
    plan_series,
    series_specs,
)
from loadgen_service.core.plan.sequences import sequences_from_bytes
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import RunError
from loadgen_service.qsl.arena.builder import Arena, ArenaDownload, arena_path, is_intact
from loadgen_service.qsl.sources.prompts import request_parameters
from loadgen_service.sut.descriptor import RequestSource
from loadgen_service.sut.factory import Dispatch, descriptor_of, open_suts, request_compressor
from loadgen_service.sut.interface import SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.worker.issue.shard import Build
from loadgen_service.worker.issue.shared_tensors import SharedTensors
from loadgen_service.worker.official.loadgen_thread import OfficialTest, official_package
from loadgen_service.worker.official.series import make_official_test
from loadgen_service.worker.records.record_log import RecordLog
from loadgen_service.worker.records.spill import SpillFolder
from loadgen_service.worker.session.options import WorkerOptions
from loadgen_service.worker.session.series import Equipment, Say, Series
from loadgen_service.worker.uplink.sender import SignallingOutbox, Uplink, write_left_over

HANDOVER_TIMEOUT_S: Final = 5.0
"""At the end of a run: how long the last acknowledgements may take."""

OFFICIAL_LOAD_TIMEOUT_S: Final = 60.0
"""From one series of the official LoadGen to the next, or to the first."""

WIND_UP_MARGIN_S: Final = 5.0
"""Beyond the deadline of the requests that are out."""


class WorkerRun:
    """Everything that a run needs on this worker. ``prepare`` first, ``close`` at the end."""

    def __init__(
        self,
        order: pb.Prepare,
        options: WorkerOptions,
        channel: grpc.aio.Channel,
        worker_id: str,
        say: Say,
    ) -> None:
        self.run_id = order.run_id
        self.series: Series | None = None
        self.outbox = SignallingOutbox()
        self._order = order
        self._options = options
        self._channel = channel
        self._opening = pb.BatchStream(
            run_id=order.run_id,
            worker_id=worker_id,
            worker_index=order.worker_index,
            epoch=order.epoch,
        )
        self._say = say
        self._settings = Settings.model_validate_json(order.settings_json)
        self._counts = SampleCounts(
            order.total_sample_count,
            order.performance_sample_count,
            sequences_from_bytes(order.sequences),
        )
        self._spill = SpillFolder(options.spill_dir)
        self._log = RecordLog(self._spill.path, self.outbox.put)
        self._suts: list[SystemUnderTest] = []
        self._dispatch = Dispatch()
        self._trace_ns = trace_from_bytes(order.trace_ns)
        self._specs: list[SeriesSpec] = []
        self._arena: Arena | None = None
        self._uplink: asyncio.Task[None] | None = None
        self._is_handed_over = False
        self._shared: SharedTensors | None = None
        self._compressor = request_compressor(self._settings)
        self._official: OfficialTest | None = None

    # ------------------------------------------------------------ before the load
    async def prepare(self) -> str:
        """Fetch samples, derive the plan, connect; the plan's hash. Raises ``LoadgenError``."""
        if self._settings.engine == "mlcommons":
            official_package()
        uplink = Uplink(self._channel, self._options.metadata, self._opening, self.outbox)
        self._uplink = asyncio.create_task(uplink.run())
        path = await self._samples()
        self._arena = await asyncio.to_thread(Arena.open, path)
        derived = await asyncio.to_thread(self._derive)
        self._suts = await self._connect(self._arena)
        return derived

    async def _connect(self, arena: Arena) -> list[SystemUnderTest]:
        if self._settings.shared_memory == "none":
            return await open_suts(self._settings, self._dispatch, streaming=self._streaming())
        names = [tensor.name for tensor in self._order.suts[0].outputs]
        self._shared = SharedTensors(self._settings, arena, names)
        return await self._shared.open(self._dispatch, streaming=self._streaming())

    def _streaming(self) -> bool:
        """Whether answers come in pieces: as asked, else as the SUTs said of the model."""
        asked = self._settings.streaming
        return asked == "on" or (asked == "auto" and any(s.decoupled for s in self._order.suts))

    def _build(self, arena: Arena) -> Build:
        """What makes a request of samples, as it is sent."""
        build = self._plain_build(arena)
        return self._compressor.begin_series(build) if self._compressor is not None else build

    def _plain_build(self, arena: Arena) -> Build:
        tensors = [RequestTensor(spec.name, spec.datatype, spec.shape) for spec in arena.specs]
        batched = self._order.arena.batched
        if self._shared is not None:
            return self._shared.build(tensors, batched)
        source = RequestSource(
            settings=self._settings,
            tensors=tensors,
            batched=batched,
            tensors_of=arena.tensors,
            shapes_of=None if arena.is_uniform else arena.shapes,
            streaming=self._streaming(),
            parameters=request_parameters(self._settings),
        )
        return descriptor_of(self._settings).build(source)

    def _derive(self) -> str:
        self._specs = series_specs(self._settings, self._counts)
        return plan_hash(self._settings, self._counts, self._trace_ns)

    async def _samples(self) -> Path:
        """Where the arena lies on this host: the coordinator's file, ours of before, or fetched."""
        arena = self._order.arena
        for path in (Path(arena.path), arena_path(arena.content_hash)):
            if await asyncio.to_thread(is_intact, path, arena.content_hash, arena.size_bytes):
                return path
        return await self._fetch(arena)

    async def _fetch(self, arena: pb.Arena) -> Path:
        download = ArenaDownload(arena.content_hash, arena.size_bytes)
        stub = pb_grpc.FleetStub(self._channel)  # type: ignore[no-untyped-call]
        request = pb.ArenaRequest(content_hash=arena.content_hash, offset=0)
        try:
            async for chunk in stub.FetchArena(request, metadata=self._options.metadata):
                if chunk.offset != download.offset:
                    raise RunError("samples arrived out of order from the coordinator; run again")
                await asyncio.to_thread(download.write, chunk.content)
            return await asyncio.to_thread(download.commit)
        except grpc.aio.AioRpcError as error:
            raise RunError(
                f"samples could not be fetched from the coordinator ({error.details()})"
            ) from None
        finally:
            download.abort()

    async def arm(self, series_index: int, target_qps: float = 0.0) -> None:
        """Make a series ready to start: plan, shard, payloads. ``target_qps``: of a peak search."""
        if self.series is not None:
            await self.series.close()
        if self._settings.engine == "mlcommons" and self._official is None:
            loop = asyncio.get_running_loop()
            self._official = make_official_test(self._settings, self._counts, self._specs, loop)
        self.series = await asyncio.to_thread(self._make_series, series_index, target_qps)

    def _make_series(self, series_index: int, target_qps: float) -> Series:
        settings, arena = self._settings, self._arena
        assert arena is not None
        spec = (
            peak_series(self._specs[-1], series_index, target_qps)
            if target_qps
            else self._specs[series_index]
        )
        plan = plan_series(settings, self._counts, spec, self._trace_ns)
        equipment = Equipment(
            settings=settings,
            worker_index=self._order.worker_index,
            worker_count=self._order.worker_count,
            suts=self._suts,
            dispatch=self._dispatch,
            log=self._log,
            outbox=self.outbox,
            build=self._build(arena),
            say=self._say,
            counts=self._counts,
            official=self._official,
            is_last=plan.spec.index == self._specs[-1].index,
            run_id=self.run_id,
        )
        series = Series(equipment, plan)
        if self._official is not None and plan.spec.kind != "warmup":
            self._official.await_load(plan.spec.index, OFFICIAL_LOAD_TIMEOUT_S)
        return series

    # ------------------------------------------------------------ after it
    async def wind_up(self) -> None:
        """Before its time, as on a signal: issue nothing more, let answers and records arrive."""
        series = self.series
        if series is not None and series.is_started and not series.done.is_set():
            series.stop_now("signal")
            limit_s = self._settings.deadline_ns / NS_PER_S + WIND_UP_MARGIN_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(series.done.wait(), limit_s)
        await self._hand_over()

    async def _hand_over(self) -> None:
        """Let the last batches be acknowledged; waits once, however often it is called."""
        if self.outbox.unacknowledged_count and not self._is_handed_over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.outbox.emptied.wait(), HANDOVER_TIMEOUT_S)
        self._is_handed_over = True

    async def close(self) -> str:
        """Hand over what is left and give everything back; where left-over batches lie, or ""."""
        if self.series is not None:
            await self.series.close()
        self._dispatch.target = lambda now_ns, events: None
        if self._official is not None:
            self._official.close()
        for sut in self._suts:
            await sut.close()
        if self._shared is not None:
            await self._shared.close()
        self._log.seal()
        await self._hand_over()
        if self._uplink is not None:
            self._uplink.cancel()
            await asyncio.gather(self._uplink, return_exceptions=True)
        left_over = await asyncio.to_thread(self._keep_left_over)
        self._log.close()
        await asyncio.to_thread(self._spill.close)
        return left_over

    def _keep_left_over(self) -> str:
        kept = self.outbox.kept()
        if not kept:
            return ""
        name = f"loadgen-left-over-{self.run_id}-{self._order.worker_index}-{time.time_ns()}"
        path = Path(tempfile.gettempdir()) / name
        write_left_over(path, self._opening, kept)
        return str(path)

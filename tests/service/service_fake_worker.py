"""A worker that speaks the protocol and issues nothing: it answers the plan in no time at all."""

from __future__ import annotations

import asyncio
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.core.plan.arrivals import trace_from_bytes
from loadgen_service.core.plan.plan import (
    SampleCounts,
    peak_series,
    plan_hash,
    plan_series,
    series_specs,
    shard_rows,
)
from loadgen_service.core.records.columns import REQUEST_COLUMNS, Status
from loadgen_service.core.settings import Settings

ROWS_A_BATCH = 200


@dataclass(slots=True)
class Faults:
    """What goes wrong. ``silent_after_batches``: sends so many batches, then nothing any more."""

    wrong_plan: bool = False
    describe_error: str = ""
    describe_exit_code: int = 2
    prepare_error: str = ""
    silent_after_batches: int | None = None
    send_batches_twice: bool = False
    corrupt_first_batch: bool = False
    break_session_before_arming: bool = False
    skip_sequence: int = 0
    never_done: bool = False
    failed_rows: frozenset[int] = frozenset()


@dataclass
class FakeWorker:
    """Runs until cancelled. ``latency_ns`` is every request's; ``address`` the coordinator's."""

    address: str
    token: str
    latency_ns: int = 1_000_000
    capacity_qps: float = float("inf")
    """Of a series at a higher rate every answer takes a second."""
    faults: Faults = field(default_factory=Faults)
    hold: Callable[[], bool] | None = None
    """While it is true, an endless series sends no row; the rows then bear the instants at which
    they are sent. Without it each row is a millisecond after the one before, in truth or not."""
    has_sut_proto: bool = True
    input_shape: tuple[int, ...] = (-1, 16)
    readings: list[pb.ControlReply] = field(default_factory=list)
    """Its answers to the control calls for statistics, in order; then it knows of none."""
    calls: list[str] = field(default_factory=list)
    worker_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    acked: list[int] = field(default_factory=list)
    epoch: int = 0
    sequence: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    speaking: asyncio.Lock = field(default_factory=asyncio.Lock)
    stop_ns: int = 0
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        metadata = (("authorization", f"Bearer {self.token}"),)
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = pb_grpc.FleetStub(channel)
            while True:
                self.call = stub.Session(metadata=metadata)
                self.stub, self.metadata = stub, metadata
                try:
                    await self._converse()
                except (grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
                    if asyncio.current_task().cancelling():
                        self.call.cancel()
                        raise
                self.epoch += 1
                await asyncio.sleep(0.05)

    async def _converse(self) -> None:
        await self.say(
            hello=pb.Hello(worker_id=self.worker_id, host="here", pid=1, epoch=self.epoch)
        )
        beating = asyncio.create_task(self._beat())
        tasks = []
        try:
            while (message := await self.call.read()) is not grpc.aio.EOF:
                kind = message.WhichOneof("message")
                self.calls.append(kind)
                tasks.append(asyncio.create_task(self._answer(kind, getattr(message, kind))))
        finally:
            beating.cancel()

    async def say(self, **message: object) -> None:
        if self.faults.silent_after_batches != -1:
            async with self.speaking:  # a call takes one message at a time
                await self.call.write(pb.FromWorker(**message))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            await self.say(
                heartbeat=pb.Heartbeat(report=pb.WorkerReport(figures={"cpu_share": 0.5}))
            )

    async def _answer(self, kind: str, body: object) -> None:
        await getattr(self, f"_on_{kind}")(body)

    async def _on_welcome(self, body: pb.Welcome) -> None:
        self.welcomed.set()

    async def _on_pong(self, body: pb.Pong) -> None:
        offset = (body.received_ns + body.replied_ns) // 2 - body.sent_ns
        await self.say(clock=pb.ClockOffset(offset_ns=offset, error_ns=1, peer="coordinator"))

    async def _on_measure_clock(self, body: pb.MeasureClock) -> None:
        await self.say(ping=pb.Ping(index=0, sent_ns=time.monotonic_ns()))

    async def _on_control(self, body: pb.Control) -> None:
        name = body.WhichOneof("call")
        self.calls.append(f"control {name}")
        reply = pb.ControlReply(id=body.id)
        if name == "describe":
            if self.faults.describe_error:
                reply.error = self.faults.describe_error
                reply.error_exit_code = self.faults.describe_exit_code
            settings = Settings.model_validate_json(body.settings_json)
            for index, address in enumerate(settings.sut):
                shape = self.input_shape if index == 0 else (-1, 16)
                reply.suts.add(
                    sut_index=index,
                    address=address,
                    name="fake",
                    has_sut_proto=self.has_sut_proto,
                    inputs=[pb.TensorMetadata(name="input", datatype="FP32", shape=shape)],
                    outputs=[pb.TensorMetadata(name="output", datatype="FP32", shape=[-1, 1])],
                )
        if name == "statistics" and self.readings:
            reply.MergeFrom(self.readings.pop(0))
        if name == "clocks":
            reply.clocks.add(offset_ns=5, error_ns=2, peer="sut 0")
        await self.say(control=reply)

    async def _on_prepare(self, body: pb.Prepare) -> None:
        self.order, self.sequence, self.acked = body, 0, []
        self.settings = Settings.model_validate_json(body.settings_json)
        self.counts = SampleCounts(body.total_sample_count, body.performance_sample_count)
        self.trace_ns = trace_from_bytes(body.trace_ns)
        hashed = plan_hash(self.settings, self.counts, self.trace_ns)
        if self.faults.prepare_error:
            await self.say(failure=pb.Failure(error=self.faults.prepare_error, exit_code=2))
            return
        await self.say(ready=pb.Ready(plan_hash="plan-v1:no" if self.faults.wrong_plan else hashed))

    async def _on_arm(self, body: pb.Arm) -> None:
        if self.faults.break_session_before_arming:
            self.faults.break_session_before_arming = False
            self.call.cancel()
            return
        self.stopped.clear()
        self.armed_qps = body.target_qps
        await self.say(armed=pb.SeriesArmed(series_index=body.series_index))

    async def _on_stop(self, body: pb.Stop) -> None:
        self.stop_ns = body.stop_ns
        self.stopped.set()

    async def _on_finish(self, body: pb.Finish) -> None:
        pass

    async def _on_start(self, body: pb.Start) -> None:
        index = body.series_index
        specs = series_specs(self.settings, self.counts)
        spec = peak_series(specs[-1], index, rate) if (rate := self.armed_qps) else specs[index]
        self.answer_ns = 1_000_000_000 if rate > self.capacity_qps else self.latency_ns
        plan = plan_series(self.settings, self.counts, spec, self.trace_ns)
        shard = shard_rows(plan, self.order.worker_index, self.order.worker_count, self.settings)
        self.plan, self.t0_ns = plan, body.t0_coordinator_ns
        await asyncio.sleep(max(0, body.t0_coordinator_ns - time.monotonic_ns()) / 1e9)
        records = self.stub.Records(metadata=self.metadata)
        opening = pb.BatchStream(
            run_id=self.order.run_id,
            worker_id=self.worker_id,
            worker_index=self.order.worker_index,
        )
        await records.write(pb.Batch(open=opening))
        if plan.unbounded:
            rows = await self._send_until_stopped(records, index, shard)
        else:
            rows = np.asarray(shard)
            for start in range(0, max(1, len(rows)), ROWS_A_BATCH):
                if not await self._send(records, index, rows[start : start + ROWS_A_BATCH]):
                    return
        await self._say_done(index, rows, 0)
        await records.done_writing()
        while (ack := await records.read()) is not grpc.aio.EOF:
            self.acked.append(ack.sequence)
        if not self.faults.never_done:
            await self._say_done(index, rows, self.sequence)

    async def _send_until_stopped(self, records, index, shard) -> np.ndarray:
        sent = 0
        while not self.stopped.is_set():
            while self.hold is not None and self.hold() and not self.stopped.is_set():
                await asyncio.sleep(0.02)
            await self._send(records, index, np.asarray(shard[sent : sent + 10]))
            sent += 10
            await asyncio.sleep(0.02)
        return np.asarray(shard[:sent])

    async def _send(self, records, index: int, rows: np.ndarray) -> bool:
        if self.faults.silent_after_batches == 0:
            self.faults.silent_after_batches = -1
            return False
        if self.faults.silent_after_batches:
            self.faults.silent_after_batches -= 1
        self.sequence += 1 + (self.sequence + 1 == self.faults.skip_sequence)
        batch = self._batch(index, rows)
        if self.faults.corrupt_first_batch:
            self.faults.corrupt_first_batch = False
            batch.records.crc32 ^= 1
        for _ in range(2 if self.faults.send_batches_twice else 1):
            await records.write(batch)
        if self.settings.mode == "accuracy":
            self.sequence += 1
            await records.write(self._responses(index, rows))
        return True

    def _batch(self, index: int, rows: np.ndarray) -> pb.Batch:
        columns = self._columns(rows)
        crc = 0
        for content in columns.values():
            crc = zlib.crc32(content, crc)
        return pb.Batch(
            records=pb.RecordBatch(
                sequence=self.sequence,
                series_index=index,
                count=len(rows),
                columns=[pb.Column(name=n, content=c) for n, c in columns.items()],
                crc32=crc,
            )
        )

    def _columns(self, rows: np.ndarray) -> dict[str, bytes]:
        plan = self.plan
        queries = rows // plan.requests_per_query
        scheduled = plan.scheduled_ns[queries % plan.query_count]
        if plan.unbounded:
            scheduled = rows * 1_000_000
            if self.hold is not None:
                scheduled = np.full(len(rows), time.monotonic_ns() - self.t0_ns)
        failed = np.isin(rows, list(self.faults.failed_rows))
        values = {
            "row": rows,
            "scheduled_ns": scheduled,
            "released_ns": scheduled,
            "issued_ns": scheduled + 1_000,
            "first_response_ns": scheduled + self.answer_ns,
            "completed_ns": scheduled + self.answer_ns,
            "status": np.where(failed, Status.FAILED, Status.COMPLETED),
            "code": np.where(failed, 14, 0),
            "sut_index": [max(0, plan.sut_of(row)) for row in rows],
            "token_count": np.zeros(len(rows)),
        }
        return {
            n: np.asarray(values[n]).astype(dtype).tobytes() for n, dtype in REQUEST_COLUMNS.items()
        }

    def _responses(self, index: int, rows: np.ndarray) -> pb.Batch:
        contents = [answer(self._sample_of(row)) for row in rows.tolist()]
        row, content = rows.astype("<i8").tobytes(), b"".join(contents)
        length = np.array([len(c) for c in contents], "<i8").tobytes()
        return pb.Batch(
            responses=pb.ResponseBatch(
                sequence=self.sequence,
                series_index=index,
                count=len(rows),
                row=row,
                length=length,
                content=content,
                crc32=zlib.crc32(content, zlib.crc32(length, zlib.crc32(row))),
            )
        )

    def _sample_of(self, row: int) -> int:
        start, _ = self.plan.request_span(row)
        return int(self.plan.samples[start])

    async def _say_done(self, index: int, rows: np.ndarray, last: int) -> None:
        failed = int(np.isin(rows, list(self.faults.failed_rows)).sum())
        done = pb.SeriesDone(
            series_index=index,
            issued=len(rows),
            completed=len(rows) - failed,
            failed=failed,
            last_issue_ns=int(rows[-1]) if len(rows) else -1,
            last_batch_sequence=last,
            ended_by="stop" if self.stopped.is_set() else "plan",
            all_issued=True,
        )
        if failed:
            done.errors.add(code=14, message="no thanks", count=failed)
        await self.say(done=done)


def answer(sample_index: int) -> bytes:
    """The class of a sample is its index modulo 10, and the answer is right."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferResponse(model_name="fake")
    message.outputs.add(name="logits", datatype="FP32", shape=[1, 10])
    logits = np.zeros(10, "<f4")
    logits[sample_index % 10] = 1
    message.raw_output_contents.append(logits.tobytes())
    return message.SerializeToString()

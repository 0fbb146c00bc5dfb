"""The gRPC methods: each decodes, calls, encodes. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.errors import LoadgenError, UserError
from loadgen_service.qsl.arena.builder import arena_path
from loadgen_service.service.collect.collector import Collector, CorruptBatch, Received
from loadgen_service.service.coordinator import Coordinator
from loadgen_service.service.run.mixed_run import MixedRun
from loadgen_service.service.run.worker_sessions import Sessions, Worker
from loadgen_service.service.storage.run_directory import RESULT_FILES

WATCH_INTERVAL_S = 0.2
CHUNK_BYTES = 1 << 20
HELLO_TIMEOUT_S = 10.0
UNACKNOWLEDGED_BATCHES = 256
"""Batches of one stream that wait for the disk; more are not read from the socket."""

Context = grpc.aio.ServicerContext[Any, Any]


async def _refuse(context: Context, error: LoadgenError) -> None:
    """One line, with a code from which the caller derives exit 2 or 3."""
    code = (
        grpc.StatusCode.INVALID_ARGUMENT
        if isinstance(error, UserError)
        else grpc.StatusCode.FAILED_PRECONDITION
    )
    await context.abort(code, str(error))


class LoadGenServicer(pb_grpc.LoadGenServicer):
    """What users call."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunReply:
        """Queue a run; bad settings are INVALID_ARGUMENT with one line."""
        try:
            streams = [(one.name, one.settings_json) for one in request.streams]
            run = (
                self._coordinator.start_mixed(request.settings_json, streams)
                if streams
                else self._coordinator.start_run(request.settings_json)
            )
        except LoadgenError as error:
            await _refuse(context, error)
            raise
        return pb.StartRunReply(run_id=run.run_id, run_directory=str(run.directory.path.resolve()))

    async def WatchRun(
        self, request: pb.RunRequest, context: Context
    ) -> AsyncIterator[pb.RunStatus]:
        """Status several times a second until the final one."""
        try:
            run = self._coordinator.run(request.run_id)
        except LoadgenError as error:
            await _refuse(context, error)
            raise
        while not run.is_over:
            yield run.status()
            run.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.changed.wait(), WATCH_INTERVAL_S)
        yield run.status()

    async def StopRun(self, request: pb.RunRequest, context: Context) -> pb.StopRunReply:
        """Ask a run to drain and stop."""
        try:
            run = self._coordinator.stop_run(request.run_id)
        except LoadgenError as error:
            await _refuse(context, error)
            raise
        return pb.StopRunReply(state=int(run.state))  # type: ignore[arg-type]

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsReply:
        """Runs of this service, oldest first."""
        coordinator = self._coordinator
        runs = [run.status() for run in coordinator.runs.values()]
        return pb.ListRunsReply(runs=[*runs, *(run.status() for run in coordinator.mixed.values())])

    async def FetchRun(
        self, request: pb.RunRequest, context: Context
    ) -> AsyncIterator[pb.FileChunk]:
        """The files of a finished run, in chunks."""
        try:
            run = self._coordinator.run(request.run_id)
            if not run.is_over:
                raise UserError(f"run {run.run_id}: not finished; watch it first")
        except LoadgenError as error:
            await _refuse(context, error)
            raise
        top = run.directory.path
        streams = run.streams if isinstance(run, MixedRun) else ()
        for directory in (*(stream.directory.path for stream in streams), top):
            for path in (directory / name for name in RESULT_FILES):
                if path.is_file():
                    async for chunk in _file_chunks(path, path.relative_to(top).as_posix()):
                        yield chunk


async def _file_chunks(path: Path, name: str) -> AsyncIterator[pb.FileChunk]:
    with open(path, "rb") as file:
        content = await asyncio.to_thread(file.read, CHUNK_BYTES)
        while True:
            following = await asyncio.to_thread(file.read, CHUNK_BYTES)
            yield pb.FileChunk(
                path=name, content=content, crc32=crc32(content), last_of_file=not following
            )
            if not following:
                return
            content = following


class FleetServicer(pb_grpc.FleetServicer):
    """What workers call."""

    def __init__(self, sessions: Sessions, coordinator: Coordinator) -> None:
        self._sessions = sessions
        self._coordinator = coordinator

    async def Session(
        self, requests: AsyncIterator[pb.FromWorker], context: Context
    ) -> AsyncIterator[pb.ToWorker]:
        """One worker's conversation; it may break and begin again."""
        worker = await self._greet(context)
        queue = worker.outgoing
        assert queue is not None
        listening = asyncio.create_task(self._listen(worker, context))
        taking = asyncio.create_task(queue.get())
        try:
            while True:
                await asyncio.wait({taking, listening}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    return
                yield taking.result()
                taking = asyncio.create_task(queue.get())
        finally:
            taking.cancel()
            listening.cancel()
            self._sessions.detach(worker, queue)

    async def _greet(self, context: Context) -> Worker:
        try:
            first = await asyncio.wait_for(context.read(), HELLO_TIMEOUT_S)
        except TimeoutError:
            first = None
        if not isinstance(first, pb.FromWorker) or first.WhichOneof("message") != "hello":
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a session begins with the worker's hello"
            )
        assert isinstance(first, pb.FromWorker)
        return self._sessions.admit(first.hello)

    async def _listen(self, worker: Worker, context: Context) -> None:
        while isinstance(message := await context.read(), pb.FromWorker):
            self._sessions.hear(worker, message)

    async def Records(
        self, requests: AsyncIterator[Received], context: Context
    ) -> AsyncIterator[pb.BatchAck]:
        """Batches in, acknowledgements out, in order; a corrupt batch ends the stream."""
        collector, worker_index = await self._open_records(context)
        waiting: asyncio.Queue[asyncio.Future[pb.BatchAck] | None]
        waiting = asyncio.Queue(UNACKNOWLEDGED_BATCHES)
        receiving = asyncio.create_task(_receive(collector, worker_index, context, waiting))
        try:
            async for ack in _acknowledgements(waiting):
                yield ack
            await receiving
        except CorruptBatch as error:
            await context.abort(grpc.StatusCode.DATA_LOSS, f"{error}; send it again")
        finally:
            receiving.cancel()

    async def _open_records(self, context: Context) -> tuple[Collector, int]:
        first = await context.read()
        if not isinstance(first, Received) or first.batch.WhichOneof("message") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "records begin with an opening")
        assert isinstance(first, Received)
        opening = first.batch.open
        worker = self._sessions.workers.get(opening.worker_id)
        run = self._coordinator.runs.get(opening.run_id)
        if (
            worker is None
            or run is None
            or run.collector is None
            or run.is_over
            or worker.run_id != run.run_id
            or worker.index != opening.worker_index
        ):
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"worker {opening.worker_index} is not part of a run {opening.run_id} here",
            )
        assert run is not None
        assert run.collector is not None
        return run.collector, opening.worker_index

    async def FetchArena(
        self, request: pb.ArenaRequest, context: Context
    ) -> AsyncIterator[pb.ArenaChunk]:
        """Preprocessed samples, from ``offset`` to the end of their file."""
        if not _is_hash(request.content_hash):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a content hash")
        path = arena_path(request.content_hash)
        if not path.is_file():
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such samples here")
        offset = request.offset
        with open(path, "rb") as file:
            file.seek(offset)
            while content := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield pb.ArenaChunk(offset=offset, content=content, crc32=crc32(content))
                offset += len(content)


def _is_hash(text: str) -> bool:
    """Only hexadecimal digits: a hash becomes a file name and must not become a path."""
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)


async def _acknowledgements(
    waiting: asyncio.Queue[asyncio.Future[pb.BatchAck] | None],
) -> AsyncIterator[pb.BatchAck]:
    """In order until None comes; the last speaks for all before it that are known by then, but an
    error is told by itself."""
    answered = await waiting.get()
    while answered is not None:
        ack = await asyncio.shield(answered)
        while not ack.error and not waiting.empty():
            answered = waiting.get_nowait()
            if answered is None or not answered.done():
                yield ack
                break
            ack = answered.result()
        else:
            yield ack
            answered = await waiting.get()


async def _receive(
    collector: Collector,
    worker_index: int,
    context: Context,
    waiting: asyncio.Queue[asyncio.Future[pb.BatchAck] | None],
) -> None:
    try:
        while isinstance(received := await context.read(), Received):
            if received.batch.WhichOneof("message") in ("records", "responses", "tokens", "file"):
                await waiting.put(collector.offer(worker_index, received))
    finally:
        await waiting.put(None)

"""Batches to the collector: one stream a run, begun again after a break, nothing sent unnumbered.

What is not acknowledged is sent again under the same sequence on the next connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

import grpc
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.worker.uplink.batches import batch_message
from loadgen_service.worker.uplink.outbox import Outbox, Sealed

FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 2.0

BatchCall: TypeAlias = "grpc.aio.StreamStreamCall[pb.Batch, pb.BatchAck]"


class SignallingOutbox(Outbox):
    """An outbox that wakes its uplink."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = asyncio.Event()
        self.emptied = asyncio.Event()

    def put(self, sealed: Sealed) -> int:
        """Number a piece, keep it, and have it sent."""
        self.emptied.clear()
        sequence = super().put(sealed)
        self.filled.set()
        return sequence

    def acknowledge(self, sequence: int) -> None:
        """Release everything up to ``sequence``."""
        super().acknowledge(sequence)
        if not self.unacknowledged_count:
            self.emptied.set()


class Uplink:
    """Sends one run's outbox until cancelled. ``last_error`` says why batches are not leaving."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        opening: pb.BatchStream,
        outbox: SignallingOutbox,
    ) -> None:
        self._stub = pb_grpc.FleetStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = tuple(metadata)
        self._opening = opening
        self._outbox = outbox
        self.last_error = ""

    async def run(self) -> None:
        """Keep a stream open, whatever happens to it."""
        pause_s = FIRST_BACKOFF_S
        while True:
            before = self._outbox.unacknowledged_count
            self._outbox.rewind()
            try:
                await self._converse()
                self.last_error = "the coordinator closed the record stream"
            except grpc.aio.AioRpcError as error:
                self.last_error = f"{error.code().name}: {error.details()}"
            except ValueError as error:  # an acknowledgement of what was never sent
                self.last_error = str(error)
            if self._outbox.unacknowledged_count < before:
                pause_s = FIRST_BACKOFF_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)

    async def _converse(self) -> None:
        call = self._stub.Records(metadata=self._metadata)
        writer = asyncio.create_task(self._write(call))
        try:
            async for ack in call:
                if ack.error:
                    # The coordinator has named the gap; sending the batch again would not help.
                    self.last_error = ack.error
                self._outbox.acknowledge(ack.sequence)
        finally:
            # It must be gone before the outbox is rewound: it would take a batch into a dead call.
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            call.cancel()

    async def _write(self, call: BatchCall) -> None:
        await call.write(pb.Batch(open=self._opening))
        while True:
            taken = self._outbox.take()
            if taken is not None:
                await call.write(batch_message(*taken))
                continue
            self._outbox.filled.clear()
            await self._outbox.filled.wait()

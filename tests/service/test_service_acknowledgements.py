"""Acknowledgements of one stream: in order, one for all that became durable together."""

from __future__ import annotations

import asyncio

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.service.servicer import _acknowledgements

Waiting = asyncio.Queue[asyncio.Future[pb.BatchAck] | None]


def told(*groups: list[int], ends: bool = True, failed: int = 0) -> list[tuple[int, str]]:
    """What a worker hears while groups of batches become durable, one after the other."""

    async def run() -> list[tuple[int, str]]:
        waiting: Waiting = asyncio.Queue()
        futures = {number: asyncio.Future[pb.BatchAck]() for group in groups for number in group}
        for future in futures.values():
            waiting.put_nowait(future)
        if ends:
            waiting.put_nowait(None)
        acks = _acknowledgements(waiting)
        heard = []
        for group in groups:
            for number in group:
                error = "disk full" if number == failed else ""
                futures[number].set_result(pb.BatchAck(sequence=number, error=error))
            while not heard or heard[-1].sequence != group[-1]:
                heard.append(await asyncio.wait_for(anext(acks), 5))
        rest = [ack async for ack in acks] if ends else []
        return [(ack.sequence, ack.error) for ack in [*heard, *rest]]

    return asyncio.run(run())


def test_the_last_speaks_for_all_that_are_durable() -> None:
    assert told([1]) == [(1, "")]
    assert told([1, 2, 3], [4], [5, 6]) == [(3, ""), (4, ""), (6, "")]
    assert told([1, 2], [3], ends=False) == [(2, ""), (3, "")]


def test_an_error_is_told_by_itself() -> None:
    assert told([1, 2, 3, 4], failed=3) == [(3, "disk full"), (4, "")]
    assert told([1, 2], [3], failed=1) == [(1, "disk full"), (2, ""), (3, "")]


def test_a_stream_without_batches_ends() -> None:
    assert told() == []

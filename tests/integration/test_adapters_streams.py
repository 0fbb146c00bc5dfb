"""Both gRPC adapters over ModelStreamInfer: every piece stamped, failures on the stream settled."""

from __future__ import annotations

import time
from typing import Any

import pytest
from adapter_rig import ADAPTERS, WAIT_S, request_for, run
from stream_pieces import Pieces
from sut_process import sut_server
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import DONE, SystemUnderTest

FLAGS = ("--model", "synthetic-stream", "--first-token-time", "constant:20")


async def stream(adapter: str, target: str, model: str, count: int, **given: Any) -> Pieces:
    answers = Pieces()
    settings = Settings(sut=[target], model=model, adapter=adapter, **given)
    suts: list[SystemUnderTest] = await open_suts(settings, answers, streaming=True)
    try:
        for key in range(count):
            suts[0].issue(key, request_for(model), time.monotonic_ns())
        suts[0].flush()
        await answers.wait_for(count)
    finally:
        for sut in suts:
            await sut.close()
    return answers


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_piece_of_every_stream_arrives(adapter: str) -> None:
    first_ns, between_ns = 20_000_000, 10_000_000

    async def work(target: str) -> None:
        begun_ns = time.monotonic_ns()
        answers = await stream(adapter, target, "synthetic-stream", 20)
        assert {event[:3] for event in answers.by_key.values()} == {(DONE, k, 0) for k in range(20)}
        for key, instants in answers.pieces.items():
            assert len(instants) == 6
            # Neither sooner than the server sends nor behind the end.
            for place, instant_ns in enumerate(instants):
                due_ns = first_ns + place * between_ns
                assert instant_ns - begun_ns >= 0.9 * due_ns  # its timers tick in milliseconds
            assert instants == sorted(instants)
            assert instants[-1] <= answers.instants[key]
        assert answers.repeats == 0

    with sut_server(*FLAGS, "--token-count", "constant:6", "--token-time", "constant:10") as server:
        run(work(f"grpc://{server.host_port}"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_error_message_on_the_stream_fails_the_call(adapter: str) -> None:
    async def work(target: str) -> None:
        answers = await stream(adapter, target, "unknown", 3)
        for _, _, code, message, text in answers.by_key.values():
            assert (code, message) == (2, None)
            assert text == "no model 'unknown' here; there is synthetic-stream"
        assert not answers.pieces

    with sut_server(*FLAGS) as server:
        run(work(f"grpc://{server.host_port}"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_kept_answers_are_joined_at_the_end(adapter: str) -> None:
    async def work(target: str) -> None:
        answers = await stream(adapter, target, "synthetic-stream", 2, log_responses=True)
        for event in answers.by_key.values():
            whole = service_pb2.ModelInferResponse.FromString(event[3])
            tokens = [int.from_bytes(raw, "little") for raw in whole.raw_output_contents]
            assert tokens == [0, 1, 2]

    with sut_server(*FLAGS, "--token-count", "constant:3") as server:
        run(work(f"grpc://{server.host_port}"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_cancelled_stream_is_silent(adapter: str) -> None:
    async def work(target: str) -> None:
        answers = Pieces()
        settings = Settings(sut=[target], model="synthetic-stream", adapter=adapter)
        [sut] = await open_suts(settings, answers, streaming=True)
        sut.issue(1, request_for("synthetic-stream"), time.monotonic_ns())
        sut.flush()
        deadline = time.monotonic() + WAIT_S
        while 1 not in answers.pieces and time.monotonic() < deadline:
            await answers_turn()
        sut.cancel(1)
        seen = len(answers.pieces[1])
        sut.issue(2, request_for("unknown"), time.monotonic_ns())
        sut.flush()
        await answers.wait_for(1)
        assert set(answers.by_key) == {2}
        assert len(answers.pieces[1]) == seen
        await sut.close()

    flags = ("--token-count", "constant:1000", "--token-time", "constant:20")
    with sut_server(*FLAGS, *flags, "--drain-ms", "200") as server:
        run(work(f"grpc://{server.host_port}"))


async def answers_turn() -> None:
    import asyncio

    await asyncio.sleep(0.005)

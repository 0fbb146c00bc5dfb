"""gzip between ``loadgen`` and real servers: sut-server, and the grpc library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from adapter_rig import ADAPTERS, WAIT_S, Answers, echo, request_for, run
from openai_server import MODEL as STREAM_MODEL
from openai_server import openai_server, opened_openai
from openai_server import request as prompt
from stream_pieces import Pieces
from sut_process import sut_server
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.mlperf.audit.logs import read_accuracy_log
from loadgen_service.sut.factory import open_suts, request_compressor
from loadgen_service.sut.interface import Event, Parts
from loadgen_service.sut.kserve.grpc_request import MODEL_INFER_PATH

RUN_S = 100.0
GZIP = ("--request-compression", "gzip", "--accept-compression", "gzip")
BOTH = {"request_compression": "gzip", "accept_compression": "gzip"}
# One sample a batch: an inference's last bits may depend on who shares its batch.
SERVER = ("--model", "digits", "--max-batch", "1", "--http-port", "0")


@pytest.fixture(scope="module")
def gzip_server() -> Iterator[dict[str, str]]:
    """A server that takes gzip, and gives it to who reads it."""
    with digits("--compression", "gzip", "--shared-memory") as targets:
        yield targets


@contextlib.contextmanager
def digits(*flags: str) -> Iterator[dict[str, str]]:
    """``HOST:PORT`` of each protocol of a server of digits."""
    with sut_server(*SERVER, *flags) as server:
        assert server.process.stdout is not None
        http = server.process.stdout.readline().split(" ready on ")[1].strip()
        yield {"grpc": server.host_port, "http": http}


def load(out: Path, target: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--quiet"),
            *("--out", str(out), "--sut", target, *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )


def accuracy(out: Path, target: str, *flags: str) -> dict[str, Any]:
    """The summary of an accuracy run over the digits."""
    done = load(
        out, target, "--model", "digits", "--dataset", "digits", "--scenario", "offline",
        "--mode", "accuracy", "--accuracy-sample-count", "300", *flags,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def said(out: Path) -> dict[int, bytes]:
    return {one.sample_index: one.data for one in read_accuracy_log(out)}


WAYS = [("grpc", "wire"), ("grpc", "grpc_aio"), ("http", "wire")]


Said = tuple[str, dict[str, Any], dict[int, bytes]]
"""Plan hash, accuracy, and each sample's answer."""


def measured(out: Path, target: str, *flags: str) -> Said:
    summary = accuracy(out, target, *flags)
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] > 0.9
    return summary["plan_hash"], summary["accuracy"], said(out)


@pytest.fixture(scope="module")
def plain(gzip_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What a run without compression finds."""
    found = measured(tmp_path_factory.mktemp("plain"), f"grpc://{gzip_server['grpc']}")
    assert len(found[2]) > 100
    return found


@pytest.mark.parametrize(("scheme", "adapter"), WAYS)
def test_answers_by_gzip_are_those_without(
    tmp_path: Path, gzip_server: dict[str, str], plain: Said, scheme: str, adapter: str
) -> None:
    target = f"{scheme}://{gzip_server[scheme]}"
    assert measured(tmp_path / "run", target, "--adapter", adapter, *GZIP) == plain


def test_requests_of_several_samples_are_compressed_too(tmp_path: Path) -> None:
    with sut_server("--model", "digits", "--compression", "gzip") as server:
        target = f"grpc://{server.host_port}"
        summary = accuracy(tmp_path / "run", target, "--samples-per-request", "4", *GZIP)
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] > 0.9


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_takes_none_fails_the_queries_and_the_remedy_is_named(
    tmp_path: Path, scheme: str
) -> None:
    with digits() as targets:
        summary = accuracy(tmp_path / "run", f"{scheme}://{targets[scheme]}", *GZIP[:2])
    counts = summary["counts"]["queries"]
    assert counts["failed"] == counts["planned"] > 0
    [error] = summary["errors"]
    code, text = (2, "HTTP 415: requests compressed by gzip") if scheme == "http" else (12, "")
    assert error["code"] == code
    assert text in error["message"]
    assert "compress" in error["message"].lower()
    [budget] = [one for one in summary["findings"] if one["name"] == "error_budget"]
    assert "--request-compression none" in budget["advice"]


def test_what_does_not_go_together_is_one_line(tmp_path: Path) -> None:
    for target, flags, text in (
        ("grpc://127.0.0.1:1", ("--shared-memory", "system", *GZIP[:2]), "nothing to compress"),
        ("grpc://127.0.0.1:1", ("--request-compression", "br"), "request_compression"),
    ):
        done = load(tmp_path / "run", target, "--model", "digits", *flags)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert text in line


def test_compressed_answers_go_with_shared_memory(
    tmp_path: Path, gzip_server: dict[str, str]
) -> None:
    target = f"grpc://{gzip_server['grpc']}"
    summary = accuracy(tmp_path / "run", target, "--shared-memory", "system", *GZIP[2:])
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] > 0.9


# ---------------------------------------------------------------------- streams
async def prompts(target: str, count: int, **given: Any) -> tuple[Pieces, list[Event]]:
    compressor = request_compressor(Settings(sut=[target], model=STREAM_MODEL, **given))
    parts = prompt()
    if compressor is not None:
        parts = compressor.begin_series(lambda _: prompt())((0,))
    async with opened_openai(target, **given) as ([sut], answers):
        for key in range(count):
            sut.issue(key, parts, time.monotonic_ns())
        sut.flush()
        await answers.wait_for(count)
        return answers, list(answers.by_key.values())


async def told_apart(target: str, **given: Any) -> list[Any]:
    """Ask until the eight tokens of one answer have eight instants; that answer's text and tokens.

    Tokens leave the server 40 ms apart. A client that had no processor for so long reads several at
    once, and asks again; gzip that is held back never brings a token alone.
    """
    async with asyncio.timeout(WAIT_S):
        while True:
            answers, events = await prompts(f"openai://{target}", 10, log_responses=True, **given)
            assert all(event[2] == 0 for event in events), events
            assert {len(instants) for instants in answers.pieces.values()} == {8}
            if any(len(set(instants)) == 8 for instants in answers.pieces.values()):
                return sorted((event[2:4], event[5]) for event in events)


def test_tokens_by_gzip_are_stamped_as_they_come() -> None:
    async def work(target: str) -> None:
        assert await told_apart(target, **BOTH) == await told_apart(target)

    flags = ("--token-count", "constant:8", "--token-time", "constant:40", "--compression", "gzip")
    with openai_server(*flags) as target:
        run(work(target))


def test_a_whole_completion_comes_by_gzip() -> None:
    async def work(target: str) -> None:
        address = f"openai://{target}"
        settings = Settings(sut=[address], model=STREAM_MODEL, **BOTH)
        compressor = request_compressor(settings)
        assert compressor is not None
        made = compressor.begin_series(lambda _: prompt(streaming=False, max_tokens=3))
        async with opened_openai(address, log_responses=True, **BOTH) as ([sut], answers):
            sut.issue(1, made((0,)), time.monotonic_ns())
            sut.flush()
            await answers.wait_for(1)
            assert answers.by_key[1][2] == 0
            assert json.loads(answers.by_key[1][3])["text"] == "0 1 2 "

    with openai_server("--compression", "gzip") as target:
        run(work(target))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_piece_of_a_grpc_stream_comes_by_gzip(adapter: str) -> None:
    async def work(target: str) -> None:
        answers = Pieces()
        settings = Settings(sut=[target], model="synthetic-stream", adapter=adapter, **BOTH)
        parts = prepared(settings, request_for("synthetic-stream"))
        [sut] = await open_suts(settings, answers, streaming=True)
        try:
            for key in range(10):
                sut.issue(key, parts, time.monotonic_ns())
            sut.flush()
            await answers.wait_for(10)
        finally:
            await sut.close()
        assert {event[2] for event in answers.by_key.values()} == {0}
        for instants in answers.pieces.values():
            assert len(instants) == 6
            assert instants[-1] - instants[0] >= 40_000_000  # one gap of five: none is held back

    flags = ("--model", "synthetic-stream", "--first-token-time", "constant:20")
    more = ("--token-count", "constant:6", "--token-time", "constant:150", "--compression", "gzip")
    with sut_server(*flags, *more) as server:
        run(work(f"grpc://{server.host_port}"))


# ---------------------------------------------------------------------- the grpc library
def prepared(settings: Settings, parts: Parts) -> Parts:
    """A request as a worker would have it ready."""
    compressor = request_compressor(settings)
    return parts if compressor is None else compressor.begin_series(lambda _: parts)((0,))


@contextlib.asynccontextmanager
async def library_server(compression: grpc.Compression, **options: int) -> AsyncIterator[str]:
    """An echo by grpcio with ``compression`` for its answers."""
    server = grpc.aio.server(
        options=[(f"grpc.{name}", value) for name, value in options.items()],
        compression=compression,
    )
    service, name = MODEL_INFER_PATH.lstrip("/").split("/")
    method = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def echoes(target: str, parts: Parts, count: int, **given: Any) -> list[Event]:
    answers = Answers()
    settings = Settings(sut=[target], model="null", **given)
    [sut] = await open_suts(settings, answers)
    try:
        for key in range(count):
            sut.issue(key, prepared(settings, parts), time.monotonic_ns())
            sut.flush()
        async with asyncio.timeout(WAIT_S):
            await answers.wait_for(count)
    finally:
        await sut.close()
    return [answers.by_key[key] for key in range(count)]


CONTENTS: Sequence[bytes] = (
    b"",
    bytes(1000),
    random.Random(3).randbytes(1000),  # grpcio sends uncompressed what gzip makes no smaller
    bytes(3 << 20) + random.Random(4).randbytes(2 << 20),  # many frames, above every first window
)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_grpcio_reads_our_gzip_and_we_read_its(adapter: str, compression: grpc.Compression) -> None:
    async def work() -> None:
        async with library_server(compression, max_receive_message_length=1 << 26) as target:
            for content in CONTENTS:
                parts = request_for("null", content)
                plain = parts if isinstance(parts, bytes) else b"".join(parts)
                events = await echoes(target, parts, 5, adapter=adapter, **BOTH)
                assert [event[2:5] for event in events] == [(0, plain[5:], "")] * 5

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_compressed_answer_that_nobody_asked_for_is_a_failure_by_name(adapter: str) -> None:
    """grpcio's server, once told to compress, does so for callers that do not read it, too."""

    async def work() -> None:
        async with library_server(grpc.Compression.Gzip) as target:
            [event] = await echoes(target, request_for("null", bytes(1000)), 1, adapter=adapter)
            assert event[2] == 13
            assert "compress" in event[4].lower()

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_grpcio_without_gzip_refuses_ours_by_name(adapter: str) -> None:
    async def work() -> None:
        only_identity = {"compression_enabled_algorithms_bitset": 1}
        async with library_server(grpc.Compression.NoCompression, **only_identity) as target:
            parts = request_for("null", bytes(1000))
            [event] = await echoes(target, parts, 1, adapter=adapter, **BOTH)
            assert event[2] == 12
            assert "gzip" in event[4]

    run(work())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_bomb_is_a_failed_query_and_the_next_is_none(adapter: str) -> None:
    """65 MiB of zeros, in some 64 KB: above what an answer may have."""

    async def work() -> None:
        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return bytes(65 << 20) if len(request) > 200 else b"small"

        server = grpc.aio.server(
            options=[("grpc.max_send_message_length", -1)], compression=grpc.Compression.Gzip
        )
        service, name = MODEL_INFER_PATH.lstrip("/").split("/")
        method = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: method}),)
        )
        target = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            given = {"adapter": adapter, "accept_compression": "gzip"}
            [event] = await echoes(target, request_for("null", bytes(1000)), 1, **given)
            assert event[2] == 8
            [event] = await echoes(target, request_for("null"), 1, **given)
            assert event[2:4] == (0, b"small")
        finally:
            await server.stop(None)

    run(work())


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_sut_server_speaks_gzip_with_grpcio(compression: grpc.Compression | None) -> None:
    from tritonclient.grpc import service_pb2_grpc

    with sut_server("--model", "digits", "--compression", "gzip") as server:
        channel = grpc.insecure_channel(server.host_port, compression=compression)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="digits")
        request.inputs.add(name="input", datatype="FP32", shape=[1, 64])
        request.raw_input_contents.append(bytes(256))
        for _ in range(3):
            answer = stub.ModelInfer(request, timeout=WAIT_S)
            assert len(answer.raw_output_contents[0]) == 40
        channel.close()

"""KServe v2 over HTTP against sut-server: the same answers as over gRPC, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_pieces import Pieces
from sut_process import sut_server
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError, UserError
from loadgen_service.sut.control import Answers
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.sut.kserve.http_control import KserveHttpControl
from loadgen_service.sut.kserve.http_request import HttpInferBuilder

RUN_S = 110.0
DIGIT = np.arange(64, dtype="<f4").tobytes()


@contextlib.contextmanager
def http_server(*flags: str) -> Iterator[tuple[str, str]]:
    """``HOST:PORT`` of gRPC and of HTTP."""
    with sut_server("--model", "digits", "--http-port", "0", *flags) as server:
        assert server.process.stdout is not None
        line = server.process.stdout.readline()
        yield server.host_port, line.split(" ready on ")[1].strip()


def request(shape: tuple[int, ...] = (64,), content: bytes = DIGIT) -> Parts:
    tensors = [RequestTensor("input", "FP32", shape)]
    return HttpInferBuilder(tensors, True, lambda _: [content]).build((0,))


def settings(target: str, **given: Any) -> Settings:
    return Settings(sut=[f"http://{target}"], **({"model": "digits"} | given))


async def ask(target: str, parts: Parts, **given: Any) -> tuple[Any, ...]:
    """The one event of one call."""
    answers = Pieces()
    [sut] = await open_suts(settings(target, **given), answers)
    try:
        sut.issue(1, parts, time.monotonic_ns())
        sut.flush()
        await answers.wait_for(1)
        return tuple(answers.by_key[1])
    finally:
        await sut.close()


async def describe(target: str, **given: Any) -> tuple[Answers, Answers]:
    async with KserveHttpControl(settings(target, **given), 10_000_000_000) as control:
        return await control.describe(), await control.statistics()


def test_answers_refusals_and_descriptions() -> None:
    with http_server() as (_, target):
        event = asyncio.run(ask(target, request(), log_responses=True))
        assert event[2] == 0
        answer = service_pb2.ModelInferResponse.FromString(event[3])
        assert answer.model_name == "digits"
        assert answer.raw_output_contents
        assert asyncio.run(ask(target, request()))[2:4] == (0, None)

        wrong = asyncio.run(ask(target, request((63,), DIGIT[4:])))
        assert wrong[2] == 3
        assert "shape" in wrong[4]
        unknown = asyncio.run(ask(target, request(), model="digitz"))
        assert unknown[2] == 5
        assert "HTTP 404: no model 'digitz' here" in unknown[4]

        found, statistics = asyncio.run(describe(target))
        [described] = found.suts
        assert described.name.startswith("sut-server")
        assert described.inputs[0].name == "input"
        assert described.max_batch_size == 8
        counted = service_pb2.ModelStatisticsResponse.FromString(
            statistics.statistics[0].kserve_statistics
        )
        assert counted.model_stats[0].inference_stats.success.count == 2
        with pytest.raises(SutError, match="digitz"):
            asyncio.run(describe(target, model="digitz"))


def test_what_cannot_be_is_said_before_the_load() -> None:
    async def streams(target: str) -> None:
        await open_suts(settings(target), Pieces(), streaming=True)

    with http_server() as (grpc, target):
        with pytest.raises(UserError, match="over gRPC only"):
            asyncio.run(streams(target))
        with pytest.raises(UserError, match="grpc_aio speaks gRPC, not http"):
            asyncio.run(open_suts(settings(target, adapter="grpc_aio"), Pieces()))
        with pytest.raises(SutError, match=f"write grpc://{grpc}"):
            asyncio.run(describe(grpc))


def test_json_without_binary_tensors_is_answered_in_json() -> None:
    with http_server() as (_, target):
        connection = http.client.HTTPConnection(target, timeout=20)
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}
        for body, status in (
            (json.dumps({"inputs": [tensor]}), 200),
            (json.dumps({"inputs": [tensor | {"data": "x"}]}), 400),
            ("{", 400),
            (json.dumps({"inputs": [tensor | {"shape": [1, 63]}]}), 400),
        ):
            connection.request("POST", "/v2/models/digits/infer", body)
            response = connection.getresponse()
            said = json.loads(response.read())
            assert response.status == status, said
            assert ("outputs" in said) == (status == 200)
        for path, status in (
            ("/v2", 200),
            ("/v2/health/live", 200),
            ("/v2/health/ready", 200),
            ("/v2/models/digits/ready", 200),
            ("/v2/models/none/ready", 400),
            ("/v2/models/none", 404),
            ("/v3", 404),
        ):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status, path
        connection.close()


def test_a_run_over_http_is_the_run_over_grpc(tmp_path: Path) -> None:
    scores = {}
    with http_server() as (grpc, http_target):
        for name, target, flags in (
            ("grpc", f"grpc://{grpc}", ()),
            ("http", f"http://{http_target}", ()),
            ("json", f"http://{http_target}", ("--http-tensors", "json")),
        ):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "loadgen_service", "run", "--json"),
                    *("--out", str(tmp_path / name), "--sut", target, *flags),
                    *("--model", "digits", "--dataset", "digits", "--scenario", "server"),
                    *("--mode", "submission", "--target-qps", "50", "--min-duration-ms", "1500"),
                    *("--min-query-count", "50", "--target-latency-ms", "5000"),
                    *("--target-latency-percentile", "50"),
                ],
                capture_output=True,
                text=True,
                timeout=RUN_S,
            )
            assert done.returncode in (0, 1), done.stderr
            summary = json.loads(done.stdout)
            counts = summary["counts"]["queries"]
            assert counts["planned"] == counts["completed"], summary["errors"]
            assert summary["accuracy"]["top1"] > 0.9
            scores[name] = (counts["planned"], summary["plan_hash"], summary["accuracy"])
    assert scores["json"] == scores["http"] == scores["grpc"]


def test_a_server_that_ends_is_named() -> None:
    async def work() -> None:
        answers = Pieces()
        with http_server() as (_, target):
            [sut] = await open_suts(settings(target), answers)
        try:
            sut.issue(1, request(), time.monotonic_ns())
            sut.flush()
            async with asyncio.timeout(20):
                while 1 not in answers.by_key:
                    await asyncio.sleep(0.05)
                    sut.sweep(time.monotonic_ns())
            assert answers.by_key[1][2] == 255
        finally:
            await sut.close()

    asyncio.run(work())

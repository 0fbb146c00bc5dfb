"""Rows about the server: sut-server under h2load, and with the real model beside ONNX Runtime."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import clients
import clients_cost
from foreign_servers import nghttp2_server, triton_server
from harness import Row, Side
from processes import PEERS, ROOT, SERVER_CORE, output_of, python, started, sut_server

from sut_server.models.zoo import onnx_path

SECONDS = 2.0
TRITON_ROUNDS = 5
"""Whether h2load sleeps between two reads hangs on a microsecond, and its figure with that."""


@contextlib.contextmanager
def null_server() -> Iterator[list[Row]]:
    """Both servers up; h2load drives one after the other."""
    aio_argv = python(str(PEERS / "grpc_aio_server.py"))
    with (
        sut_server("--model", "null") as (ours_at, _),
        started(aio_argv, SERVER_CORE, "ready on") as (line, _),
    ):
        aio_at = line.rsplit(" ", 1)[-1]
        yield [
            Row(
                f"sut-server --model null under h2load, {outstanding} outstanding",
                "answers/s",
                Side(
                    "sut-server", functools.partial(clients.h2load, ours_at, outstanding, SECONDS)
                ),
                Side(
                    "grpc.aio server, ready bytes",
                    functools.partial(clients.h2load, aio_at, outstanding, SECONDS),
                ),
                20.0,
            )
            for outstanding in (16, 64)
        ]


@contextlib.contextmanager
def beside_nghttp2() -> Iterator[list[Row]]:
    """Our cheapest model and a C server of the same job, each under h2load."""
    with sut_server("--model", "null") as (ours_at, _), nghttp2_server() as theirs_at:
        yield [
            Row(
                f"sut-server --model null under h2load, {outstanding} outstanding",
                "answers/s",
                Side(
                    "sut-server", functools.partial(clients.h2load, ours_at, outstanding, SECONDS)
                ),
                Side(
                    "C server on nghttp2",
                    functools.partial(clients.h2load, theirs_at, outstanding, SECONDS),
                ),
                0.6,
                rounds=5,
            )
            for outstanding in (16, 64)
        ]


@contextlib.contextmanager
def digits() -> Iterator[list[Row]]:
    """The same ONNX file in both servers, batched, under perf_analyzer."""
    with (
        tempfile.TemporaryDirectory() as folder,
        sut_server("--model", "digits", "--max-batch", "64") as (ours_at, _),
    ):
        model = Path(folder) / "digits"
        shutil.copytree(PEERS / "triton_digits", model)
        shutil.copy(ROOT / "tests/triton/repository/efficientnet-lite0/1/model.py", model / "1")
        shutil.copy(onnx_path("digits"), model / "1" / "model.onnx")
        with triton_server({"digits": model}) as theirs_at:
            flags = ("--concurrency-range", "64")
            sides = [
                Side(
                    name,
                    functools.partial(clients_cost.perf_analyzer, at, SECONDS, "digits", *flags),
                )
                for name, at in (("sut-server", ours_at), ("Triton, Python backend", theirs_at))
            ]
            what = "digits by ONNX Runtime, batched, 64 outstanding by perf_analyzer"
            yield [Row(what, "queries/s", *sides, 2.0, rounds=5)]


@contextlib.contextmanager
def triton() -> Iterator[list[Row]]:
    """Real Triton's own unary limit under h2load: its cheapest call, and its cheapest model."""
    with (
        sut_server("--model", "null") as (ours_at, _),
        triton_server({"identity": PEERS / "triton_identity"}) as triton_at,
    ):
        yield [
            Row(
                f"sut-server --model null under h2load, {outstanding} outstanding",
                "answers/s",
                Side(
                    "sut-server", functools.partial(clients.h2load, ours_at, outstanding, SECONDS)
                ),
                theirs,
                5.0,
                rounds=TRITON_ROUNDS,
            )
            for outstanding in (16, 64)
            for theirs in _triton_sides(triton_at, outstanding)
        ]


def _triton_sides(address: str, outstanding: int) -> list[Side]:
    live = functools.partial(clients.h2load, address, outstanding, SECONDS, method="ServerLive")
    infer = functools.partial(clients.h2load, address, outstanding, SECONDS, model="identity")
    return [
        Side("Triton, ServerLive (no tensor, no model)", live),
        Side("Triton, ModelInfer of an identity model (Python backend)", infer),
    ]


@contextlib.contextmanager
def real_model() -> Iterator[list[Row]]:
    """EfficientNet-Lite0, batches of 8, one thread: served, and run in a bare loop."""
    flags = ("--model", "efficientnet-lite0", "--max-batch", "8", "--max-queue-delay-us", "20000")
    flags += ("--warm-up",)  # the loop, too, runs a batch before it counts
    with sut_server(*flags, "--shared-memory") as (address, _):

        def served(*more: str) -> float:
            found = clients.product_summary(address, 32, 8.0, "efficientnet-lite0", *more)
            return float(found["completed_samples_per_second"])

        def direct() -> float:
            argv = python(str(PEERS / "onnxruntime_loop.py"), "8", "8")
            return float(output_of(argv, SERVER_CORE).split()[-1])

        loop = Side("onnxruntime in a loop", direct)
        placed = functools.partial(served, "--shared-memory", "system")
        what = "sut-server with EfficientNet-Lite0, batch 8, one thread"
        yield [
            Row(what, "samples/s", Side("by message", served), loop, 0.97, rounds=5),
            Row(
                f"{what}, samples in shared memory",
                "samples/s",
                Side("by shared memory", placed),
                loop,
                0.97,
                rounds=5,
            ),
        ]

"""Rows about the generator: closed loops against every other client, large payloads."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import clients
from harness import Row, Side
from processes import sut_server
from requests_file import IMAGE_ELEMENTS

SECONDS = 2.0
IMAGE_SECONDS = 3.0
CONNECTIONS = 32
ROUNDS = 6
"""A host that halves its speed for seconds at a time needs more than a few pairs."""


@contextlib.contextmanager
def closed_loops() -> Iterator[list[Row]]:
    """One worker through the whole product against each peer, on one null server."""
    with sut_server("--model", "null") as (address, _):
        rows = [row for outstanding in (1, 16, 64) for row in _at(address, outstanding)]
        yield [*rows, _spread(address)]


def _at(address: str, outstanding: int) -> list[Row]:
    def side(name: str, call: Callable[..., float], *more: str) -> Side:
        return Side(name, functools.partial(call, address, outstanding, SECONDS, *more))

    ours = side("loadgen run", clients.product)
    what = f"closed loop, {outstanding} outstanding, whole product"
    analyzer = 1.0 if outstanding == 1 else 4.0
    peers = [
        (side("perf_analyzer 2.41 async", clients.perf_analyzer, "async"), analyzer),
        (side("perf_analyzer 2.41 sync", clients.perf_analyzer, "sync"), analyzer),
        (side("grpc.aio, ready bytes", clients.grpc_aio), 6.0),
        (side("tritonclient.grpc.aio", clients.tritonclient_aio), 6.0),
        (side("h2load", clients.h2load), 0.7),
        (side("bare wire loop", clients.wire_loop), 0.9),
    ]
    return [Row(what, "queries/s", ours, peer, target, rounds=ROUNDS) for peer, target in peers]


def _spread(address: str) -> Row:
    """Two calls a connection: reads and writes carry little, for any client."""
    flags = ("--connections", str(CONNECTIONS))
    return Row(
        f"closed loop, 64 outstanding over {CONNECTIONS} connections, whole product",
        "queries/s",
        Side("loadgen run", lambda: clients.product(address, 64, SECONDS, "null", *flags)),
        Side("h2load", lambda: clients.h2load(address, 64, SECONDS, connections=CONNECTIONS)),
        0.7,
    )


@contextlib.contextmanager
def images() -> Iterator[list[Row]]:
    """Requests of 602 KB, 8 outstanding."""
    flags = ("--model", "synthetic", "--service-time", "constant:0")
    elements = ("--input-elements", str(IMAGE_ELEMENTS), "--max-batch", "1")
    with sut_server(*flags, *elements) as (address, _):
        ours = Side("loadgen run", lambda: clients.product(address, 8, IMAGE_SECONDS, "synthetic"))

        def h2load() -> float:
            return clients.h2load(address, 8, IMAGE_SECONDS, IMAGE_ELEMENTS, model="synthetic")

        def aio() -> float:
            return clients.grpc_aio(address, 8, IMAGE_SECONDS, IMAGE_ELEMENTS, "synthetic")

        what = "requests of 602 KB, 8 outstanding"
        yield [
            Row(what, "queries/s", ours, Side("h2load", h2load), 0.9),
            Row(what, "queries/s", ours, Side("grpc.aio, ready bytes", aio), 1.0),
        ]


@contextlib.contextmanager
def shared_memory() -> Iterator[list[Row]]:
    """Requests of 602 KB by shared memory and by message, 8 outstanding: what it buys."""
    flags = ("--model", "synthetic", "--service-time", "constant:0", "--shared-memory")
    elements = ("--input-elements", str(IMAGE_ELEMENTS), "--max-batch", "1")
    with sut_server(*flags, *elements) as (address, _):

        def by(*flags: str) -> float:
            return clients.product(address, 8, IMAGE_SECONDS, "synthetic", *flags)

        yield [
            Row(
                "requests of 602 KB by shared memory, 8 outstanding",
                "queries/s",
                Side("inputs by shared memory", functools.partial(by, "--shared-memory", "system")),
                Side("the same by message", by),
                None,
            )
        ]

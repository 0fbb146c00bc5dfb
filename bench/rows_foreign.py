"""Rows against servers that nobody here wrote: nghttp2, gRPC's C-core, grpc-go, proxies, Triton.

Each server runs alone on its core and every client on the other; one worker, every record kept.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import clients
import clients_cost
from foreign_servers import core_server, go_server, haproxy, nghttp2_server, nginx, triton_server
from harness import Row, Side
from processes import PEERS

MODEL = "null"
SECONDS = 3.0
ROUNDS = 4
RATE_SECONDS = 8.0
LOG_NORMAL_BYTES = 200
SERVICE_US = 5_000
SHOWN = math.nan
"""A CPU row without a target."""


def _ours(address: str, outstanding: int, *flags: str) -> Side:
    call = functools.partial(clients_cost.closed, address, outstanding, SECONDS, MODEL, *flags)
    return Side("loadgen run", call)


def _h2load(address: str, outstanding: int, connections: int = 1) -> Side:
    call = functools.partial(clients_cost.h2load, address, outstanding, SECONDS, connections)
    return Side("h2load", call)


def _analyzer(address: str, outstanding: int, model: str = MODEL) -> Side:
    flags = ("--concurrency-range", str(outstanding))
    call = functools.partial(clients_cost.perf_analyzer, address, SECONDS, model, *flags)
    return Side(f"perf_analyzer {clients.ANALYZER} async", call)


def _closed(
    server: str,
    address: str,
    outstanding: int,
    targets: Sequence[tuple[Side, float | None]],
    cpu_targets: Sequence[float | None],
) -> list[Row]:
    what = f"{server}, {outstanding} outstanding"
    ours = _ours(address, outstanding)
    return [
        Row(what, "queries/s", ours, peer, target, rounds=ROUNDS, cpu_target=cpu)
        for (peer, target), cpu in zip(targets, cpu_targets, strict=True)
    ]  # fmt: skip


@contextlib.contextmanager
def nghttp2() -> Iterator[list[Row]]:
    """The practical limit of a server: C, one thread, no gRPC library."""
    with nghttp2_server() as address:
        rows = []
        for outstanding, least, analyzer in ((1, None, None), (16, 0.85, 5.0), (64, 0.85, 5.0)):
            peers = [
                (_h2load(address, outstanding), least),
                (_analyzer(address, outstanding), analyzer),
            ]
            name = "C server on nghttp2"
            rows += _closed(name, address, outstanding, peers, (SHOWN, SHOWN))
        yield rows


@contextlib.contextmanager
def c_core() -> Iterator[list[Row]]:
    """gRPC's own C++ server, which limits the rate: the client's CPU time tells them apart."""
    with core_server() as address:
        rows = []
        for outstanding in (1, 16, 64):
            busy = outstanding > 1
            peers = [
                (_h2load(address, outstanding), 1.0 if busy else None),
                (_analyzer(address, outstanding), None),
            ]
            name = "C++ server on gRPC's C-core"
            rows += _closed(name, address, outstanding, peers, (None, 0.5 if busy else SHOWN))
        yield rows


@contextlib.contextmanager
def grpc_go() -> Iterator[list[Row]]:
    """A server in Go."""
    with go_server() as address:
        peers = [(_h2load(address, 64), None)]
        yield _closed("server on grpc-go", address, 64, peers, (None,))


@contextlib.contextmanager
def shapes() -> Iterator[list[Row]]:
    """Ours against ours: what the peer's answers and its connections do to the rate."""
    with (
        nghttp2_server("--elements", str(LOG_NORMAL_BYTES // 4)) as fixed,
        nghttp2_server("--elements", str(LOG_NORMAL_BYTES // 4), "--sigma", "1") as drawn,
        nghttp2_server("--service-us", str(SERVICE_US)) as slow,
        core_server() as core,
    ):
        plain = _ours(fixed, 64)
        slow_peer = _h2load(slow, 64)
        yield [
            _pair("answers of log-normal lengths", _ours(drawn, 64), plain, 0.9),
            _pair("8 connections", _ours(fixed, 64, "--connections", "8"), plain, 0.8),
            _pair("requests by gzip", _ours(core, 64, "--request-compression", "gzip"),
                  _ours(core, 64), None, server="C-core server"),
            Row("5 ms of service time, 64 outstanding", "queries/s", _ours(slow, 64), slow_peer,
                None, rounds=ROUNDS, cpu_target=SHOWN),
        ]  # fmt: skip


def _pair(
    what: str, ours: Side, plain: Side, target: float | None, server: str = "nghttp2 server"
) -> Row:
    sides = (Side(what, ours.measure), Side("fixed, one connection, plain", plain.measure))
    what = f"{server}, 64 outstanding: {what}"
    return Row(what, "queries/s", *sides, target, rounds=ROUNDS, cpu_target=SHOWN)


@contextlib.contextmanager
def proxies() -> Iterator[list[Row]]:
    """nginx before the C++ server, plain and TLS, and HAProxy before it."""
    with core_server() as address, nginx(address) as (plain, tls, ca), haproxy(address) as other:
        ours = _ours(plain, 64)
        secure = Side("TLS", functools.partial(
            clients_cost.product, f"grpcs://{tls}", SECONDS, MODEL,
            "--scenario", "concurrency", "--concurrency", "64", "--tls-ca", ca,
        ))  # fmt: skip
        yield [
            Row("nginx before C-core, 64 outstanding", "queries/s", ours, _h2load(plain, 64), None,
                rounds=ROUNDS),
            Row("HAProxy before C-core, 64 outstanding", "queries/s", _ours(other, 64),
                _h2load(other, 64), None, rounds=ROUNDS),
            Row("nginx before C-core, 64 outstanding: TLS", "queries/s", secure,
                Side("plain", ours.measure), 0.5, rounds=ROUNDS, cpu_target=SHOWN),
        ]  # fmt: skip


@contextlib.contextmanager
def triton_clients() -> Iterator[list[Row]]:
    """The real Triton with an identity model: the rate where it is the limit, and CPU a query."""
    with triton_server({"identity": PEERS / "triton_identity"}) as address:
        closed = functools.partial(clients_cost.closed, address, 32, SECONDS, "identity")
        rows = [
            Row("real Triton, identity model, 32 outstanding", "queries/s",
                Side("loadgen run", closed), _analyzer(address, 32, "identity"), None,
                rounds=ROUNDS, cpu_target=0.5)
        ]  # fmt: skip
        for rate in (1_000, 5_000):
            ours = functools.partial(clients_cost.poisson, address, rate, RATE_SECONDS, "identity")
            theirs = functools.partial(
                clients_cost.perf_analyzer, address, RATE_SECONDS, "identity",
                "--request-rate-range", str(rate), "--request-distribution", "poisson",
            )  # fmt: skip
            rows.append(
                Row(f"real Triton, identity model, Poisson {rate:,}/s", "queries/s",
                    Side("loadgen run", ours),
                    Side(f"perf_analyzer {clients.ANALYZER} async", theirs), None, rounds=3,
                    cpu_target=0.8)
            )  # fmt: skip
        yield rows

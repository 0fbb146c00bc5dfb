"""Every comparison of the generator, the server and the plan with their peers.

``python bench/run.py [--quick] [GROUP ...]`` prints each row as it is measured, then writes
bench/results.json and the table in docs/how-it-works/performance.md (not with --quick).
Groups that are named replace their own rows there. Machine and versions must equal the others'.
Client on one core, server on another; both sides of a row alternate within one run. Every group has
a budget of seconds, after which it begins no further round, and a deadline, at which it is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import curves
import rows_client
import rows_cost
import rows_fleet
import rows_foreign
import rows_server
import rows_streams
import rows_time
from environment import machine, versions
from harness import Result, Row, measure_together, reason_of, say
from kept import Environment, OtherEnvironment, keep, rows_of, table, write_table
from processes import ROOT

RESULTS = ROOT / "bench" / "results.json"

Rows = Callable[[], contextlib.AbstractContextManager[Sequence[Row]]]


def _plain(make: Callable[[bool], Sequence[Row]], quick: bool) -> Rows:
    @contextlib.contextmanager
    def rows() -> Iterator[Sequence[Row]]:
        yield make(quick)

    return rows


BUDGET_S = {
    "nghttp2": 260.0,
    "c-core": 260.0,
    "grpc-go": 40.0,
    "shapes": 180.0,
    "proxies": 120.0,
    "triton-clients": 200.0,
    "closed-loop": 240.0,
    "images": 45.0,
    "shared-memory": 40.0,
    "null-server": 40.0,
    "null-nghttp2": 40.0,
    "digits": 60.0,
    "triton": 80.0,
    "real-model": 230.0,
    "planning": 15.0,
    "collector": 30.0,
    "start-up": 10.0,
    "streams": 40.0,
}
DEADLINE_S = 600.0
"""Of one group: by then something hangs."""

ON_DEMAND_S = {"run-length": 3_600.0}
"""Groups that only run where they are named, and their deadlines."""


class OutOfTime(Exception):
    """A group's deadline passed; no row catches this."""


def groups(quick: bool) -> dict[str, Callable[[list[Result]], None]]:
    """Name of a group -> what measures it and adds its results to a list."""
    rows: dict[str, Rows] = {
        "nghttp2": rows_foreign.nghttp2,
        "c-core": rows_foreign.c_core,
        "grpc-go": rows_foreign.grpc_go,
        "shapes": rows_foreign.shapes,
        "proxies": rows_foreign.proxies,
        "triton-clients": rows_foreign.triton_clients,
        "closed-loop": rows_client.closed_loops,
        "images": rows_client.images,
        "shared-memory": rows_client.shared_memory,
        "null-server": rows_server.null_server,
        "null-nghttp2": rows_server.beside_nghttp2,
        "digits": rows_server.digits,
        "triton": rows_server.triton,
        "streams": rows_streams.token_streams,
        "real-model": rows_server.real_model,
        "planning": _plain(rows_cost.planning, quick),
        "collector": _plain(rows_cost.collector, quick),
        "start-up": _plain(rows_cost.start_up, quick),
    }
    whole: dict[str, Callable[[bool], list[Result]]] = {
        "poisson": rows_time.poisson_held,
        "issue-delay": rows_time.issue_delay,
        "percentiles": rows_cost.percentiles,
        "plan-memory": rows_cost.plan_memory,
        "fleet": rows_fleet.hundred_workers,
        "curves": curves.measure_curves,
        "run-length": curves.run_length,
    }
    return {
        **{name: functools.partial(_measured, name, each, quick) for name, each in rows.items()},
        **{name: functools.partial(_whole, each, quick) for name, each in whole.items()},
    }


def _measured(name: str, rows: Rows, quick: bool, results: list[Result]) -> None:
    until_s = time.monotonic() + BUDGET_S[name]
    with rows() as found:
        sharing = [list(same) for _, same in itertools.groupby(found, lambda row: id(row.ours))]
        for left, same in zip(range(len(sharing), 0, -1), sharing, strict=True):
            now_s = time.monotonic()
            share_s = now_s + max(0.0, until_s - now_s) / left
            for result in measure_together(same, 1 if quick else None, share_s):
                print(say(result), flush=True)
                results.append(result)


def _whole(make: Callable[[bool], list[Result]], quick: bool, results: list[Result]) -> None:
    for result in make(quick):
        print(say(result), flush=True)
        results.append(result)


def run(wanted: Sequence[str], quick: bool) -> list[Result]:
    """Measure the groups in order; one that fails as a whole is a row with its reason."""
    every = groups(quick)
    results: list[Result] = []
    for name in wanted or [name for name in every if name not in ON_DEMAND_S]:
        started, before_count = time.monotonic(), len(results)
        try:
            with _deadline(name):
                every[name](results)
        except Exception as error:  # the other groups are still worth measuring
            results.append(Result(name, "-", "", None, reason=reason_of(error)))
            print(say(results[-1]), flush=True)
        for result in results[before_count:]:
            result.group, result.measured_unix_s = name, round(time.time())
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
    return results


@contextlib.contextmanager
def _deadline(name: str) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise OutOfTime(f"{name}: not done in {limit_s:g} s")

    limit_s = ON_DEMAND_S.get(name, DEADLINE_S)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Exit code 0 whatever the figures: they are reported, not enforced; 1: they are not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each row")
    parser.add_argument("group", nargs="*", choices=[[], *groups(True)], help="default: all")
    given = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("bench: needs two cores, one for the client and one for the server", file=sys.stderr)
        return 2
    os.environ.setdefault("LOADGEN_CACHE", str(Path.home() / ".cache" / "loadgen"))
    where = {"machine": machine(), "versions": versions()}
    is_kept = not given.quick and _can_keep(where, is_whole=not given.group)
    results = run(given.group, given.quick)
    print(table(results))
    if is_kept:
        rows = keep(RESULTS, results, where, list(groups(False)), is_whole=not given.group)
        write_table(ROOT / "docs" / "how-it-works" / "performance.md", rows, where)
    return 0 if is_kept or given.quick else 1


def _can_keep(where: Environment, *, is_whole: bool) -> bool:
    """Say before anything is measured whether it will stay."""
    try:
        rows_of(RESULTS, where, is_whole)
    except OtherEnvironment as error:
        print(f"bench: nothing will be written: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

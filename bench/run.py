"""Every comparison of the generator, the server and the plan with their peers.

``python bench/run.py [--quick] [GROUP ...]`` prints each row as it is measured, then writes
bench/results.json and the table in docs/performance.md (not with --quick, nor for single groups).
Client on one core, server on another; both sides of a row alternate within one run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rows_client
import rows_cost
import rows_server
import rows_time
from harness import Result, Row, measure, say, table, write_results
from processes import BENCH_VENV, ROOT, MissingPeer, RowFailed, output_of

Rows = Callable[[], contextlib.AbstractContextManager[Sequence[Row]]]


def _plain(make: Callable[[bool], Sequence[Row]], quick: bool) -> Rows:
    @contextlib.contextmanager
    def rows() -> Iterator[Sequence[Row]]:
        yield make(quick)

    return rows


def groups(quick: bool) -> dict[str, Callable[[], list[Result]]]:
    """Name of a group -> what measures it."""
    rows: dict[str, Rows] = {
        "closed-loop": rows_client.closed_loops,
        "images": rows_client.images,
        "null-server": rows_server.null_server,
        "triton": rows_server.triton,
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
    }
    return {
        **{name: functools.partial(_measured, each, quick) for name, each in rows.items()},
        **{name: functools.partial(each, quick) for name, each in whole.items()},
    }


def _measured(rows: Rows, quick: bool) -> list[Result]:
    results = []
    with rows() as found:
        for row in found:
            result = measure(row, 1 if quick else None)
            print(say(result), flush=True)
            results.append(result)
    return results


def run(wanted: Sequence[str], quick: bool) -> list[Result]:
    """Measure the groups in order; one that fails as a whole is a row with its reason."""
    every = groups(quick)
    results: list[Result] = []
    for name in wanted or every:
        started = time.monotonic()
        try:
            found = every[name]()
        except (MissingPeer, RowFailed, OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            found = [Result(name, "-", "", None, reason=reason)]
        if name in ("poisson", "issue-delay", "percentiles", "plan-memory") or found[0].reason:
            print("\n".join(map(say, found)), flush=True)
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
        results += found
    return results


def versions() -> dict[str, str]:
    """Of everything that was compared."""
    found = {}
    for name in ("loadgen-service", "grpcio", "tritonclient", "uvloop", "numpy", "onnxruntime",
                 "mlcommons-loadgen", "protobuf"):  # fmt: skip
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    with contextlib.suppress(MissingPeer, RowFailed):
        found["h2load"] = output_of(["h2load", "--version"], 0).strip()
    if (BENCH_VENV / "bin" / "perf_analyzer").exists():
        found["perf_analyzer"] = "2.41.0"
    return found


def write_table(results: Sequence[Result]) -> None:
    """Put the table between the markers of docs/performance.md."""
    page = ROOT / "docs" / "performance.md"
    block = f"<!-- table -->\n{table(results)}\n<!-- /table -->"
    text = page.read_text()
    page.write_text(re.sub(r"<!-- table -->.*<!-- /table -->", lambda _: block, text, flags=re.S))


def main() -> int:
    """Exit code 0 whatever the figures: they are reported, not enforced."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each row")
    parser.add_argument("group", nargs="*", choices=[[], *groups(True)], help="default: all")
    given = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("bench: needs two cores, one for the client and one for the server", file=sys.stderr)
        return 2
    os.environ.setdefault("LOADGEN_CACHE", str(Path.home() / ".cache" / "loadgen"))
    results = run(given.group, given.quick)
    print(table(results))
    if not given.quick and not given.group:
        write_results(ROOT / "bench" / "results.json", results, versions())
        write_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

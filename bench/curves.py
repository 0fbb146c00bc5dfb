"""How the cost of a query grows with what is asked: bench/curves.json, drawn by draw_curves.py.

``python bench/curves.py [--quick]``. Every point is a closed loop of the whole product on one core
(two for two workers) against a null or synthetic sut-server on the other. CPU time is that of all
our processes less what a run of no length costs.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import clients
from processes import RowFailed, sut_server

OUTSTANDING = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ELEMENTS = (16, 256, 4096, 16384, 150_528, 1_048_576)
CONNECTIONS = (1, 2, 4, 8, 16, 32)
SUTS = (1, 2, 4, 8)
WORKERS = (1, 2)
QUERIES = (10_000, 100_000, 1_000_000, 4_000_000)
Point = dict[str, float]


def cpu_s() -> float:
    """CPU time of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Meter:
    """Measures runs; ``seconds`` is the length of each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start_s = 0.0

    def learn_start(self, address: str) -> None:
        """What a run of next to no length costs."""
        before = cpu_s()
        clients.product_summary(address, 1, 0.05)
        self._start_s = cpu_s() - before

    def point(self, x: float, address: str, outstanding: int, *flags: str, **more: str) -> Point:
        """One run: queries a second, and CPU microseconds a query."""
        before = cpu_s()
        summary = clients.product_summary(
            address, outstanding, self._seconds, more.get("model", "null"), *flags
        )
        count = summary["counts"]["queries"]["completed"]
        spent = max(0.0, cpu_s() - before - self._start_s)
        found = {"x": x, "qps": summary["completed_qps"], "cpu_us": spent / count * 1e6}
        print(json.dumps(found), flush=True)
        return found


def null_curves(meter: Meter) -> dict[str, list[Point]]:
    """Curves on null servers."""
    with ExitStack() as stack:
        servers = [stack.enter_context(sut_server("--model", "null"))[0] for _ in range(max(SUTS))]
        one = servers[0]
        meter.learn_start(one)
        return {
            "outstanding": [meter.point(n, one, n) for n in OUTSTANDING],
            "connections": [meter.point(n, one, 64, "--connections", str(n)) for n in CONNECTIONS],
            "SUTs": [meter.point(n, ",".join(servers[:n]), 64) for n in SUTS],
            "workers": [meter.point(n, one, 64, "--workers", str(n)) for n in WORKERS],
            "queries in the run": [
                meter.point(n, one, 64, "--min-query-count", str(n)) for n in QUERIES
            ],
        }


def payload_curve(meter: Meter) -> list[Point]:
    """Requests of 64 bytes to 4 MiB of tensor, 8 outstanding."""
    points = []
    for elements in ELEMENTS:
        flags = ("--model", "synthetic", "--service-time", "constant:0", "--max-batch", "1")
        with sut_server(*flags, "--input-elements", str(elements)) as (address, _):
            points.append(meter.point(4 * elements, address, 8, model="synthetic"))
    return points


def main() -> None:
    """Write bench/curves.json."""
    meter = Meter(0.5 if "--quick" in sys.argv else 2.0)
    found: dict[str, list[Point]] = {}
    makers: list[Callable[[], dict[str, list[Point]]]] = [
        lambda: null_curves(meter),
        lambda: {"bytes of tensor": payload_curve(meter)},
    ]
    for make in makers:
        try:
            found |= make()
        except RowFailed as error:
            print(f"not measured: {error}", file=sys.stderr)
    if "--quick" not in sys.argv:
        path = Path(__file__).parent / "curves.json"
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

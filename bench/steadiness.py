"""How steady the processors are: ``python bench/steadiness.py [SECONDS]``.

The same piece of arithmetic over and over on both cores at once, no system call in it. Prints how
much longer it took in each tenth of a second than it does in the median: what a host takes from its
guests without telling them is seen here, and in no counter.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time

from processes import CLIENT_CORE, SERVER_CORE

WINDOW_NS = 100_000_000
STEPS = 8_000
SLOW = 1.5


def watch(core: int, seconds: float) -> tuple[int, list[float]]:
    """Slowness of each window on one core; 1 is the median piece of work."""
    os.sched_setaffinity(0, {core})
    began_ns = now_ns = time.monotonic_ns()
    windows: dict[int, list[int]] = {}
    while now_ns - began_ns < seconds * 1e9:
        total = 0
        for step in range(STEPS):
            total += step
        ended_ns = time.monotonic_ns()
        windows.setdefault((now_ns - began_ns) // WINDOW_NS, []).append(ended_ns - now_ns)
        now_ns = ended_ns
    usual_ns = statistics.median(spent for each in windows.values() for spent in each)
    return core, [statistics.mean(each) / usual_ns for each in windows.values()]


def main() -> None:
    """A line a core, and its slow windows."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    cores = [(core, seconds) for core in (CLIENT_CORE, SERVER_CORE)]
    with multiprocessing.Pool(len(cores)) as pool:
        for core, slowness in pool.starmap(watch, cores):
            slow = [f"{at / 10:.1f} s: {x:.1f}" for at, x in enumerate(slowness) if x > SLOW]
            print(
                f"core {core}: the worst tenth of a second {max(slowness):.1f} times as slow as "
                f"usual; {len(slow)} of {len(slowness)} beyond {SLOW}: {', '.join(slow)}"
            )


if __name__ == "__main__":
    main()

"""Where the CPU time of a query goes, in ns: ``python bench/steps.py [OUTSTANDING]``.

By difference: the wire's two halves without sockets, then on a bare socket, then the whole product,
each less what a run of no length costs; user and system time apart.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

import clients
import wire
from processes import sut_server

SECONDS = 4.0


def spent_s() -> tuple[float, float]:
    """User and system time of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime


def cost_ns(run: Callable[[float], float]) -> tuple[float, float]:
    """User and system ns a query; ``run`` takes seconds and gives queries a second."""
    marks = [spent_s()]
    rates = []
    for seconds in (0.05, SECONDS):
        rates.append(run(seconds))
        marks.append(spent_s())
    queries = rates[1] * SECONDS - rates[0] * 0.05
    start, whole = ([b - a for a, b in zip(*pair, strict=True)] for pair in (marks[:2], marks[1:]))
    user, system = ((w - s) / queries * 1e9 for w, s in zip(whole, start, strict=True))
    return user, system


def main() -> None:
    """A line a step."""
    outstanding = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    halves = wire.measure(outstanding)
    with sut_server("--model", "null") as (address, _):
        bare = cost_ns(lambda s: clients.wire_loop(address, outstanding, s))
        whole = cost_ns(lambda s: clients.product(address, outstanding, s))
    print(f"{outstanding} outstanding, ns of CPU a query")
    print(f"compose the call                       {halves['call']:7.0f}")
    print(f"read the answer                        {halves['receive']:7.0f}")
    loop = bare[0] - halves["call"] - halves["receive"]
    print(f"event loop, protocol, user side        {loop:7.0f}")
    print(f"kernel: send, receive, wake            {bare[1]:7.0f}")
    print(f"plan, records, uplink, collector, user {whole[0] - bare[0]:7.0f}")
    print(f"the same, kernel (gRPC, fsync)         {whole[1] - bare[1]:7.0f}")
    print(f"the whole product                      {sum(whole):7.0f}")


if __name__ == "__main__":
    main()

"""CPU time of one unary call in each half of grpc_wire, without sockets: ns a call.

`python bench/wire.py [CALLS_PER_READ ...]`. Process time, best of several rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from grpc_wire.client import ClientConnection
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection

PATH = "/inference.GRPCInferenceService/ModelInfer"
MESSAGE_BYTES = 94
ROUNDS = 7
CALLS_PER_ROUND = 20_000


class Loop:
    """Calls in batches of ``width``: what one read of a busy socket carries."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.client = ClientConnection()
        self.server = ServerConnection()
        self.headers = request_headers(path=PATH, authority="127.0.0.1:8001")
        self.message = frame_message(bytes(MESSAGE_BYTES))
        self.client.start()
        self.server.start()
        self.client.receive(b"".join(self.server.take_output()))
        self.server.receive(b"".join(self.client.take_output()))
        self.spent_ns = dict.fromkeys(("call", "serve", "respond", "receive"), 0)
        self.clock_ns = reading_ns()

    def turn(self) -> None:
        """One batch through all four steps, each timed."""
        started_ns = time.process_time_ns()
        for key in range(self.width):
            self.client.call(key, self.headers, self.message)
        up = b"".join(self.client.take_output())
        started_ns = self._spend("call", started_ns)
        events = self.server.receive(up)
        started_ns = self._spend("serve", started_ns)
        for event in events:
            self.server.respond(event[1], self.message)
        down = b"".join(self.server.take_output())
        started_ns = self._spend("respond", started_ns)
        done = self.client.receive(down)
        self._spend("receive", started_ns)
        assert len(done) == self.width

    def _spend(self, name: str, started_ns: int) -> int:
        self.spent_ns[name] += time.process_time_ns() - started_ns - self.clock_ns
        return time.process_time_ns()


def reading_ns() -> int:
    """Return what one reading of the clock costs, to be taken off each step."""
    best = 1 << 30
    for _ in range(ROUNDS):
        started_ns = time.process_time_ns()
        for _ in range(1_000):
            time.process_time_ns()
        best = min(best, (time.process_time_ns() - started_ns) // 1_000)
    return best


def measure(width: int) -> dict[str, float]:
    """Return the best round's ns a call of each step."""
    loop = Loop(width)
    loop.turn()
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        loop.spent_ns = dict.fromkeys(loop.spent_ns, 0)
        turns = CALLS_PER_ROUND // width
        for _ in range(turns):
            loop.turn()
        for name, spent_ns in loop.spent_ns.items():
            a_call = spent_ns / (turns * width)
            best[name] = min(best.get(name, a_call), a_call)
    return best


def main(print_line: Callable[[str], None] = print) -> None:
    widths = [int(word) for word in sys.argv[1:]] or [1, 4, 16, 64]
    print_line("calls a read   call  receive | serve  respond   ns of CPU a call")
    for width in widths:
        best = measure(width)
        print_line(
            f"{width:12d} {best['call']:6.0f} {best['receive']:8.0f} |"
            f" {best['serve']:5.0f} {best['respond']:8.0f}"
        )


if __name__ == "__main__":
    main()

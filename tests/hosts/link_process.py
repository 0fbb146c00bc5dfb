"""Point-to-point links between network namespaces, in user space: delay, loss, rate, partition.

``python link_process.py CONTROL.json`` with {"links": [{name, a: [namespace, address], b: ...}],
"shape": {name: {delay_ms, delay_back_ms, loss, rate_mbit, down}}}. The shapes are read again when
the file changes. Stands in for netem, which many kernels lack. Ends with its standard input.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
PACKET_BYTES = 65536
PACKETS_A_TURN = 64
LOOK_S = 0.02
QUEUE_PACKETS = 4096
"""Past it packets of a link are dropped, as a full router would."""


@dataclass(slots=True)
class Shape:
    """What a link does to packets. ``delay_ms`` is one way; back from ``b`` to ``a`` it is
    ``delay_back_ms`` where that is given. The rest is the same in both directions."""

    delay_ms: float = 0.0
    delay_back_ms: float | None = None
    loss: float = 0.0
    rate_mbit: float = 0.0
    down: bool = False


class Link:
    """Two TUN devices, one in each namespace; a packet read from one is written to the other."""

    def __init__(self, name: str, ends: list[list[str]], number: int) -> None:
        self.name = name
        self.shape = Shape()
        self.fds = [_device(f"lg{os.getpid()}{'ab'[i]}{number}") for i in (0, 1)]
        self.free_at = [0.0, 0.0]
        self.waiting = 0
        for i, (namespace, address) in enumerate(ends):
            _address(f"lg{os.getpid()}{'ab'[i]}{number}", namespace, address, ends[1 - i][1])

    def due(self, side: int, size: int, now: float) -> float:
        """When a packet that came in at ``side`` now leaves at the other end."""
        at = now
        if self.shape.rate_mbit:
            at = max(now, self.free_at[side]) + size * 8 / (self.shape.rate_mbit * 1e6)
            self.free_at[side] = at
        shape = self.shape
        back_ms = shape.delay_ms if shape.delay_back_ms is None else shape.delay_back_ms
        return at + (back_ms if side else shape.delay_ms) / 1e3


def _device(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    return fd


def _address(device: str, namespace: str, address: str, peer: str) -> None:
    _ip("link", "set", device, "netns", namespace)
    _ip("-n", namespace, "addr", "add", address, "peer", peer, "dev", device)
    _ip("-n", namespace, "link", "set", device, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Switchboard:
    """All links of one test, in one loop."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._changed_ns = 0
        content = json.loads(control.read_text())
        self._links = [
            Link(one["name"], [one["a"], one["b"]], number)
            for number, one in enumerate(content["links"])
        ]
        self._sides = {fd: (link, side) for link in self._links for side, fd in enumerate(link.fds)}
        self._queue: list[tuple[float, int, Link, int, bytes]] = []
        self._order = 0
        self._random = random.Random(1)
        self._reshape()

    def _reshape(self) -> None:
        changed_ns = self._control.stat().st_mtime_ns
        if changed_ns == self._changed_ns:
            return
        shapes = json.loads(self._control.read_text()).get("shape", {})
        for link in self._links:
            link.shape = Shape(**shapes.get(link.name, {}))
        self._changed_ns = changed_ns

    def run(self) -> None:
        """Carry packets until standard input ends."""
        print("up", flush=True)
        looked = time.monotonic()
        while True:
            now = time.monotonic()
            if now - looked > LOOK_S:
                looked = now
                self._reshape()
            self._deliver(now)
            # select, not epoll: its timeout has microseconds
            ready, _, _ = select.select([sys.stdin, *self._sides], [], [], self._patience())
            for fd in ready:
                if fd is sys.stdin:
                    return
                self._take(fd)

    def _patience(self) -> float:
        due = self._queue[0][0] - time.monotonic() if self._queue else LOOK_S
        return max(0.0, min(LOOK_S, due))

    def _deliver(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            _, _, link, side, packet = heapq.heappop(self._queue)
            link.waiting -= 1
            try:
                os.write(link.fds[1 - side], packet)
            except OSError:
                continue  # the device is down or its queue full: the packet is lost

    def _take(self, fd: int) -> None:
        link, side = self._sides[fd]
        for _ in range(PACKETS_A_TURN):
            try:
                packet = os.read(fd, PACKET_BYTES)
            except BlockingIOError:
                return
            shape = link.shape
            full = link.waiting >= QUEUE_PACKETS
            if shape.down or full or (shape.loss and self._random.random() < shape.loss):
                continue
            self._order += 1
            link.waiting += 1
            due = link.due(side, len(packet), time.monotonic())
            heapq.heappush(self._queue, (due, self._order, link, side, packet))


if __name__ == "__main__":
    Switchboard(Path(sys.argv[1])).run()

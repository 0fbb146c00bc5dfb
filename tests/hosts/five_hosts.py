"""Five hosts on one machine: a coordinator, two workers and two SUTs, each in a network namespace
of its own with an address of its own, joined by links that can be shaped while a run goes on.

Everything is named after this process, so that tests side by side do not meet, and is removed by
``close``, whatever happened.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HOSTS = ("coordinator", "worker1", "worker2", "sut1", "sut2")
LINKS = (
    ("coordinator", "worker1"),
    ("coordinator", "worker2"),
    ("worker1", "sut1"),
    ("worker1", "sut2"),
    ("worker2", "sut1"),
    ("worker2", "sut2"),
)
READY_S = 60.0


def why_not() -> str:
    """Why namespaces cannot be made here, or ``""``."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the ip command is missing (apt-get install iproute2)"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing"
    name = f"lgtry{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"this kernel makes no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


def link_name(a: str, b: str) -> str:
    """Name of the link between two hosts, in the order of ``LINKS``."""
    return f"{a}-{b}" if (a, b) in LINKS else f"{b}-{a}"


@dataclass
class Process:
    """A started program of a host; ``said`` is the file of both its outputs."""

    popen: subprocess.Popen[bytes]
    said_path: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def said(self) -> str:
        return self.said_path.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = READY_S) -> None:
        """Return once its output holds ``text``."""
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert self.popen.poll() is None, f"ended before it said {text!r}:\n{self.said}"
            assert time.monotonic() < deadline, f"never said {text!r}:\n{self.said}"
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.popen.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            self.popen.kill()
        self.popen.wait(10)

    def wait(self, seconds: float) -> int:
        """Its exit code; AssertionError with its output when it does not end."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end in {seconds} s:\n{self.said}") from None


@dataclass
class FiveHosts:
    """The hosts. ``addresses``: one a host. Use as a context manager."""

    folder: Path
    addresses: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    _links: subprocess.Popen[bytes] | None = None
    _shapes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> FiveHosts:
        self.addresses = {host: f"10.77.{i}.1" for i, host in enumerate(HOSTS, start=1)}
        try:
            for host in HOSTS:
                _ip("netns", "add", self.namespace(host))
                _ip("-n", self.namespace(host), "link", "set", "lo", "up")
            self._write_shapes()
            self._links = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "link_process.py"), self._control],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._links.stdout is not None
            assert self._links.stdout.readline() == b"up\n", "the links did not come up"
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _control(self) -> str:
        return str(self.folder / "links.json")

    def namespace(self, host: str) -> str:
        return f"lg{os.getpid()}{host}"

    def _write_shapes(self) -> None:
        links = [{"name": link_name(a, b), "a": self._end(a), "b": self._end(b)} for a, b in LINKS]
        temporary = Path(self._control + ".new")
        temporary.write_text(json.dumps({"links": links, "shape": self._shapes}))
        temporary.replace(self._control)

    def _end(self, host: str) -> list[str]:
        return [self.namespace(host), self.addresses[host]]

    def shape(self, a: str, b: str, **shape: object) -> None:
        """Shape one link from now on: delay_ms (one way), delay_back_ms (from the second host of
        ``LINKS`` to the first, if it differs), loss, rate_mbit, down."""
        self._shapes[link_name(a, b)] = dict(shape)
        self._write_shapes()
        time.sleep(0.05)  # the links look every 20 ms

    def shape_all(self, **shape: object) -> None:
        for a, b in LINKS:
            self._shapes[link_name(a, b)] = dict(shape)
        self._write_shapes()
        time.sleep(0.05)

    def start(
        self, host: str, *argv: str, env: Mapping[str, str] | None = None, name: str = ""
    ) -> Process:
        """Start a program on a host. It is killed with the hosts at the latest."""
        path = self.folder / f"{name or host}-{len(self.processes)}.log"
        said: IO[bytes]
        with open(path, "wb") as said:
            popen = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(host), *argv],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=self.folder,
            )
        process = Process(popen, path)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
        if self._links is not None:
            self._links.kill()
            self._links.wait(10)
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", self.namespace(host)], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)

"""A Ray cluster of several nodes on one machine: each raylet in a network namespace of its own with
an address of its own, joined by a bridge in one more. Nothing of it is on the machine's address.

Ends only what runs in its own namespaces.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from five_hosts import Process, why_not

VARIABLE = "LOADGEN_TEST_RAY"
NODES = 3
CPUS_A_NODE = 2
OBJECT_STORE_BYTES = 80 << 20
START_S = 90.0
GCS_PORT = 6379


def why_no_ray() -> str:
    """Why no such cluster can be made here, or ``""``."""
    folder = os.environ.get(VARIABLE, "")
    if not folder or not Path(folder, "bin/ray").exists():
        return f"{VARIABLE} names no environment with Ray (make ray)"
    return why_not()


class RayNodes:
    """A head without CPUs (host 0) and ``NODES`` nodes. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = Path(os.environ[VARIABLE]).resolve() / "bin"
        self._hosts = range(NODES + 1)
        self._processes: list[Process] = []
        self._session = ""
        # no settings of this machine's user, and what Ray writes at home stays with the test
        self._environment = {
            "HOME": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
        }

    def __enter__(self) -> RayNodes:
        # a socket's path has 107 characters at most, and Ray's names are long
        self._session = tempfile.mkdtemp(prefix="lgr", dir="/tmp")
        try:
            self._join_hosts()
            self._start_ray(
                0, "--head", "--num-cpus=0", f"--port={GCS_PORT}", "--include-dashboard=false",
                "--ray-client-server-port=10001", f"--temp-dir={self._session}",
            )  # fmt: skip
            for node in self._hosts[1:]:
                head = f"{self.address(0)}:{GCS_PORT}"
                self._start_ray(node, f"--address={head}", f"--num-cpus={CPUS_A_NODE}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def address(self, host: int) -> str:
        return f"10.78.0.{host + 1}"

    def namespace(self, host: int | str) -> str:
        return f"lgr{os.getpid()}{host}"

    def _join_hosts(self) -> None:
        switch = self.namespace("sw")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for host in self._hosts:
            own = self.namespace(host)
            _ip("netns", "add", own)
            _ip("-n", own, "link", "set", "lo", "up")
            _ip("-n", switch, "link", "add", f"port{host}", "type", "veth",
                "peer", "name", "eth0", "netns", own)  # fmt: skip
            _ip("-n", switch, "link", "set", f"port{host}", "master", "bridge", "up")
            _ip("-n", own, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", own, "link", "set", "eth0", "up")

    def _start_ray(self, host: int, *words: str) -> None:
        ray = self.start(
            host, str(self.bin / "ray"), "start", "--block", "--disable-usage-stats",
            f"--node-ip-address={self.address(host)}",
            f"--object-store-memory={OBJECT_STORE_BYTES}", *words, name=f"ray{host}",
        )  # fmt: skip
        ray.wait_for("Ray runtime started", START_S)

    def start(self, host: int, *argv: str, name: str) -> Process:
        """Start a program on a host. It is killed with the hosts at the latest."""
        path = self.folder / f"{name}-{len(self._processes)}.log"
        with open(path, "wb") as said:
            popen = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(host), *argv],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **self._environment},
            )
        self._processes.append(Process(popen, path))
        return self._processes[-1]

    def processes_on(self, host: int | str) -> dict[int, str]:
        """Process ids on a host, with their command lines."""
        command = ["ip", "netns", "pids", self.namespace(host)]
        said = subprocess.run(command, capture_output=True, text=True).stdout
        found = {}
        for pid in map(int, said.split()):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            found[pid] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def kill_raylet(self, host: int) -> None:
        """SIGKILL to the raylet alone: what it started must end by itself."""
        (pid,) = [
            pid
            for pid, line in self.processes_on(host).items()
            if line.split(" ")[0].endswith("/raylet")
        ]
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        for host in (*self._hosts, "sw"):
            for pid in self.processes_on(host):
                end(pid)
        for process in self._processes:
            process.kill()
        for host in (*self._hosts, "sw"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], capture_output=True)
        shutil.rmtree(self._session, ignore_errors=True)


def end(pid: int) -> None:
    """SIGKILL to a process that may have ended by now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)

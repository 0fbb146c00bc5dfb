"""Starts programs on one core, waits until they are ready, ends them by their process id.

Client and server never share a core; what a row starts it also ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH_VENV = ROOT / ".venv-bench"
AIPERF_VENV = ROOT / ".venv-aiperf"
"""On its own: it brings a gigabyte of packages, some older than the other peers'."""
PEERS = ROOT / "bench" / "peers"
CLIENT_CORE, SERVER_CORE = 0, 1
READY_S = 60.0
COMMAND_S = 120.0


class MissingPeer(Exception):
    """A peer is not installed here; the text names it and how to get it."""


class RowFailed(Exception):
    """A measurement did not end as it should; the text says what happened."""


def on_core(core: int | str, argv: Sequence[str]) -> list[str]:
    """The command, pinned to a core or to a list of them ("0,1")."""
    return ["taskset", "-c", str(core), *argv]


def python(*argv: str) -> list[str]:
    """A command of this environment's interpreter."""
    return [sys.executable, *argv]


@contextlib.contextmanager
def started(argv: Sequence[str], core: int, ready: str) -> Iterator[tuple[str, int]]:
    """Run a server until the block ends; the line that holds ``ready``, and its process id."""
    with tempfile.TemporaryFile("w+b") as said:
        process = subprocess.Popen(on_core(core, argv), stdout=said, stderr=subprocess.STDOUT)
        try:
            yield _ready_line(process, said.fileno(), ready), process.pid
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready_line(process: subprocess.Popen[bytes], said: int, ready: str) -> str:
    deadline = time.monotonic() + READY_S
    while True:
        text = os.pread(said, 1 << 16, 0).decode(errors="replace")
        found = [line for line in text.splitlines() if ready in line]
        if found and text.endswith("\n"):
            return found[0]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RowFailed(f"{process.args!r} did not become ready: {text[-400:]}")
        time.sleep(0.05)


def output_of(
    argv: Sequence[str],
    core: int | str,
    seconds: float = COMMAND_S,
    env: dict[str, str] | None = None,
    allowed: Sequence[int] = (0,),
    keep_late: bool = False,
) -> str:
    """What a pinned command says on both outputs. Raises RowFailed for other exit codes.

    ``keep_late``: one that had to be ended after ``seconds`` has still said something.
    """
    try:
        done = subprocess.run(
            on_core(core, argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={**os.environ, **(env or {})},
            text=True,
        )
    except FileNotFoundError as error:
        raise MissingPeer(f"{error.filename} is not installed") from None
    except subprocess.TimeoutExpired as late:
        if keep_late and late.output:
            return bytes(late.output).decode(errors="replace")
        raise RowFailed(f"{Path(argv[0]).name} did not end in {seconds:g} s") from None
    if done.returncode not in allowed:
        raise RowFailed(f"{' '.join(argv[:6])}: exit {done.returncode}: {done.stdout[-400:]}")
    return done.stdout


@contextlib.contextmanager
def sut_server(*flags: str, core: int = SERVER_CORE) -> Iterator[tuple[str, int]]:
    """Our server until the block ends; HOST:PORT and its process id."""
    argv = python("-m", "sut_server", *flags, "--port", "0")
    with started(argv, core, " ready on ") as (line, pid):
        yield line.rsplit(" ", 1)[-1], pid


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

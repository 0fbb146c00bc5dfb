"""A model in processes of its own: it may crash, hang or eat memory, and the server goes on.

A batch goes to a child and its outputs come back over a socket. A child that ends or does not
answer fails the batch that it had with one line, and another is started in its place.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sut_server.errors import CallError, Code, UsageError
from sut_server.models.channel import Channel, spec_of_json
from sut_server.models.spec import Batch, ModelSpec
from sut_server.models.tensors import Array

RESTART_INTERVAL_S: Final = 1.0
"""A child that ends at once is not started more often than this."""

REAP_S: Final = 5.0
"""How long a killed child may take to end."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """``count`` children; ``batch_s``: how long one may take over a batch; ``memory_mib``: what it
    may allocate (0: no limit)."""

    count: int
    batch_s: float
    memory_mib: int


class _Child:
    """One process with the model loaded."""

    def __init__(self, flag: str, thread_count: int, memory_mib: int) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        with theirs:
            numbers = (thread_count, memory_mib, theirs.fileno(), lifeline)
            arguments = [flag, *map(str, numbers)]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sut_server.models.child", *arguments],
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what the model prints is not the server's ready line
                start_new_session=True,  # Ctrl-C is for the server
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        os.close(lifeline)
        self._socket = ours
        self.channel = Channel(ours)

    def ask(
        self, method: str, argument: Sequence[int], batch: Batch, limit_s: float
    ) -> tuple[Any, dict[str, Array]]:
        """Send and receive; raises EOFError, OSError or TimeoutError."""
        self._socket.settimeout(limit_s)
        self.channel.send([method, list(argument)], batch)
        return self.channel.receive()

    def said(self) -> Any:
        """Its first message: the model's spec, or why there is none. Raises EOFError."""
        self._socket.settimeout(None)
        return self.channel.receive()[0]

    def kill(self) -> str:
        """End it; how it ended, in words."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(REAP_S)
        self._socket.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return ending(self.process.returncode)


def ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "it could not be ended"
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"


class IsolatedModel:
    """See ``Model``. ``infer`` blocks its thread, as any model's does, but never for longer than
    ``batch_s`` or past ``close``."""

    def __init__(self, flag: str, thread_count: int, isolation: Isolation) -> None:
        """Start the children; raises UsageError if the model cannot be loaded in one."""
        self._flag = flag
        self._thread_count = thread_count
        self._isolation = isolation
        self._free: queue.SimpleQueue[_Child | str] = queue.SimpleQueue()
        """Children, or why there is none."""
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._started_s = 0.0
        self.restart_count = 0
        child, self.spec = self._start()
        self._free.put(child)
        for _ in range(isolation.count - 1):
            self._free.put(self._start()[0])

    def infer(self, batch: Batch) -> Batch:
        """Raises CallError (INTERNAL) in one line."""
        return self._ask("infer", (), batch)

    def load_samples(self, sample_index: list[int]) -> None:
        self._ask("load_samples", sample_index, {})

    def unload_samples(self, sample_index: list[int]) -> None:
        self._ask("unload_samples", sample_index, {})

    def close(self) -> None:
        """End the children; whoever waits for one is told."""
        with self._lock:
            self._closed.set()
            children = list(self._children)
        for child in children:
            child.process.kill()
        for _ in range(self._isolation.count):
            self._free.put("the server ends")

    def _ask(self, method: str, argument: Sequence[int], batch: Batch) -> Batch:
        child = self._free.get()
        if isinstance(child, str):
            if not self._closed.is_set():
                self._restart_soon()
            raise self._failure(child)
        try:
            limit_s = self._isolation.batch_s
            (is_well, text), outputs = child.ask(method, argument, batch, limit_s)
        except TimeoutError:
            self._replace(child)
            text = f"it has not answered within {self._isolation.batch_s:g} s (--isolate-limit-s)"
            raise self._failure(f"{text}; it is started again") from None
        except (EOFError, OSError):
            raise self._failure(f"{self._replace(child)}; it is started again") from None
        self._free.put(child)
        if not is_well:
            raise CallError(Code.INTERNAL, f"model '{self.spec.name}' failed: {text}")
        return outputs

    def _failure(self, text: str) -> CallError:
        return CallError(Code.INTERNAL, f"model '{self.spec.name}' failed: {text}")

    def _replace(self, child: _Child) -> str:
        """End a child and start another; how it ended."""
        with self._lock:
            self._children.discard(child)
        ended = child.kill()
        self._restart_soon()
        return f"its process is gone: {ended}"

    def _restart_soon(self) -> None:
        threading.Thread(target=self._restart, name="restart", daemon=True).start()

    def _restart(self) -> None:
        wait_s = self._started_s + RESTART_INTERVAL_S - time.monotonic()
        if self._closed.wait(max(0.0, wait_s)):
            return
        self.restart_count += 1
        try:
            self._free.put(self._start()[0])
        except UsageError as error:
            self._free.put(f"it could not be started again: {error}")

    def _start(self) -> tuple[_Child, ModelSpec]:
        self._started_s = time.monotonic()
        child = _Child(self._flag, self._thread_count, self._isolation.memory_mib)
        with self._lock:
            self._children.add(child)
            is_closed = self._closed.is_set()
        if is_closed:
            child.kill()
        try:
            is_well, said = child.said()
        except (EOFError, OSError):
            is_well, said = False, f"--model {self._flag}: {child.kill()} while it was loaded"
        if not is_well:
            with self._lock:
                self._children.discard(child)
            child.kill()
            raise UsageError(said)
        return child, spec_of_json(said)

"""The process of an isolated model: loads it, then runs batches until its server is gone.

Started by ``sut_server.models.isolated``; its arguments are the model's flag, the threads of an
inference, a limit of its memory in MiB (0: none), and the descriptors of its socket and of a pipe
that its server never writes to.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from sut_server.errors import UsageError, described
from sut_server.models.channel import Channel, only_arrays, spec_as_json
from sut_server.models.registry import open_model
from sut_server.models.spec import Model
from sut_server.models.tensors import Array


def main(argv: Sequence[str]) -> None:
    """Serve one server; returns when it has closed the socket."""
    flag, threads, memory_mib, descriptor, lifeline = argv
    _end_with_server(int(lifeline))
    if int(memory_mib):
        limit = int(memory_mib) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    channel = Channel(socket.socket(fileno=int(descriptor)))
    try:
        model = open_model(flag, int(threads))
    except UsageError as error:
        channel.send([False, str(error)])
        return
    except MemoryError:
        channel.send([False, f"--model {flag}: --isolate-memory-mib {memory_mib} is too little"])
        return
    channel.send([True, spec_as_json(model.spec)])
    while True:
        try:
            (method, argument), batch = channel.receive()
        except (EOFError, OSError):
            return
        channel.send(*_answer(model, method, argument, batch))


def _answer(
    model: Model, method: str, argument: list[int], batch: dict[str, Array]
) -> tuple[list[Any], dict[str, Array]]:
    try:
        if method == "infer":
            return [True, ""], only_arrays(model.infer(batch))
        getattr(model, method)(argument)
        return [True, ""], {}
    except Exception as error:  # what a model raises is its caller's to know
        traceback.print_exc(file=sys.stderr)
        return [False, described(error)], {}


def _end_with_server(lifeline: int) -> None:
    """A server that was killed leaves no model behind, whatever the model does.

    The kernel sends SIGIO, which ends a process, when the pipe has no writer any more. The signal
    of PR_SET_PDEATHSIG would come as soon as the thread ends that started the process.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline)
    if poll.poll(0):
        sys.exit(1)  # it was gone before


if __name__ == "__main__":
    main(sys.argv[1:])

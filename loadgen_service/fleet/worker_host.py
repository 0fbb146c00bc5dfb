"""One worker process on a node of somebody else's cluster: what the cluster's actor runs there.

Started as a remote host would start it; ends with the actor. Of the cluster it knows only what
its node is called there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from socket import gethostname
from typing import IO

from loadgen_service.fleet.local import TERMINATE_S, TOKEN_VARIABLE, exit_reason, last_line


@dataclass(frozen=True, slots=True)
class Started:
    """A worker process: its host's name and its id there, as it says them to the service."""

    host: str
    pid: int


class WorkerHost:
    """Holds one ``loadgen worker``. Its methods are called from several threads of the actor."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # both live as long as the process
        self._errors: IO[bytes] | None = None
        self._authority: IO[bytes] | None = None

    def start(self, arguments: Sequence[str], token: str, authority: bytes) -> tuple[str, Started]:
        """Start it with the flags of ``loadgen worker``; returns the node's address in the cluster
        and what was started, before it says hello.

        ``authority``: PEM of the service's certificate, or nothing for plain text. Token and
        certificate go by environment and file: command lines are public on a host.
        """
        words = list(arguments)
        if authority:
            self._authority = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - see above
            self._authority.write(authority)
            self._authority.flush()
            words += ["--tls-ca", self._authority.name]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - see above
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadgen_service", "worker", "--with-parent", *words],
            env={**os.environ, TOKEN_VARIABLE: token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )
        return _node_address(), Started(gethostname(), self._process.pid)

    def wait(self) -> str:
        """Why it ended, once it has."""
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        return exit_reason(code, last_line(self._errors))

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _node_address() -> str:
    try:
        import ray
    except ImportError:
        return gethostname()
    return str(ray.util.get_node_ip_address())

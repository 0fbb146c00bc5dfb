"""Who is turned away by a live ``loadgen serve`` with TLS, client certificates and rights, and with
which words; ``-s`` prints the table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sut_process import sut_server
from tls_authority import Authority

COMMAND_S = 60.0
TOKENS = {name: name[0] * 24 for name in ("user", "dash", "fleet", "ended")}
TOKEN_FILE = f"""
user   run,read  {TOKENS["user"]}
dash   read      {TOKENS["dash"]}
fleet  work      {TOKENS["fleet"]}
ended  run       {TOKENS["ended"]}  until=2020-01-01T00:00Z
"""


@dataclass
class Door:
    """A service process, and what its visitors need."""

    folder: Path
    address: str
    sut: str

    def visit(self, verb: str, *flags: str, token: str = "", expired: bool = False) -> list[str]:
        """Arguments of a ``loadgen`` command that speaks to the service."""
        prefix = "--service-" if verb == "run" else "--"
        name = "late" if expired else "client"
        tls = {"tls-ca": "ours.pem", "tls-cert": f"{name}.pem", "tls-key": f"{name}.key"}
        if token:
            file = self.folder / f"token-of-{token[0]}"
            file.write_text(token)
            flags = (*flags, "--token-file", file.name)
        given = [word for key, value in tls.items() for word in (f"{prefix}{key}", value)]
        where = "--service" if verb == "run" else "--coordinator"
        return [verb, where, self.address, *given, *flags]

    def run(self, *flags: str, token: str = "", expired: bool = False) -> tuple[int, str]:
        """Exit code and last word of ``loadgen`` on stderr, of a run of 50 queries.

        gRPC's core writes lines of its own there, before or after.
        """
        wanted = (
            *("--model", "null", "--target-qps", "100", "--min-query-count", "50"),
            *("--min-duration-ms", "1", "--issue-delay-budget-ms", "10000"),
            *("--target-latency-ms", "5000", "--quiet", "--results", "none"),
        )
        arguments = self.visit("run", *wanted, *flags, token=token, expired=expired)
        if "--sut" not in arguments:
            arguments += ["--sut", self.sut]
        done = self.command(arguments)
        ours = [line for line in done.stderr.splitlines() if line.startswith("loadgen")]
        return done.returncode, (ours or [""])[-1]

    def command(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "loadgen_service", *arguments],
            capture_output=True, text=True, cwd=self.folder, timeout=COMMAND_S, env=environment(),
        )  # fmt: skip


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "LOADGEN_TOKEN"}


@contextmanager
def process(arguments: list[str], folder: Path, said: Path) -> Iterator[subprocess.Popen[str]]:
    with open(said, "w", encoding="utf-8") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "loadgen_service", *arguments],
            stdout=subprocess.PIPE, stderr=file, text=True, cwd=folder, env=environment(),
        )  # fmt: skip
        try:
            yield started
        finally:
            started.terminate()
            started.communicate(timeout=COMMAND_S)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    authority = Authority(folder, "ours")
    authority.issue("server")
    authority.issue("client")
    authority.days = -1
    authority.issue("late")
    (folder / "tokens").write_text(TOKEN_FILE)
    with sut_server("--model", "null") as sut:
        serve = (
            *("serve", "--port", "0", "--results", "there", "--token-file", "tokens"),
            *("--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ours.pem"),
            *("--allow-sut", f"127.0.0.1:{sut.port}"),
        )
        with process(list(serve), folder, folder / "serve.err") as service:
            assert service.stdout
            ready = service.stdout.readline()
            assert "ready on " in ready, (folder / "serve.err").read_text()
            address = ready.rsplit(" ", 1)[-1].strip()
            yield Door(folder, address, f"grpc://{sut.host_port}")


def worker_says(door: Door, words: str, **given: str) -> str:
    """What a worker says on stderr, once ``words`` are among it."""
    said = door.folder / "worker.err"
    with process(door.visit("worker", token=given["token"]), door.folder, said):
        return waited_line(said, words)


def waited_line(said: Path, words: str) -> str:
    deadline = time.monotonic() + COMMAND_S
    while True:
        found = [line for line in said.read_text().splitlines() if words in line]
        if found or time.monotonic() > deadline:
            assert found, said.read_text()
            return found[0]
        time.sleep(0.05)


def test_each_stranger_is_told_why(door: Door) -> None:
    outside = ("--sut", "grpc://127.0.0.1:9")
    table = {
        "no token": door.run(),
        "wrong token": door.run(token="w" * 24),
        "token past its end": door.run(token=TOKENS["ended"]),
        "reader starts a run": door.run(token=TOKENS["dash"]),
        "worker starts a run": door.run(token=TOKENS["fleet"]),
        "SUT not allowed": door.run(*outside, token=TOKENS["user"]),
        "expired client certificate": door.run(token=TOKENS["user"], expired=True),
        "no client certificate": door.run(
            "--service-tls-cert", "", "--service-tls-key", "", token=TOKENS["user"]
        ),
        "user works": (2, worker_says(door, "refuses us", token=TOKENS["user"])),
    }
    expected = {
        "no token": "wants a token",
        "wrong token": "does not know the token",
        "token past its end": "token ended: ended at 2020-01-01",
        "reader starts a run": "token dash: may not start or stop runs; its rights are read",
        "worker starts a run": "token fleet: may not start or stop runs; its rights are work",
        "SUT not allowed": "this service may not be aimed at it",
        "expired client certificate": "whether ours has expired",
        "no client certificate": "asks for client certificates",
        "user works": "token user: may not be a worker",
    }
    print()
    for who, (code, line) in table.items():
        print(f"{who:27} exit {code}  {line}")
        assert code == 2, who
        assert expected[who] in line, who
        assert not any(secret in line for secret in TOKENS.values())


def test_the_right_people_get_in(door: Door) -> None:
    said = door.folder / "fleet.err"
    with process(door.visit("worker", token=TOKENS["fleet"]), door.folder, said):
        code, line = door.run("--workers", "1", "--out", "home", token=TOKENS["user"])
    assert code in (0, 1), line
    assert (door.folder / "home" / "summary.json").is_file()
    home = (door.folder / "home" / "summary.json").read_text()
    assert not any(secret in home for secret in TOKENS.values())


def test_an_expired_service_is_named_by_users_and_workers_until_it_is_renewed(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path, "ours")
    authority.issue("client")
    authority.days = -1
    authority.issue("server")
    serve = ("serve", "--port", "0", "--tls-cert", "server.pem", "--tls-key", "server.key")
    with process(list(serve), tmp_path, tmp_path / "serve.err") as service:
        assert service.stdout
        address = service.stdout.readline().rsplit(" ", 1)[-1].strip()
        door = Door(tmp_path, address, "grpc://127.0.0.1:9")
        code, line = door.run()
        print(f"\nexpired service certificate exit {code}  {line}")
        assert code == 2
        assert "its certificate is refused here (certificate has expired)" in line
        said = tmp_path / "worker.err"
        with process(door.visit("worker"), tmp_path, said):
            waited_line(said, "certificate has expired")
        authority.days = 1
        authority.issue("server")
        code, line = door.run("--lease-timeout-ms", "100")
        assert code == 3, line
        assert "worker" in line

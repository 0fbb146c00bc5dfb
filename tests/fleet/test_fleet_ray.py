"""Workers on a Ray cluster: their placement and their ends as told by a fake cluster; the words."""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from loadgen_service.cli.ray_fleet import advertised, bindable, joined, ray_fleet
from loadgen_service.errors import RunError, UserError
from loadgen_service.fleet.certificate import make_certificate
from loadgen_service.fleet.ray_cluster import (
    Ended,
    Placed,
    RayCluster,
    first_line,
    head_of,
    import_ray,
    remedy,
)
from loadgen_service.fleet.ray_workers import RayWorkers, told_placement
from loadgen_service.fleet.worker_host import Started, WorkerHost

FIRST = Placed("10.0.0.1", Started("a", 11))
SECOND = Placed("10.0.0.2", Started("b", 12))


class FakeCluster:
    """Two nodes, and a script of what befalls the workers there."""

    def __init__(self, script: list[list[Ended] | RunError], refusal: str = "") -> None:
        self.script = script
        self.refusal = refusal
        self.calls: list[str] = []
        self.started: tuple[list[str], str, bytes] | None = None

    def connect(self) -> None:
        self.calls.append("connect")

    def place(self, count: int, wait_s: float) -> None:
        self.calls.append(f"place {count} within {wait_s:g}")
        if self.refusal:
            raise UserError(self.refusal)

    def start(self, arguments: Sequence[str], token: str, authority: bytes) -> list[Placed]:
        self.started = (list(arguments), token, authority)
        return [FIRST, SECOND]

    def ended(self, wait_s: float) -> list[Ended]:
        if not self.script:
            return []
        step = self.script.pop(0)
        if isinstance(step, RunError):
            raise step
        return step

    def close(self) -> None:
        self.calls.append("close")


def run(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Ended], list[str]]:
    """Start, let the script play, stop."""
    monkeypatch.setattr("loadgen_service.fleet.ray_workers.LOOK_S", 0.0)
    told: list[Ended] = []
    said: list[str] = []

    async def play() -> None:
        workers = RayWorkers(
            cluster, 2, ["--coordinator", "h:1"], "secret", b"pem",
            wait_s=7, say=said.append, on_exit=told.append,
        )  # fmt: skip
        try:
            await workers.start()
            async with asyncio.timeout(20):
                while cluster.script:
                    await asyncio.sleep(0.01)
        finally:
            await workers.stop()

    asyncio.run(play())
    return told, said


def test_workers_are_placed_started_told_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    doubt = Ended(SECOND, "Ray cannot reach its actor", is_sure=False)
    death = Ended(SECOND, "Ray says that its node died: gone")
    cluster = FakeCluster([[], [doubt], [death], []])
    told, said = run(cluster, monkeypatch)
    assert cluster.calls == ["connect", "place 2 within 7", "close"]
    assert cluster.started == (["--coordinator", "h:1"], "secret", b"pem")
    assert told == [doubt, death]
    assert said == [
        "ray: 2 worker(s) on 2 node(s): 10.0.0.1 has 1, 10.0.0.2 has 1",
        "worker on 10.0.0.2 in doubt: Ray cannot reach its actor",
        "worker on 10.0.0.2 ended: Ray says that its node died: gone",
    ]


def test_a_lost_ray_cluster_ends_the_watch_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster([RunError("fleet: the Ray cluster is lost (x)")])
    told, said = run(cluster, monkeypatch)
    assert (told, said[1:]) == ([], ["fleet: the Ray cluster is lost (x)"])
    assert cluster.calls[-1] == "close"


def test_a_cluster_that_is_too_small_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster([], refusal="fleet: 2 workers need a CPU each")
    with pytest.raises(UserError, match="need a CPU each"):
        run(cluster, monkeypatch)
    assert cluster.calls[-1] == "close"


def test_placement_is_told_by_node() -> None:
    assert told_placement([FIRST, SECOND, FIRST]) == (
        "3 worker(s) on 2 node(s): 10.0.0.1 has 2, 10.0.0.2 has 1"
    )


@pytest.mark.parametrize(
    ("address", "head"),
    [
        ("ray://head", ("head", 10001)),
        ("ray://10.0.0.1:7", ("10.0.0.1", 7)),
        ("ray://[fd00::1]:7", ("fd00::1", 7)),
    ],
)
def test_head_of_a_cluster(address: str, head: tuple[str, int]) -> None:
    assert head_of(address) == head


@pytest.mark.parametrize("address", ["head:1", "ray://", "ray://h:0", "k8s://h:1", "ray://h/x"])
def test_what_is_no_head_is_named(address: str) -> None:
    with pytest.raises(UserError, match=f"fleet {address}: "):
        head_of(address)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'loadgen-service\[ray\]'"):
        import_ray()


def test_an_absent_head_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    # anything that can be imported: without a connection nothing of it may be called, since Ray
    # then starts a cluster of its own
    monkeypatch.setitem(sys.modules, "ray", argparse)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused
        cluster = RayCluster(f"ray://127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(UserError, match="no Ray head answers there"):
            cluster.connect()
    cluster.close()


def test_of_a_long_error_the_cause_is_told() -> None:
    assert first_line(ValueError("\n one. \n two")) == "one"
    assert first_line(ValueError("Traceback (most\n x\nImportError: no y")) == "ImportError: no y"
    assert first_line(ValueError()) == "ValueError"
    died = "The actor died.\n\tid: 7\nThe actor is dead because its node has died. Node Id: 9"
    assert first_line(ValueError(died)) == "The actor is dead because its node has died"


def flags(**given: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{"fleet": "", "advertise": "", "service": "", "insecure": False, **given}
    )


def test_flags_that_do_not_fit_are_refused() -> None:
    assert ray_fleet(flags(), 1) is None
    with pytest.raises(UserError, match="advertise: goes with --fleet"):
        ray_fleet(flags(advertise="h"), 1)
    with pytest.raises(UserError, match="the run happens at --service"):
        ray_fleet(flags(fleet="ray://h", service="h:1"), 1)


def test_advertised_address() -> None:
    head = ("127.0.0.1", 10001)
    assert advertised("", head) == ("127.0.0.1", 0)
    assert advertised("gate.example", head) == ("gate.example", 0)
    assert advertised("gate.example:7440", head) == ("gate.example", 7440)
    assert advertised("[::1]:7440", head) == ("::1", 7440)
    for wrong in ("h:x", ":1", "h:0"):
        with pytest.raises(UserError, match=f"advertise {wrong}"):
            advertised(wrong, head)
    assert joined("::1", 7) == "[::1]:7"


def test_a_foreign_address_is_listened_for_everywhere() -> None:
    assert bindable("127.0.0.1") == "127.0.0.1"
    assert bindable("192.0.2.1") == "0.0.0.0"  # of the block for documentation


def test_certificate_is_of_its_hosts_only(tmp_path: Path) -> None:
    certificate, key = make_certificate(["127.0.0.1", "gate.example"])
    (tmp_path / "both.pem").write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "both.pem")
    for name, is_good in (("gate.example", True), ("127.0.0.1", True), ("other.example", False)):
        client = ssl.create_default_context(cadata=certificate.decode())
        assert handshakes(client, server, name) == is_good


def handshakes(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (asking, answering, asking, answering):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return True


def test_a_worker_on_a_node_tells_why_it_ended_and_hides_its_token() -> None:
    host = WorkerHost()
    _, started = host.start(["--coordinator", "10.0.0.1:1"], "very-secret-token", b"")
    command = Path(f"/proc/{started.pid}/cmdline").read_bytes()
    assert b"very-secret-token" not in command
    # plain text to another host is refused by the worker itself
    assert "exited with code 2: loadgen worker: coordinator: 10.0.0.1:1" in host.wait()
    host.stop()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Token authentication is enabled but no token was found", "RAY_AUTH_TOKEN"),
        (
            "Token authentication is enabled but the authentication token is invalid",
            "RAY_AUTH_MODE",
        ),
        ("Ray Client is incompatible: 2.40.0 and 2.60.0", "same versions of Ray"),
    ],
)
def test_remedy_follows_from_what_ray_says(text: str, advice: str) -> None:
    """Texts as Ray 2.60 has them, and of a head of another version."""
    assert advice in remedy(text)

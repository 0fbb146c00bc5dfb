"""Workers on a real Ray cluster of several nodes: where they are placed, and what a dead raylet
does to a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_runs import Ended
from five_hosts import Process
from ray_nodes import CPUS_A_NODE, NODES, RayNodes, why_no_ray

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

SUT_PORT = 8001
SUT_HOST = NODES
END_S = 120.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    reason = why_no_ray()
    if reason:
        pytest.skip(reason)
    with RayNodes(tmp_path_factory.mktemp("ray")) as cluster:
        sut = cluster.start(
            SUT_HOST, str(cluster.bin / "python"), "-m", "sut_server", "--model", "synthetic",
            "--host", cluster.address(SUT_HOST), "--port", str(SUT_PORT), "--insecure", name="sut",
        )  # fmt: skip
        sut.wait_for("ready on")
        yield cluster


def begin(nodes: RayNodes, out: Path, workers: int, *flags: str) -> Process:
    return nodes.start(
        0, str(nodes.bin / "loadgen"), "run", "--fleet", f"ray://{nodes.address(0)}",
        "--sut", f"grpc://{nodes.address(SUT_HOST)}:{SUT_PORT}", "--model", "synthetic",
        "--scenario", "server", "--target-qps", "60", "--min-query-count", "60",
        "--timeout-ms", "2000", "--target-latency-ms", "500", "--workers", str(workers),
        "--out", str(out), *flags, name="asker",
    )  # fmt: skip


def finish(asker: Process, out: Path, started: float) -> Ended:
    code = asker.wait(END_S)
    return Ended(code, asker.said, out, time.monotonic() - started)


def test_a_cluster_without_room_is_a_users_mistake(nodes: RayNodes, tmp_path: Path) -> None:
    asker = begin(nodes, tmp_path / "out", 50, "--lease-timeout-ms", "2000")
    assert asker.wait(END_S) == 2, asker.said
    assert (
        f"50 workers need a CPU each of the Ray cluster, which has {NODES * CPUS_A_NODE} free"
        in (asker.said)
    )


def test_workers_are_spread_over_the_nodes(nodes: RayNodes, tmp_path: Path) -> None:
    started = time.monotonic()
    asker = begin(nodes, tmp_path / "out", 4, "--min-duration-ms", "3000")
    asker.wait_for(": issuing")
    placed = {
        host: [line for line in nodes.processes_on(host).values() if " worker " in line]
        for host in range(NODES + 1)
    }
    assert sorted(map(len, placed.values())) == [0, 1, 1, 2], placed
    commands = [line for lines in placed.values() for line in lines]
    assert all("--tls-ca" in line and "token" not in line for line in commands)
    ended = finish(asker, tmp_path / "out", started)
    counts = ended.require_closed_accounts()
    assert counts["completed"] == counts["planned"], ended.said
    assert f"ray: 4 worker(s) on {NODES} node(s): " in ended.said
    # nothing is left behind, and the bundles are free again
    assert not [
        line
        for host in range(NODES + 1)
        for line in nodes.processes_on(host).values()
        if "loadgen_service worker" in line
    ]


def test_a_killed_raylet_costs_its_workers_and_is_named(
    nodes: RayNodes, tmp_path: Path, fault_table: list[str]
) -> None:
    asker = begin(nodes, tmp_path / "out", NODES * CPUS_A_NODE, "--min-duration-ms", "25000")
    asker.wait_for(": issuing")
    started = time.monotonic()
    time.sleep(2)
    nodes.kill_raylet(1)
    ended = finish(asker, tmp_path / "out", started)
    counts = ended.require_closed_accounts()
    fault_table.append(ended.row("Ray: a raylet killed"))
    assert ended.exit_code == 1, ended.said
    assert f"worker on {nodes.address(1)} in doubt: Ray cannot reach its actor" in ended.said
    assert counts["lost"] + counts["not_issued"] > 0
    lost = ended.unmet["worker_lost"]
    assert f"{CPUS_A_NODE} of {NODES * CPUS_A_NODE} lost" in str(lost["measured"])
    assert "Ray says that its node died" in str(lost), lost

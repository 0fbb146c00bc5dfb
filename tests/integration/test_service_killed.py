"""Real processes: a service killed in the middle of a run and started again ends it whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loadgen_processes import END_S, Processes, free_port, wait_for
from sut_process import sut_server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.close()


def test_a_service_killed_in_the_warm_up_ends_every_series(
    tmp_path: Path, processes: Processes
) -> None:
    results, port = tmp_path / "results", str(free_port())
    serving = ("serve", "--port", port, "--results", str(results))
    with sut_server("--model", "synthetic") as sut:
        service, said = processes.start(*serving)
        wait_for(said, "ready on")
        for _ in range(2):
            processes.start("worker", "--coordinator", f"127.0.0.1:{port}")
        asker, asked = processes.start(
            *("run", "--service", f"127.0.0.1:{port}", "--sut", f"grpc://127.0.0.1:{sut.port}"),
            *("--model", "synthetic", "--scenario", "server", "--target-qps", "100"),
            *("--min-duration-ms", "2000", "--warmup-duration-ms", "3000", "--workers", "2"),
            *("--issue-delay-budget-ms", "2000", "--target-latency-ms", "2000"),
            *("--target-latency-percentile", "90"),
        )
        wait_for(asked, "warmup (1 of 2): issuing")
        service.kill()
        service.wait(10)
        _, said = processes.start(*serving)
        wait_for(said, "going on with it, 2 workers expected")
        code = asker.wait(END_S)
    (directory,) = results.iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert [one["name"] for one in summary["series"]] == ["warmup", "performance"]
    for series in summary["series"]:
        counts = series["counts"]["queries"]
        assert counts["completed"] == counts["planned"] > 0
    assert code == 0, asked.read_text()
    assert summary["valid"] is True
    assert any("the service died" in note for note in summary["notes"])
    assert summary["series"][1]["to_sut_ns"]["count"] > 0

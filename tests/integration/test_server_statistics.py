"""Whole runs against a real sut-server: its own count is what tritonclient reads of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from sut_process import sut_server

from loadgen_service.cli.main import main


def reading(host_port: str) -> dict[str, int]:
    client = triton.InferenceServerClient(host_port)
    one = client.get_inference_statistics("synthetic").model_stats[0]
    client.close()
    sums = one.inference_stats
    return {
        "samples": one.inference_count,
        "executions": one.execution_count,
        "success_count": sums.success.count,
        "success_ns": sums.success.ns,
        "queue_ns": sums.queue.ns,
        "infer_ns": sums.compute_infer.ns,
    }


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_the_summary_holds_the_difference_of_tritonclients_readings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], scheme: str
) -> None:
    flags = ["--model", "synthetic", "--service-time", "constant:1", "--http-port", "0"]
    with sut_server(*flags) as server:
        before = reading(server.host_port)
        sut = server.host_port
        if scheme == "http":
            line = server.process.stdout.readline() if server.process.stdout else ""
            sut = line.rsplit(" ", 1)[-1].strip()
        code = main(
            [
                *("run", "--json", "--quiet", "--sut", f"{scheme}://{sut}"),
                *("--model", "synthetic", "--scenario", "server", "--target-qps", "100"),
                *("--min-duration-ms", "1000", "--min-query-count", "50"),
                *("--out", str(tmp_path / "run")),
            ]
        )
        after = reading(server.host_port)
    said = capfd.readouterr()
    assert code in (0, 1), said.err
    summary = json.loads(said.out)
    told = summary["suts"][0]["server_statistics"]
    (model,) = told["models"]
    assert {
        "samples": model["sample_count"],
        "executions": model["execution_count"],
        "success_count": model["times"]["success"]["count"],
        "success_ns": model["times"]["success"]["total_ns"],
        "queue_ns": model["times"]["queue"]["total_ns"],
        "infer_ns": model["times"]["compute_infer"]["total_ns"],
    } == {name: after[name] - before[name] for name in after}
    assert told["surplus_count"] == 0
    assert model["times"]["success"]["count"] == summary["counts"]["requests"]["completed"]
    assert told["client_service_ns"] > told["server_ns"] > 1_000_000
    assert "counted by the SUT" in (tmp_path / "run" / "report.txt").read_text()

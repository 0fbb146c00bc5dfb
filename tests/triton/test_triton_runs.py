"""Whole runs against the real Triton: accuracy of the labelled images, and a Server run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tritonclient.grpc as triton
from triton_runs import RUN_S, TOP1, run

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("scenario", ["single_stream", "offline"])
def test_accuracy_is_that_of_the_embedded_sut(triton_address, embedded_address, tmp_path, scenario):
    scores = []
    for name, address in (("triton", triton_address), ("embedded", embedded_address)):
        summary = run(address, tmp_path / name, "--scenario", scenario, "--mode", "accuracy")
        assert summary["valid"] is True, summary["invalid_reason"]
        scores.append(summary["accuracy"])
    assert scores[0] == scores[1]
    assert scores[0]["top1"] == TOP1


def test_accuracy_by_shared_memory_is_that_by_message(triton_address, tmp_path):
    logits_bytes = 1000 * 4
    shared = ("--shared-memory", "system")
    places = ("--output-shared-memory-bytes", str(logits_bytes))
    ways = {
        "message": (),
        "inputs": shared,
        "both": (*shared, *places, "--output-shared-memory-slots", "4"),
    }
    scores = {}
    for name, flags in ways.items():
        out = tmp_path / name
        summary = run(triton_address, out, "--scenario", "offline", "--mode", "accuracy", *flags)
        assert summary["errors"] == []
        scores[name] = summary["accuracy"]
    assert scores["message"]["top1"] == TOP1
    assert scores["inputs"] == scores["both"] == scores["message"]
    client = triton.InferenceServerClient(triton_address)
    assert not client.get_system_shared_memory_status().regions
    client.close()


def test_a_server_run_completes_every_query(triton_address, tmp_path):
    summary = run(
        triton_address,
        tmp_path / "run",
        *("--scenario", "server", "--target-qps", "15", "--min-duration-ms", "5000"),
        *("--target-latency-ms", "2000", "--target-latency-percentile", "90"),
    )
    counts = summary["counts"]["queries"]
    assert counts["planned"] == counts["completed"] >= 75
    assert summary["errors"] == []
    met = {finding["name"]: finding["met"] for finding in summary["findings"]}
    assert met["accounting"]
    assert met["error_budget"]
    assert met["min_duration"]
    assert summary["suts"][0]["platform"] == "python"


def test_http_gives_the_same_accuracy_and_closed_accounts(triton_http_address, tmp_path):
    summary = run(
        triton_http_address,
        tmp_path / "run",
        *("--scenario", "server", "--mode", "submission", "--target-qps", "10"),
        *("--min-duration-ms", "3000", "--min-query-count", "30"),
        *("--target-latency-ms", "5000", "--target-latency-percentile", "50"),
        scheme="http",
    )
    counts = summary["counts"]["queries"]
    assert counts["planned"] == counts["completed"] >= 30
    assert summary["errors"] == []
    assert summary["accuracy"]["top1"] == TOP1
    assert summary["suts"][0]["name"].startswith("triton")
    assert summary["suts"][0]["platform"] == "python"


def readings(address: str) -> dict[str, int]:
    client = triton.InferenceServerClient(address)
    one = client.get_inference_statistics("efficientnet-lite0").model_stats[0]
    client.close()
    sums = one.inference_stats
    parts = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    found = {name: getattr(sums, name).ns for name in parts}
    counts = {f"{name} count": getattr(sums, name).count for name in parts}
    return {**found, **counts, "samples": one.inference_count, "batches": one.execution_count}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_its_statistics_are_those_that_tritonclient_reads(
    triton_address, triton_http_address, tmp_path, scheme
):
    before = readings(triton_address)
    summary = run(
        triton_address if scheme == "grpc" else triton_http_address,
        tmp_path / "run",
        *("--scenario", "server", "--target-qps", "15", "--min-duration-ms", "2000"),
        *("--target-latency-ms", "2000", "--target-latency-percentile", "50"),
        scheme=scheme,
    )
    after = readings(triton_address)
    told = summary["suts"][0]["server_statistics"]
    (model,) = told["models"]
    times = model["times"]
    parts = [name for name in before if name in times]
    ours = {name: times[name]["total_ns"] for name in parts}
    ours |= {f"{name} count": times[name]["count"] for name in parts}
    ours |= {"samples": model["sample_count"], "batches": model["execution_count"]}
    assert ours == {name: after[name] - before[name] for name in after}
    assert told["surplus_count"] == 0
    assert times["compute_infer"]["mean_ns"] > 1e6
    assert told["client_service_ns"] > told["server_ns"]
    assert sum(batch["execution_count"] for batch in model["batches"]) == model["execution_count"]


def test_http_names_an_unknown_model(triton_http_address, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--out", str(tmp_path / "run")),
            *("--sut", f"http://{triton_http_address}", "--model", "resnet51"),
            *("--dataset", "imagenet-sample"),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 2
    assert "model 'resnet51' is not ready (HTTP 400" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

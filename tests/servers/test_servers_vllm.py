"""A real vLLM with a real language model: our figures beside its own histograms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_launch import launched, python_of
from triton_server import free_ports

MODEL = "smollm2"
OUTPUT_TOKENS = 24
READY_S = 600.0
RUN_S = 400.0

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1200)]

ENVIRONMENT = {
    "VLLM_HOST_IP": "127.0.0.1",  # else it listens on the machine's own address too
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0",
}


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of a vLLM server."""
    python = python_of("vllm")
    folder = tmp_path_factory.mktemp("vllm")
    [port] = free_ports(1)
    command = [
        python.parent / "vllm", "serve", python.parents[1] / "smollm2-hf",
        "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "16",
        "--max-num-batched-tokens", "2048", "--block-size", "32", "--enforce-eager",
        "--enable-prompt-tokens-details",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}/health"
    environment = {**ENVIRONMENT, "VLLM_CACHE_ROOT": str(folder / "cache")}
    at = {"openai": f"127.0.0.1:{port}"}
    with launched(command, at, url, folder / "log", environment, READY_S):
        yield f"127.0.0.1:{port}"


def measure(target: str, out: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """Summary and report of one run; no flag asks for token figures."""
    command = [
        sys.executable, "-m", "loadgen_service", "run", "--sut", f"openai://{target}/v1",
        "--model", MODEL, "--scenario", "concurrency", "--min-duration-ms", "8000",
        "--prompt-tokens", "uniform:20:60", "--output-tokens", f"constant:{OUTPUT_TOKENS}",
        "--request-parameters", '{"ignore_eos": true, "temperature": 0}',
        "--timeout-ms", "240000", "--sut-metrics", f"http://{target}/metrics",
        "--target-latency-ms", "100000", "--out", str(out), "--quiet", *flags,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return json.loads((out / "summary.json").read_text()), (out / "report.txt").read_text()


def by_name(summary: dict[str, Any], name: str) -> dict[str, Any]:
    [target] = summary["sut_metrics"]
    [found] = [one for one in target["figures"] if one["name"] == name]
    return found


@pytest.mark.parametrize("users", [1, 4])
def test_our_figures_stand_beside_the_servers_histograms(
    vllm: str, tmp_path: Path, users: int
) -> None:
    flags = ("--concurrency", str(users), "--min-query-count", str(4 * users))
    summary, report = measure(vllm, tmp_path / "out", *flags)
    streams, counts = summary["streams"], summary["counts"]["requests"]
    assert counts["completed"] == counts["issued"]
    assert streams["counted_by"] == {"usage": counts["completed"]}
    assert streams["output_token_count"] == OUTPUT_TOKENS * counts["completed"]
    for word in ("TTFT", "TPOT", "ITL", "tokens/s", "goodput"):
        assert word in report
    for ours, theirs in (
        ("ttft_ns", "vllm:time_to_first_token_seconds"),
        ("itl_ns", "vllm:inter_token_latency_seconds"),
        ("tpot_ns", "vllm:request_time_per_output_token_seconds"),
    ):
        server_ms = by_name(summary, theirs)["mean"] * 1e3
        client_ms = streams[ours]["mean"] / 1e6
        print(f"\n{users} users, {ours}: {client_ms:.1f} ms, the server's {server_ms:.1f}")
        assert client_ms == pytest.approx(server_ms, rel=0.25)
    assert streams["goodput_qps"] <= summary["completed_qps"] + 1e-9
    share = summary["completed_qps"] * OUTPUT_TOKENS
    assert streams["output_tokens_per_second"] == pytest.approx(share, rel=0.2)


def test_an_unknown_model_is_one_line(vllm: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", "--sut", f"openai://{vllm}/v1",
         "--model", "nope", "--out", str(tmp_path / "out"), "--quiet"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "does not serve 'nope' (HTTP 404" in ended.stderr
    assert f"lists {MODEL}" in ended.stderr

"""A real llama.cpp server that is asked for completions, asked too much, or killed."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from product_runs import Finished, Run, run
from stream_servers import llama

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

MODEL = "smollm2-135m"
OUTPUT_TOKENS = 12
PROMPT = "The capital of France is"
PARAMETERS = {"cache_prompt": False, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": PROMPT, "max_tokens": OUTPUT_TOKENS}) + "\n")
    return str(path)


def asked(target: str, prompts: str, *more: str) -> list[str]:
    parameters = ("--request-parameters", json.dumps(PARAMETERS))
    return ["--sut", target, "--model", MODEL, "--dataset", prompts, *parameters, *more]


def paced(target_qps: float, limit_ms: int) -> tuple[str, ...]:
    return (
        *("--scenario", "server", "--target-qps", str(target_qps), "--min-duration-ms", "4000"),
        *("--min-query-count", "8", "--target-latency-ms", str(limit_ms)),
        *("--target-latency-percentile", "50", "--issue-delay-budget-ms", "1000"),
    )


def closed_counts(finished: Finished) -> dict[str, int]:
    counts: dict[str, int] = finished.summary["counts"]["requests"]
    ends = ("completed", "failed", "timed_out", "lost")
    assert counts["issued"] == sum(counts[name] for name in ends)
    assert finished.finding("accounting")["met"]
    return counts


def test_streamed_completions_are_those_of_a_plain_request(
    llama_target: str, prompts: str, tmp_path: Path
) -> None:
    flags = ("--openai-api", "completions", "--log-responses", *paced(1, 20_000))
    finished = run(tmp_path / "out", *asked(llama_target, prompts, *flags))
    assert finished.exit_code == 0, finished.said
    counts = closed_counts(finished)
    assert counts["completed"] == counts["planned"] >= 8
    assert finished.summary["streams"]["counted_by"] == {"usage": counts["completed"]}
    kept = pq.read_table(finished.out / "responses.parquet")["response"].to_pylist()
    body = {"model": MODEL, "prompt": PROMPT, "max_tokens": OUTPUT_TOKENS, **PARAMETERS}
    url = llama_target.replace("openai://", "http://") + "/completions"
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as direct:
        plain = json.loads(direct.read())
    assert {json.loads(one)["text"] for one in kept} == {plain["choices"][0]["text"]}


def test_more_prompts_than_it_can_bear_are_invalid_by_latency(
    llama_target: str, prompts: str, tmp_path: Path
) -> None:
    flags = ("--timeout-ms", "15000", *paced(30, 300))
    finished = run(tmp_path / "out", *asked(llama_target, prompts, *flags))
    assert finished.exit_code == 1, finished.said
    counts = closed_counts(finished)
    assert counts["issued"] == counts["planned"]
    assert not finished.finding("latency")["met"]


def test_a_server_killed_midway_ends_the_run(prompts: str, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with llama(tmp_path / "server") as served:
        target = f"openai://{served.at['openai']}"
        flags = ("--timeout-ms", "4000", *paced(3, 3_000))
        going = Run(tmp_path / "out", *asked(target, prompts, *flags))
        going.wait_for("issuing")
        served.kill()
        finished = going.finish()
    assert finished.exit_code == 1, finished.said
    assert "Traceback" not in finished.said
    counts = closed_counts(finished)
    assert counts["failed"] + counts["timed_out"] > 0
    assert counts["lost"] == 0
    assert not finished.finding("error_budget")["met"]

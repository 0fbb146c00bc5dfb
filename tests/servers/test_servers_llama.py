"""A real llama.cpp server with a real language model: our figures beside its own timings."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

MODEL = "smollm2-135m"
RUN_S = 180.0
OUTPUT_TOKENS = 24

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

PARAMETERS = {"cache_prompt": False, "temperature": 0, "ignore_eos": True}


@dataclass
class Measured:
    """One run: our columns of completed requests, and the server's timings of the same requests."""

    summary: dict
    ttft_ms: np.ndarray
    tpot_ms: np.ndarray
    tokens: np.ndarray
    server: list[dict]


def measure(target: str, out: Path, users: int, *flags: str) -> Measured:
    command = [
        sys.executable, "-m", "loadgen_service", "run", "--sut", target, "--model", MODEL,
        "--scenario", "concurrency", "--concurrency", str(users), "--min-query-count",
        str(max(6, 2 * users)), "--min-duration-ms", "1000", "--timeout-ms", "120000",
        "--prompt-tokens", "uniform:10:40", "--output-tokens", f"constant:{OUTPUT_TOKENS}",
        "--total-sample-count", "64", "--request-parameters", json.dumps(PARAMETERS),
        "--log-responses", "--record-tokens", "--out", str(out), "--quiet", *flags,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
    assert ended.returncode in (0, 1), ended.stderr
    return read(out)


def read(out: Path) -> Measured:
    records = pq.read_table(out / "records.parquet").to_pydict()
    done = np.array(records["status"]) == 1
    column = {name: np.array(values)[done] for name, values in records.items()}
    responses = pq.read_table(out / "responses.parquet").to_pydict()
    by_row = dict(zip(responses["request_index"], responses["response"], strict=True))
    kept = [json.loads(by_row[row]) for row in column["request_index"].tolist()]
    span = column["completed_ns"] - column["first_response_ns"]
    return Measured(
        summary=json.loads((out / "summary.json").read_text()),
        ttft_ms=(column["first_response_ns"] - column["scheduled_ns"]) / 1e6,
        tpot_ms=span / np.maximum(1, column["token_count"] - 1) / 1e6,
        tokens=column["token_count"],
        server=[one["timings"] for one in kept],
    )


@pytest.mark.parametrize("users", [1, 4, 16])
def test_our_figures_stand_beside_the_server_s_own(
    llama_target: str, tmp_path: Path, users: int
) -> None:
    found = measure(llama_target, tmp_path / "out", users)
    counts = found.summary["counts"]["requests"]
    assert counts["failed"] == counts["timed_out"] == counts["lost"] == 0
    assert counts["issued"] == counts["completed"]
    streams = found.summary["streams"]
    assert streams["counted_by"] == {"usage": counts["completed"]}
    assert set(found.tokens.tolist()) == {OUTPUT_TOKENS}
    prompt_ms = np.array([one["prompt_ms"] for one in found.server])
    token_ms = np.array([one["predicted_ms"] / (one["predicted_n"] - 1) for one in found.server])
    print_row(users, found, prompt_ms, token_ms)
    # The client cannot see a token before the server has read the prompt.
    assert np.all(found.ttft_ms >= prompt_ms * 0.9)
    # The same gaps from both ends: their middle agrees, whatever single requests met on the way.
    assert np.median(found.tpot_ms) == pytest.approx(np.median(token_ms), rel=0.25)
    if users == 1:  # nobody else in the queue: the first token follows the prompt
        assert np.median(found.ttft_ms) == pytest.approx(np.median(prompt_ms), rel=0.35)


def print_row(users: int, found: Measured, prompt_ms: np.ndarray, token_ms: np.ndarray) -> None:
    rate = found.summary["streams"]["output_tokens_per_second"]
    print(
        f"\n{users:>2} users, {len(found.tokens)} requests: "
        f"TTFT p50 {np.median(found.ttft_ms):.1f} ms (server's prompt {np.median(prompt_ms):.1f}), "
        f"TPOT p50 {np.median(found.tpot_ms):.2f} ms (server's {np.median(token_ms):.2f}), "
        f"{rate:.1f} tokens/s"
    )


def test_the_streamed_text_is_the_text_of_a_plain_request(
    llama_target: str, tmp_path: Path
) -> None:
    measure(llama_target, tmp_path / "out", 1)
    table = pq.read_table(tmp_path / "out" / "responses.parquet").to_pydict()
    records = pq.read_table(tmp_path / "out" / "records.parquet").to_pydict()
    sample_of = dict(zip(records["request_index"], records["sample_index"], strict=True))
    from loadgen_service.core.settings import Settings
    from loadgen_service.qsl.sources.prompts import open_prompts

    prompts = open_prompts(
        Settings(
            sut=[llama_target],
            prompt_tokens="uniform:10:40",
            output_tokens=f"constant:{OUTPUT_TOKENS}",
            total_sample_count=64,
        )
    )
    row, answer = table["request_index"][0], table["response"][0]
    body = {"model": MODEL, **PARAMETERS, **json.loads(prompts.sample(sample_of[row])[0])}
    url = llama_target.replace("openai://", "http://") + "/chat/completions"
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as direct:
        plain = json.loads(direct.read())
    assert json.loads(answer)["text"] == plain["choices"][0]["message"]["content"]


def test_an_unknown_model_is_one_line(llama_target: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", "--sut", llama_target, "--model", "nope",
         "--out", str(tmp_path / "out"), "--quiet"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "does not serve 'nope'" in ended.stderr

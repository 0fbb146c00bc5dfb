"""Streams of other projects' servers: what they said, when, and how their troubles are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from product_runs import Run
from server_launch import Served
from server_runs import counts_of, run, summary_of, unmet
from stream_servers import FIRST_S, GAP_S, TOKENS, litserve, triton_tokens

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

WORDS = ("alpha", "beta", "gamma")
OUTPUT_TOKENS = 8
ONE_CALLER = ("--scenario", "concurrency", "--concurrency", "1")
CHAT = ("--model", "echo", "--output-tokens", f"constant:{OUTPUT_TOKENS}")


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Iterator[Served]:
    with litserve(tmp_path_factory.mktemp("litserve")) as served:
        yield served


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Iterator[Served]:
    with triton_tokens(tmp_path_factory.mktemp("triton")) as served:
        yield served


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    """A file of one prompt, whose echo is known."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": " ".join(WORDS)}) + "\n")
    return str(path)


def litserve_flags(served: Served, prompts: str) -> list[str]:
    return ["--sut", f"openai://{served.at['openai']}", *CHAT, "--dataset", prompts]


def test_litserve_says_what_its_model_says(chat, prompts, tmp_path):
    done = run(tmp_path / "out", *litserve_flags(chat, prompts), *ONE_CALLER,
               "--min-duration-ms", "1500", "--min-query-count", "5", "--log-responses",
               "--record-tokens")  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    counts = counts_of(tmp_path / "out")
    assert counts["completed"] == counts["issued"] >= 5
    responses = pq.read_table(tmp_path / "out" / "responses.parquet")["response"].to_pylist()
    expected = "".join(WORDS[i % len(WORDS)] + " " for i in range(OUTPUT_TOKENS))
    assert {json.loads(one)["text"] for one in responses} == {expected}
    streams = summary_of(tmp_path / "out")["streams"]
    print(f"\nLitServe: {streams}")
    assert streams["itl_ns"]["p50"] == pytest.approx(10e6, rel=0.5)


def test_a_server_run_on_litserve_has_closed_accounts(chat, prompts, tmp_path):
    done = run(tmp_path / "out", *litserve_flags(chat, prompts), "--scenario", "server",
               "--target-qps", "4", "--min-duration-ms", "4000", "--target-latency-ms", "3000",
               "--min-query-count", "8", "--target-latency-percentile", "50",
               "--issue-delay-budget-ms", "1000")  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    counts = counts_of(tmp_path / "out")
    assert counts["completed"] == counts["planned"] >= 8


def test_an_overloaded_litserve_is_invalid_by_its_latency(chat, prompts, tmp_path):
    done = run(tmp_path / "out", *litserve_flags(chat, prompts), "--scenario", "server",
               "--target-qps", "30", "--min-duration-ms", "3000", "--target-latency-ms", "300",
               "--timeout-ms", "20000", "--issue-delay-budget-ms", "1000")  # fmt: skip
    assert done.returncode == 1, done.stderr + done.stdout
    counts_of(tmp_path / "out")
    assert "latency" in unmet(tmp_path / "out")
    assert "accounting" not in unmet(tmp_path / "out")


def test_a_litserve_killed_in_the_middle_ends_the_run(prompts, tmp_path):
    (tmp_path / "server").mkdir()
    with litserve(tmp_path / "server") as served:
        going = Run(
            tmp_path / "out",
            *(*litserve_flags(served, prompts), "--scenario", "server", "--target-qps", "6"),
            *("--min-duration-ms", "5000", "--min-query-count", "20", "--timeout-ms", "2000"),
        )
        going.wait_for("issuing")
        served.kill()
        finished = going.finish()
    assert finished.exit_code == 1, finished.said
    counts = counts_of(finished.out)
    assert counts["failed"] + counts["timed_out"] > 0
    assert not finished.finding("error_budget")["met"]
    assert "Traceback" not in finished.said


def triton_flags(served: Served, model: str = "tokens") -> list[str]:
    return ["--sut", f"grpc://{served.at['grpc']}", "--model", model, "--dataset", "zeros"]


def test_every_token_of_a_decoupled_model_has_its_time(tokens, tmp_path):
    done = run(tmp_path / "out", *triton_flags(tokens), *ONE_CALLER,
               "--min-duration-ms", "2000", "--min-query-count", "5", "--record-tokens",
               "--use-token-latencies", "--ttft-latency-ms", "500", "--tpot-latency-ms",
               "500")  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    counts = counts_of(tmp_path / "out")
    assert counts["completed"] == counts["issued"] >= 5
    summary = summary_of(tmp_path / "out")
    times = pq.read_table(tmp_path / "out" / "tokens.parquet")
    of_each = Counter(times["request_index"].to_pylist())
    assert len(of_each) == counts["completed"]
    assert set(of_each.values()) == {TOKENS}
    found = {
        "TTFT": (summary["tokens"]["ttft_ns"]["p50"], FIRST_S),
        "TPOT": (summary["tokens"]["tpot_ns"]["p50"], GAP_S),
        "ITL": (summary["streams"]["itl_ns"]["p50"], GAP_S),
        "last": (summary["latency_ns"]["p50"], FIRST_S + (TOKENS - 1) * GAP_S),
    }
    for name, (got_ns, true_s) in found.items():
        print(f"\nTriton decoupled, {name}: true {true_s * 1e3:g} ms, ours {got_ns / 1e6:.2f} ms")
        assert true_s * 0.95e9 < got_ns < true_s * 1e9 + 15e6


def test_a_decoupled_model_that_fails_half_way_is_a_failed_query(tokens, tmp_path):
    np.savez(tmp_path / "below.npz", input=np.full((4, 1, 1), -1, np.float32))
    flags = [str(tmp_path / "below.npz") if w == "zeros" else w for w in triton_flags(tokens)]
    done = run(tmp_path / "out", *flags, *ONE_CALLER,
               "--min-duration-ms", "500", "--min-query-count", "2")  # fmt: skip
    assert done.returncode == 1, done.stderr + done.stdout
    counts = counts_of(tmp_path / "out")
    assert counts["failed"] == counts["issued"] > 0
    assert "fails half way" in summary_of(tmp_path / "out")["errors"][0]["message"]


def test_many_callers_of_a_decoupled_model_wait_for_each_other(tokens, tmp_path):
    done = run(tmp_path / "out", *triton_flags(tokens), "--scenario", "server", "--target-qps",
               "8", "--min-duration-ms", "2500", "--target-latency-ms", "400",
               "--timeout-ms", "6000", "--issue-delay-budget-ms", "1000")  # fmt: skip
    assert done.returncode == 1, done.stderr + done.stdout
    counts_of(tmp_path / "out")
    assert "latency" in unmet(tmp_path / "out")


def test_an_unknown_decoupled_model_is_one_line(tokens, tmp_path):
    done = run(tmp_path / "out", *triton_flags(tokens, "nope"))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "nope" in line
    assert "--model" in line


def test_a_decoupled_model_whose_server_is_killed_ends_the_run(tmp_path):
    (tmp_path / "server").mkdir()
    with triton_tokens(tmp_path / "server") as served:
        going = Run(
            tmp_path / "out",
            *(*triton_flags(served), "--scenario", "server", "--target-qps", "3"),
            *("--min-duration-ms", "5000", "--min-query-count", "10", "--timeout-ms", "2000"),
        )
        going.wait_for("issuing")
        served.kill()
        finished = going.finish()
    assert finished.exit_code == 1, finished.said
    assert "Traceback" not in finished.said
    counts = counts_of(finished.out)
    assert counts["failed"] + counts["timed_out"] > 0
    assert not finished.finding("error_budget")["met"]
    assert finished.finding("accounting")["met"]

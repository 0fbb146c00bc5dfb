"""A stream with known gaps: what is reported is what was sent, over both protocols."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openai_server import openai_server
from stream_truth import read_reported, read_truth, run_streams, table
from sut_process import sut_server

FLAGS = ("--token-count", "lognormal:12:0.5", "--first-token-time", "lognormal:40:0.3")
GAPS = ("--token-time", "bimodal:10:40:0.1")
LOAD = {
    "alone": ("--scenario", "single_stream", "--min-query-count", "10"),
    "parallel": ("--scenario", "concurrency", "--concurrency", "24", "--min-query-count", "72"),
}
SLACK_MS = 15.0
"""A busy machine of two cores delays a wake-up by so much now and then, on both ends."""


@pytest.mark.parametrize("load", LOAD)
@pytest.mark.parametrize("protocol", ["grpc", "openai"])
def test_reported_streams_are_the_sent_ones(protocol: str, load: str, tmp_path: Path) -> None:
    log, out = tmp_path / "truth.jsonl", tmp_path / "out"
    flags = (*FLAGS, *GAPS, "--token-log", str(log))
    load_flags = (*LOAD[load], "--min-duration-ms", "200", "--expected-latency-ms", "200")
    if protocol == "grpc":
        with sut_server("--model", "synthetic-stream", *flags) as server:
            summary = run_streams(f"grpc://{server.host_port}", out, *load_flags)
    else:
        with openai_server(*flags) as target:
            unlimited = ("--request-parameters", '{"max_tokens": null}')
            summary = run_streams(f"openai://{target}", out, *load_flags, *unlimited)
    truth, reported = read_truth(log), read_reported(out)
    print(table(truth, reported))
    counts = summary["counts"]["requests"]
    assert counts["completed"] == counts["issued"] == len(truth.ttft_ms)
    assert summary["streams"]["output_token_count"] == truth.token_count == reported.token_count
    assert len(reported.itl_ms) == len(truth.itl_ms)
    for name in ("ttft_ms", "tpot_ms", "itl_ms"):
        true, ours = np.sort(getattr(truth, name)), np.sort(getattr(reported, name))
        assert abs(np.median(ours) - np.median(true)) < SLACK_MS
        # The two humps of the gaps are told apart: a mean over the stream would blur them.
        if name == "itl_ms":
            assert abs(np.quantile(ours, 0.97) - np.quantile(true, 0.97)) < SLACK_MS
    # From the scheduled instant: never before the server had sent the first token.
    assert np.all(np.sort(reported.ttft_ms) >= np.sort(truth.ttft_ms) - 0.001)
    itl = summary["streams"]["itl_ns"]
    assert itl["max"] / 1e6 == pytest.approx(reported.itl_ms.max())

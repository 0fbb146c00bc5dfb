"""gzip with other projects' servers: who takes it, and what is said of who does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kserve_servers import SERVERS
from server_launch import Served
from server_runs import run, summary_of
from stream_servers import TOKENS, litserve, triton_tokens

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

REQUESTS = ("--request-compression", "gzip")
ANSWERS = ("--accept-compression", "gzip")
SAMPLES = 100
REMEDY = "--request-compression none"
UNTOLD = {"kserve": ("--shape", "input:FP32:-1,64")}
"""Whose metadata lists no tensors, so a user has to."""


OTHERS = [name for name in SERVERS if name != "own"]
"""Our own is asked in ``tests/integration/test_compression.py``."""


@pytest.fixture(scope="module", params=OTHERS, ids=str)
def server(request, tmp_path_factory) -> Iterator[tuple[str, Served]]:
    """A KServe v2 server's name, and the server."""
    name = request.param
    with SERVERS[name](tmp_path_factory.mktemp(name)) as served:
        yield name, served


def measured(out: Path, *flags: str) -> dict:
    """The summary of a run that came to its end."""
    done = run(out, *flags)
    assert done.returncode in (0, 1), done.stderr
    return summary_of(out)


def accuracy(out: Path, server: tuple[str, Served], scheme: str, *flags: str) -> dict:
    name, served = server
    return measured(
        out,
        *("--sut", f"{scheme}://{served.at[scheme]}", "--model", "digits", "--dataset", "digits"),
        *("--scenario", "offline", "--mode", "accuracy", "--accuracy-sample-count", str(SAMPLES)),
        *UNTOLD.get(name, ()),
        *flags,
    )


def test_over_grpc_every_server_takes_it(server, tmp_path):
    scores = []
    for name, flags in (("plain", ()), ("gzip", (*REQUESTS, *ANSWERS))):
        summary = accuracy(tmp_path / name, server, "grpc", *flags)
        assert summary["errors"] == []
        scores.append(summary["accuracy"])
    assert scores[0] == scores[1]
    assert scores[0]["top1"] > 0.9


def test_over_http_it_is_taken_or_the_remedy_is_named(server, tmp_path):
    if server[0] == "mlserver":
        pytest.skip("MLServer's REST takes no binary tensors: use grpc://")
    plain = accuracy(tmp_path / "answers", server, "http", *ANSWERS)
    assert plain["errors"] == []
    assert plain["accuracy"]["top1"] > 0.9
    packed = accuracy(tmp_path / "requests", server, "http", *REQUESTS)
    counts = packed["counts"]["requests"]
    assert counts["planned"] == counts["completed"] + counts["failed"] == SAMPLES
    if server[0] == "triton":
        assert packed["errors"] == []
        assert packed["accuracy"] == plain["accuracy"]
        return
    [error] = packed["errors"]  # KServe's Python server reads the gzip as if it were JSON
    assert (error["count"], error["code"]) == (SAMPLES, 3)
    [budget] = [one for one in packed["findings"] if one["name"] == "error_budget"]
    assert REMEDY in budget["advice"]


def test_a_decoupled_model_streams_to_who_sends_gzip(tmp_path, tmp_path_factory):
    with triton_tokens(tmp_path_factory.mktemp("triton")) as served:
        summary = measured(
            tmp_path / "out",
            *("--sut", f"grpc://{served.at['grpc']}", "--model", "tokens"),
            *("--scenario", "concurrency", "--concurrency", "2", "--min-query-count", "6"),
            *("--min-duration-ms", "500", *REQUESTS, *ANSWERS),
        )
    assert summary["errors"] == []
    counts = summary["counts"]["requests"]
    assert counts["completed"] == counts["issued"] >= 6
    counted = pq.read_table(tmp_path / "out" / "records.parquet")["token_count"].to_pylist()
    assert set(counted) == {TOKENS}


def test_litserve_takes_no_gzip_and_the_remedy_is_named(tmp_path, tmp_path_factory):
    chat = ("--model", "echo", "--output-tokens", "constant:8", "--scenario", "concurrency")
    quick = ("--min-query-count", "6", "--min-duration-ms", "500")
    with litserve(tmp_path_factory.mktemp("litserve")) as served:
        target = ("--sut", f"openai://{served.at['openai']}", *chat, *quick)
        offered = measured(tmp_path / "answers", *target, *ANSWERS)
        packed = measured(tmp_path / "requests", *target, *REQUESTS)
    assert offered["errors"] == []
    assert packed["counts"]["requests"]["completed"] == 0
    [budget] = [one for one in packed["findings"] if one["name"] == "error_budget"]
    assert REMEDY in budget["advice"]

"""Sequences against the real Triton: its sequence batcher, and a model that keeps running sums."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sequence_sums import sums_are_right, written

pytestmark = pytest.mark.triton

RUN_S = 110.0


@pytest.mark.parametrize(
    ("scheme", "flags"),
    [
        ("grpc", ("--workers", "2")),
        ("grpc", ("--adapter", "grpc_aio", "--sequence-id-start", "10000000")),
        ("http", ("--sequence-id-start", "4611686018427387904")),
    ],
    ids=["wire", "grpc_aio", "http"],
)
def test_triton_adds_up_every_sequence_in_its_order(
    triton_address: str,
    triton_http_address: str,
    tmp_path: Path,
    scheme: str,
    flags: tuple[str, ...],
) -> None:
    address = triton_http_address if scheme == "http" else triton_address
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--quiet"),
            *("--out", str(tmp_path / "run"), "--sut", f"{scheme}://{address}"),
            *("--model", "running-sum", "--scenario", "concurrency", "--concurrency", "6"),
            *("--sequences", str(written(tmp_path / "seq.jsonl")), "--min-duration-ms", "1000"),
            *("--log-responses", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["errors"] == []
    assert summary["sequences"]["begun"] == sums_are_right(tmp_path / "run")
    assert summary["sequences"]["completed"] > 10
    assert summary["suts"][0]["server_statistics"]["surplus_count"] == 0

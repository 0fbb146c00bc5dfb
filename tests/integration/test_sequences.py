"""The real ``loadgen run`` plays sequences to the real, strict, stateful ``sut-server``.

The model refuses what comes out of order, and its answers are running sums: a wrong order, a wrong
sample or a shared id would be a failed query or a wrong number.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequence_sums import columns, sums_are_right, written
from sut_process import sut_server

RUN_S = 60.0
MODEL = ("--model", "accumulator", "--service-time", "constant:1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "seq.jsonl")


@dataclass(frozen=True)
class Suts:
    """One server by both protocols."""

    grpc: str
    http: str


@pytest.fixture(scope="module")
def sut() -> Iterator[Suts]:
    with sut_server(*MODEL, "--http-port", "0", "--shared-memory") as server:
        assert server.process.stdout is not None
        rest = server.process.stdout.readline().split(" ready on ")[1].strip()
        yield Suts(f"grpc://{server.host_port}", f"http://{rest}")


def load(out: Path, sut: str, file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--quiet"),
            *("--out", str(out), "--sut", sut, "--model", "accumulator"),
            *("--scenario", "concurrency", "--concurrency", "7", "--sequences", str(file)),
            *("--min-duration-ms", "700", "--log-responses", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("scheme", "flags"),
    [
        (
            "grpc",
            ("--workers", "2", "--warmup-duration-ms", "200", "--sequence-id-start", "10000000"),
        ),
        ("grpc", ("--adapter", "grpc_aio", "--sequence-id-start", "20000000")),
        ("grpc", ("--shared-memory", "system", "--output-shared-memory-bytes", "8")),
        ("http", ("--sequence-id-start", "4611686018427387904")),
    ],
    ids=["wire", "grpc_aio", "shared_memory", "http"],
)
def test_every_answer_is_the_running_sum_of_its_sequence(
    tmp_path: Path, file: Path, sut: Suts, scheme: str, flags: tuple[str, ...]
) -> None:
    summary = summary_of(load(tmp_path / "run", getattr(sut, scheme), file, *flags))
    assert summary["errors"] == []
    assert summary["valid"] is True, summary["invalid_reason"]
    begun = sum(one["sequences"]["begun"] for one in summary["series"])
    assert begun == sums_are_right(tmp_path / "run")
    found = summary["sequences"]
    assert found["begun"] == found["completed"] + found["cut"]
    assert found["cut"] <= 7  # no more than were live when the series ended
    assert found["completed"] > 10
    assert "sequences: " in (tmp_path / "run" / "report.txt").read_text()


def test_a_failed_request_ends_its_sequence_and_no_other(tmp_path: Path, file: Path) -> None:
    with sut_server(*MODEL, "--error-rate", "0.05") as server:
        sut = f"grpc://{server.host_port}"
        summary = summary_of(load(tmp_path / "run", sut, file, "--error-budget", "0.2"))
    assert {error["message"] for error in summary["errors"]} == {
        "injected error (sut-server --error-rate)"
    }
    rows = columns(tmp_path / "run")
    failed = rows["status"] == 2
    assert summary["counts"]["queries"]["failed"] == np.count_nonzero(failed) > 0
    assert summary["sequences"]["failed"] == np.count_nonzero(failed)
    for sequence_id, step in zip(
        rows["sequence_id"][failed], rows["sequence_step"][failed], strict=True
    ):
        assert rows["sequence_step"][rows["sequence_id"] == sequence_id].max() == step


def test_a_sequence_stays_at_one_of_several_suts(tmp_path: Path, file: Path) -> None:
    with sut_server(*MODEL) as one, sut_server(*MODEL) as two:
        suts = f"grpc://{one.host_port},grpc://{two.host_port}"
        summary = summary_of(load(tmp_path / "run", suts, file, "--connections", "3"))
    assert summary["errors"] == []
    rows = columns(tmp_path / "run")
    pairs = set(zip(rows["sequence_id"].tolist(), rows["sut_index"].tolist(), strict=True))
    assert len(pairs) == len(set(rows["sequence_id"].tolist()))
    assert {sut for _, sut in pairs} == {0, 1}
    sums_are_right(tmp_path / "run")


def test_a_broken_file_is_one_line(tmp_path: Path, sut: Suts) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"sequence": [{"sample": 1}]}\n{"sequence": []}\n')
    done = load(tmp_path / "run", sut.grpc, broken)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "broken.jsonl line 2: must be" in done.stderr

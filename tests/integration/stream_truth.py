"""Reported figures of streams beside the truth of the server that sent them.

Both ends share one host and one monotonic clock, so the server's log of instants is the truth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Truth:
    """What the server did, in ms: of each stream first - received, and time a further token; and
    every gap."""

    ttft_ms: np.ndarray
    tpot_ms: np.ndarray
    itl_ms: np.ndarray
    token_count: int


def read_truth(log: Path) -> Truth:
    streams = [json.loads(line) for line in log.read_text().splitlines()]
    sent = [np.array(one["sent_ns"]) for one in streams]
    first = np.array([one["sent_ns"][0] - one["received_ns"] for one in streams])
    spans = np.array([(s[-1] - s[0]) / (len(s) - 1) for s in sent if len(s) > 1])
    gaps = np.concatenate([np.diff(s) for s in sent])
    return Truth(first / 1e6, spans / 1e6, gaps / 1e6, sum(len(s) for s in sent))


def read_reported(out: Path) -> Truth:
    """The same from the records of a run. Needs ``--record-tokens``."""
    import pyarrow.parquet as pq

    records = pq.read_table(out / "records.parquet").to_pydict()
    done = np.array(records["status"]) == 1
    column = {name: np.array(values)[done] for name, values in records.items()}
    many = column["token_count"] > 1
    span = (column["completed_ns"] - column["first_response_ns"])[many]
    tokens = pq.read_table(out / "tokens.parquet").to_pydict()
    row, arrived = np.array(tokens["request_index"]), np.array(tokens["arrived_ns"])
    gaps = np.diff(arrived)[row[1:] == row[:-1]]
    return Truth(
        (column["first_response_ns"] - column["scheduled_ns"]) / 1e6,
        span / (column["token_count"][many] - 1) / 1e6,
        gaps / 1e6,
        int(column["token_count"].sum()),
    )


def run_streams(target: str, out: Path, *flags: str, limit_s: float = 120.0) -> dict:
    """One run of loadgen against ``target``; its summary."""
    command = [
        sys.executable, "-m", "loadgen_service", "run", "--sut", target, "--model",
        "synthetic-stream", "--record-tokens", "--out", str(out), "--quiet", *flags,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    assert ended.returncode in (0, 1), ended.stderr
    summary: dict = json.loads((out / "summary.json").read_text())
    return summary


def table(truth: Truth, reported: Truth) -> str:
    """True and reported quantiles of each figure, in ms."""
    lines = []
    for name in ("ttft_ms", "tpot_ms", "itl_ms"):
        true, ours = getattr(truth, name), getattr(reported, name)
        cells = [
            f"p{100 * q:g} {np.quantile(true, q):.3f} / {np.quantile(ours, q):.3f}"
            for q in QUANTILES
        ]
        lines.append(f"  {name[:4]} true / reported: " + ", ".join(cells))
    return "\n".join(lines)

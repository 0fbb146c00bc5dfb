"""Rows about time: a Poisson schedule held without re-anchoring, and issue delay beside the peers'.

Each measurement is a whole run, so one run gives the median and the 99th percentile at once.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from clients import perf_analyzer_env, perf_analyzer_path
from harness import Result, number
from processes import CLIENT_CORE, PEERS, MissingPeer, RowFailed, output_of, python, sut_server

RUN_S = 10.0
DELAY_S = 5.0
LAST_WITHIN_NS = 10_000_000
P99_WITHIN_NS = 1_000_000
SHARE = 0.6
TRIES = 5
NEEDED = 3


def official(rate: float, seconds: float, *flags: str) -> dict[str, float]:
    """The official LoadGen's issue rate and delays, alone with a Python callback."""
    argv = python(str(PEERS / "official_issue.py"), str(rate), str(seconds), *flags)
    found: dict[str, float] = json.loads(output_of(argv, CLIENT_CORE).splitlines()[-1])
    return found


def server_run(address: str, qps: float, seconds: float, policy: str) -> dict[str, float]:
    """One Server run of the whole product: issue delay, and how late the last query left."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        output_of(
            python(
                "-m",
                "loadgen_service",
                "run",
                "--sut",
                f"grpc://{address}",
                "--model",
                "null",
                "--scenario",
                "server",
                "--target-qps",
                str(qps),
                "--min-query-count",
                "1",
                "--min-duration-ms",
                str(round(seconds * 1000)),
                "--target-latency-ms",
                "1000",
                "--wait-policy",
                policy,
                "--out",
                str(out),
            ),
            CLIENT_CORE,
            allowed=(0, 1),
        )
        summary = json.loads((out / "summary.json").read_text())
        columns = pq.read_table(out / "records.parquet", columns=["scheduled_ns", "issued_ns"])
    scheduled, issued = (columns.column(name).to_numpy() for name in ("scheduled_ns", "issued_ns"))
    last = int(np.argmax(scheduled))
    return {
        "p50_ns": summary["issue_delay_ns"]["p50"],
        "p99_ns": summary["issue_delay_ns"]["p99"],
        "last_late_ns": float(issued[last] - scheduled[last]),
        "issued": float(len(scheduled)),
    }


def poisson_held(quick: bool) -> list[Result]:
    """How many of five runs hold a Poisson schedule at 0.6 of the official issue rate."""
    seconds, tries = (2.0, 1) if quick else (RUN_S, TRIES)
    rate = statistics.median(official(1e6, 1.0)["issued_per_s"] for _ in range(1 if quick else 3))
    result = Result(
        f"Poisson at {SHARE} of the official issue rate, {seconds:g} s, no re-anchoring: runs held",
        "official LoadGen, Python callback (its rate)", "runs of " + str(tries), NEEDED,
        peer_figure=rate, rounds=tries,
    )  # fmt: skip
    said = []
    held = 0
    with sut_server("--model", "null") as (address, _):
        for _ in range(tries):
            run = server_run(address, SHARE * rate, seconds, "timerfd")
            good = run["last_late_ns"] <= LAST_WITHIN_NS and run["p99_ns"] <= P99_WITHIN_NS
            held += good
            said.append(run)
    result.ours_figure = result.ratio = result.ratio_min = result.ratio_max = float(held)
    result.notes = {"rate_asked_qps": SHARE * rate, "runs": said}
    result.beside = {
        "rate asked, queries/s": SHARE * rate,
        "worst p99 issue delay, us": max(run["p99_ns"] for run in said) / 1e3,
        "latest last query, us": max(run["last_late_ns"] for run in said) / 1e3,
        "official with FastSUT, issued/s": official(1e6, 1.0, "fast")["issued_per_s"],
    }
    return [result]


def issue_delay(quick: bool) -> list[Result]:
    """Issue delay at two rates, by both waiting policies, beside the official LoadGen's."""
    seconds, rounds = (2.0, 1) if quick else (DELAY_S, 3)
    results = []
    with sut_server("--model", "null") as (address, _):
        for qps in (5000, 20000):
            theirs, ours = [], {"timerfd": [], "poll": []}  # type: ignore[var-annotated]
            for _ in range(rounds):
                theirs.append(official(qps, seconds, "trace"))
                for policy, runs in ours.items():
                    runs.append(server_run(address, qps, seconds, policy))
            results += [
                _delay_row(qps, policy, figure, runs, theirs)
                for policy, runs in ours.items()
                for figure in ("p50", "p99")
            ]
            results.append(_analyzer_row(address, qps, seconds))
    return results


def _delay_row(
    qps: int,
    policy: str,
    figure: str,
    ours: list[dict[str, float]],
    theirs: list[dict[str, float]],
) -> Result:
    mine = [run[f"{figure}_ns"] for run in ours]
    peer = [run[f"delay_{figure}_ns"] for run in theirs]
    ratios = [p / o for p, o in zip(peer, mine, strict=True)]
    return Result(
        f"issue delay {figure} at {qps}/s, {policy} (their delay over ours)",
        "official LoadGen (its trace log)", "us", 1.0,
        ours_figure=statistics.median(mine) / 1e3, peer_figure=statistics.median(peer) / 1e3,
        ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios),
        rounds=len(ratios),
    )  # fmt: skip


def _analyzer_row(address: str, qps: int, seconds: float) -> Result:
    """perf_analyzer tells no issue delays; the rate that it achieved is what can be shown."""
    result = Result(f"schedule of {qps}/s: achieved share", "perf_analyzer 2.41", "of asked", None)
    try:
        said = output_of(
            [perf_analyzer_path(), "-v", "-m", "null", "-u", address, "-i", "grpc", "--async",
             "--request-rate-range", str(qps), "--request-distribution", "poisson",
             "-p", str(round(seconds * 500)), "-s", "90", "-r", "3"],
            CLIENT_CORE, env=perf_analyzer_env(), allowed=(0, 2, -6, 250),
        )  # fmt: skip
    except (MissingPeer, RowFailed) as error:
        result.reason = " ".join(str(error).split())[:200]
        return result
    found = [float(one) for one in re.findall(r"throughput: ([\d.]+) infer/sec", said, re.I)]
    if not found:
        result.reason = "it reported no throughput"
        return result
    with_ours = server_run(address, qps, seconds, "timerfd")
    result.ours_figure = with_ours["issued"] / seconds / qps
    result.peer_figure = statistics.median(found) / qps
    result.ratio = result.ratio_min = result.ratio_max = result.ours_figure / result.peer_figure
    result.rounds = 1
    result.notes = {"perf_analyzer_qps": number(statistics.median(found))}
    return result

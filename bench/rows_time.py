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
from clients import ANALYZER, ANALYZER_EXITS, perf_analyzer_env, perf_analyzer_path
from harness import FAILURES, Result, reason_of
from processes import CLIENT_CORE, PEERS, SERVER_CORE, output_of, python, sut_server

RUN_S = 10.0
DELAY_S = 4.0
ANALYZER_S = 25.0
LAST_WITHIN_NS = 10_000_000
P99_WITHIN_NS = 1_000_000
SHARE = 0.6
TRIES = 5
NEEDED = 3


def official(rate: float, seconds: float, *flags: str) -> dict[str, float]:
    """The official LoadGen's issue rate and delays, alone with a Python callback."""
    argv = python(str(PEERS / "official_issue.py"), str(rate), str(seconds), *flags)
    said = output_of(argv, CLIENT_CORE, seconds=60.0)
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def server_run(address: str, qps: float, seconds: float, policy: str) -> dict[str, float]:
    """One Server run of the whole product: issue delay, and how late the last query left.

    A polling worker gives its core to nobody, so its service runs beside the server.
    """
    cores = str(CLIENT_CORE) if policy == "timerfd" else f"{CLIENT_CORE},{SERVER_CORE}"
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
            cores,
            seconds=60.0,
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
    """How many runs hold a Poisson schedule at 0.6 of the official issue rate.

    LoadGen as it comes writes every query into its trace log, as we keep every record; the second
    row is LoadGen told not to.
    """
    with sut_server("--model", "null") as (address, _):
        return [
            _held(address, "its default: every query logged", ("trace",), TRIES, quick),
            _held(address, "its trace log off", (), 1, quick),
        ]


def _held(address: str, how: str, flags: tuple[str, ...], tries: int, quick: bool) -> Result:
    seconds, tries = (2.0, 1) if quick else (RUN_S, tries)
    rates = [official(1e6, 0.5, *flags)["issued_per_s"] for _ in range(1 if quick else 3)]
    rate = statistics.median(rates)
    needed = tries * NEEDED / TRIES
    said = [server_run(address, SHARE * rate, seconds, "timerfd") for _ in range(tries)]
    held = sum(
        run["last_late_ns"] <= LAST_WITHIN_NS and run["p99_ns"] <= P99_WITHIN_NS for run in said
    )
    return Result(
        f"Poisson at {SHARE * rate:,.0f}/s, {SHARE} of the official issue rate, {seconds:g} s, "
        "no re-anchoring: runs held",
        f"official LoadGen, Python callback, {how} (its rate)", f"runs of {tries}", needed,
        ours_figure=held, peer_figure=rate, ratio=held, ratio_min=held, ratio_max=held,
        rounds=tries, notes={"rate_asked_qps": SHARE * rate, "runs": said, "rates": rates},
        beside={
            "median p99 issue delay, us": statistics.median(r["p99_ns"] for r in said) / 1e3,
            "median last query, us late": statistics.median(r["last_late_ns"] for r in said) / 1e3,
        },
    )  # fmt: skip


def issue_delay(quick: bool) -> list[Result]:
    """Issue delay at two rates, by both waiting policies, beside the official LoadGen's."""
    seconds, rounds = (2.0, 1) if quick else (DELAY_S, 2)
    results: list[Result] = []
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
            try:
                results.append(_analyzer_row(address, qps, seconds))
            except FAILURES as error:
                what = f"schedule of {qps}/s: achieved share"
                results.append(Result(what, "perf_analyzer", "", None, reason=reason_of(error)))
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
    """perf_analyzer tells no issue delays; what it says is how many requests it sent late."""
    result = Result(
        f"schedule of {qps}/s: achieved share", f"perf_analyzer {ANALYZER}", "of asked", None
    )
    said = output_of(
        [perf_analyzer_path(), "-v", "-m", "null", "-u", address, "-i", "grpc", "--async",
         "--request-rate-range", str(qps), "--request-distribution", "poisson",
         "-p", str(round(seconds * 500)), "-s", "90", "-r", "3"],
        CLIENT_CORE, seconds=ANALYZER_S, env=perf_analyzer_env(), allowed=ANALYZER_EXITS,
        keep_late=True,
    )  # fmt: skip
    found = [float(one) for one in re.findall(r"throughput: ([\d.]+) infer/sec", said, re.I)]
    delayed = [float(one) for one in re.findall(r"([\d.]+)% of the requests were delayed", said)]
    if not found:
        result.reason = f"it reported no throughput within {ANALYZER_S:g} s"
        return result
    with_ours = server_run(address, qps, seconds, "timerfd")
    result.ours_figure = with_ours["issued"] / seconds / qps
    result.peer_figure = statistics.median(found) / qps
    result.ratio = result.ratio_min = result.ratio_max = result.ours_figure / result.peer_figure
    result.rounds = 1
    result.beside = {"% that it calls delayed": max(delayed)} if delayed else {}
    return result

"""The official LoadGen with a Python callback that answers at once: RATE SECONDS [trace] [fast].

``fast``: its FastSUT, which hands over bare integers.

Prints JSON: issued_per_s, and with ``trace`` delay_p50_ns and delay_p99_ns from its trace log.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import mlperf_loadgen as lg
import numpy as np


def main(rate: float, seconds: float, trace: bool, fast: bool) -> None:
    """Run Server once and print what was issued."""
    instants: list[float] = []
    now = time.monotonic

    def issue(queries: list[lg.QuerySample]) -> None:
        instants.append(now())
        lg.QuerySamplesComplete([lg.QuerySampleResponse(one.id, 0, 0) for one in queries])

    def issue_fast(ids: list[int], indexes: list[int]) -> None:
        instants.append(now())
        lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0) for one in ids])

    settings = lg.TestSettings()
    settings.scenario, settings.mode = lg.TestScenario.Server, lg.TestMode.PerformanceOnly
    settings.server_target_qps = rate
    settings.server_target_latency_ns = 10**9
    settings.min_duration_ms = round(seconds * 1000)
    settings.min_query_count = 1
    with tempfile.TemporaryDirectory() as folder:
        output = lg.LogOutputSettings()
        output.outdir = folder
        log = lg.LogSettings()
        log.log_output, log.enable_trace = output, trace
        construct = lg.ConstructFastSUT if fast else lg.ConstructSUT
        sut = construct(issue_fast if fast else issue, lambda: None)
        qsl = lg.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
        lg.StartTestWithLogSettings(sut, qsl, settings, log, "")
        rate_held = (len(instants) - 1) / (instants[-1] - instants[0])
        print(json.dumps({"issued_per_s": rate_held, **delays(Path(folder), trace)}))
        lg.DestroyQSL(qsl)
        (lg.DestroyFastSUT if fast else lg.DestroySUT)(sut)


def delays(folder: Path, trace: bool) -> dict[str, float]:
    """Issue delays in ns out of the trace log."""
    if not trace:
        return {}
    text = (folder / "mlperf_log_trace.json").read_text()
    found = np.array([int(one) for one in re.findall(r'"issue_delay": ?(\d+)', text)])
    return {
        "delay_p50_ns": float(np.percentile(found, 50)),
        "delay_p99_ns": float(np.percentile(found, 99)),
    }


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), "trace" in sys.argv, "fast" in sys.argv)

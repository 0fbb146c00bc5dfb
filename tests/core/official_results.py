"""One run of the official LoadGen with its trace: what it measured and what it made of that.

Run in a process of its own: argv is {settings, delay_ms: [..]}; query i is answered after
delay_ms[i mod n]. Prints {detail: {key: value}, samples: [[query, scheduled, issued, completed]]},
instants in ns since the first scheduled one.
"""

from __future__ import annotations

import heapq
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SAMPLE = re.compile(
    r'"name":"Sample".*"ph":"b".*"ts":([-\d.]+),"args":\{"sample_seq":(\d+),"query_seq":(\d+),'
    r'"sample_idx":\d+,"issue_start_ns":(-?\d+),"complete_ns":(\d+)'
)


def official_results(settings: dict[str, Any], delay_ms: list[float]) -> dict[str, Any]:
    """Run the official LoadGen; a deadline ends it."""
    request = json.dumps({"settings": settings, "delay_ms": delay_ms})
    done = subprocess.run(
        [sys.executable, __file__, request], capture_output=True, text=True, timeout=60, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Answerer(threading.Thread):
    """Completes each query once its delay is over."""

    def __init__(self, complete: Any) -> None:
        super().__init__(daemon=True)
        self._complete = complete
        self._due: list[tuple[float, int, list[int]]] = []
        self._count = 0
        self._wake = threading.Condition()

    def add(self, ids: list[int], delay_ms: list[float]) -> None:
        with self._wake:
            due = time.monotonic() + delay_ms[self._count % len(delay_ms)] / 1000
            heapq.heappush(self._due, (due, self._count, ids))
            self._count += 1
            self._wake.notify()

    def run(self) -> None:
        while True:
            with self._wake:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._wake.wait(wait)
                    continue
                ids = heapq.heappop(self._due)[2]
            self._complete(ids)


def _run(request: dict[str, Any], directory: str) -> None:
    import mlperf_loadgen as loadgen

    settings = loadgen.TestSettings()
    for name, value in request["settings"].items():
        named = {"scenario": loadgen.TestScenario, "mode": loadgen.TestMode}.get(name)
        setattr(settings, name, getattr(named, value) if named else value)
    answerer = Answerer(
        lambda ids: loadgen.QuerySamplesComplete(
            [loadgen.QuerySampleResponse(i, 0, 0) for i in ids]
        )
    )
    answerer.start()
    sut = loadgen.ConstructFastSUT(
        lambda ids, _: answerer.add(list(ids), request["delay_ms"]), lambda: None
    )
    qsl = loadgen.ConstructQSL(64, 64, lambda _: None, lambda _: None)
    output, logs = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir = directory
    logs.log_output, logs.enable_trace = output, True
    loadgen.StartTestWithLogSettings(sut, qsl, settings, logs, "")


def _measured(directory: Path) -> dict[str, Any]:
    detail = {}
    for line in (directory / "mlperf_log_detail.txt").read_text().splitlines():
        try:
            entry = json.loads(line.removeprefix(":::MLLOG "))
        except json.JSONDecodeError:
            continue
        detail[entry["key"]] = entry["value"]
    samples = []
    for line in (directory / "mlperf_log_trace.json").read_text().splitlines():
        if found := SAMPLE.search(line):
            scheduled_ns = round(float(found[1]) * 1000)
            samples.append((int(found[3]), scheduled_ns, int(found[4]), int(found[5])))
    samples.sort()
    first_ns = samples[0][1]
    rows = [[q, at - first_ns, at - first_ns + i, at - first_ns + c] for q, at, i, c in samples]
    return {"detail": detail, "samples": rows}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        _run(json.loads(sys.argv[1]), where)
        print(json.dumps(_measured(Path(where))), flush=True)

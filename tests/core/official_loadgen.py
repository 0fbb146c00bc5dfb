"""The official LoadGen as a judge: run in a process of its own, one JSON request a line.

Request: {settings: {field: value}, total, performance, stall_at, trace}: the SUT stalls for
STALL_S at its query number stall_at of each series, so that a series with more queries is late.
Answer: {issued, generated_query_count, generated_samples_per_query, generated_query_duration,
loaded_qsl_set, effective, errors, messages, accuracy_log}; lists over series, accuracy_log one
[sequence id, sample index] a logged response; with ``trace`` due_ns too, the scheduled instant of
every sample since the first one's, in order.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEYS = (
    "loaded_qsl_set",
    "generated_query_count",
    "generated_samples_per_query",
    "generated_query_duration",
)

STALL_S = 0.03
SAMPLE_BEGINS = re.compile(r'"name":"Sample".*"ph":"b".*"ts":(\d+)\.(\d{3}),.*"sample_seq":(\d+),')


class OfficialLoadGen:
    """Asks the judge; ``close`` ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(
        self,
        settings: dict[str, Any],
        total: int,
        performance: int,
        stall_at: int = -1,
        trace: bool = False,
    ) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "settings": settings,
            "total": total,
            "performance": performance,
            "stall_at": stall_at,
            "trace": trace,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the official LoadGen died of {settings}"
        return dict(json.loads(answer))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _test_settings(loadgen: Any, fields: dict[str, Any]) -> Any:
    settings = loadgen.TestSettings()
    for name, value in fields.items():
        if name == "scenario":
            value = getattr(loadgen.TestScenario, value)
        if name == "mode":
            value = getattr(loadgen.TestMode, value)
        setattr(settings, name, value)
    return settings


def _log_settings(loadgen: Any, directory: str, trace: bool) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = directory
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = trace
    return settings


def _answer(loadgen: Any, request: dict[str, Any], directory: str) -> dict[str, Any]:
    issued: list[list[int]] = []
    series_starts: list[int] = [0]

    def issue(ids: list[int], indexes: list[int]) -> None:
        if len(issued) - series_starts[-1] == request["stall_at"]:
            time.sleep(STALL_S)
        issued.append(list(indexes))
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(i, 0, 0) for i in ids])

    sut = loadgen.ConstructFastSUT(issue, lambda: series_starts.append(len(issued)))
    qsl = loadgen.ConstructQSL(
        request["total"], request["performance"], lambda _: None, lambda _: None
    )
    settings = _test_settings(loadgen, request["settings"])
    logs = _log_settings(loadgen, directory, request["trace"])
    loadgen.StartTestWithLogSettings(sut, qsl, settings, logs, "")
    loadgen.DestroyQSL(qsl)
    loadgen.DestroyFastSUT(sut)
    logged = json.loads((Path(directory) / "mlperf_log_accuracy.json").read_text())
    return {
        "issued": issued,
        "accuracy_log": [[entry["seq_id"], entry["qsl_idx"]] for entry in logged],
        "due_ns": _due_ns(Path(directory) / "mlperf_log_trace.json") if request["trace"] else [],
        **_logged(Path(directory) / "mlperf_log_detail.txt"),
    }


def _due_ns(path: Path) -> list[int]:
    """The trace is no JSON; its times are microseconds with three decimals."""
    found = {}
    for line in path.read_text().splitlines():
        if match := SAMPLE_BEGINS.search(line):
            found[int(match[3])] = int(match[1]) * 1000 + int(match[2])
    due = [found[place] for place in sorted(found)]
    return [at - due[0] for at in due]


def _logged(path: Path) -> dict[str, Any]:
    answer: dict[str, Any] = {key: [] for key in KEYS}
    answer["effective"] = {}
    answer["errors"] = []
    answer["messages"] = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line.removeprefix(":::MLLOG "))
        except json.JSONDecodeError:
            continue  # LoadGen writes -nan where a run has a single query
        if entry["key"] in KEYS:
            answer[entry["key"]].append(entry["value"])
        elif entry["key"].startswith("effective_"):
            answer["effective"][entry["key"].removeprefix("effective_")] = entry["value"]
        elif entry["key"] == "generic_message":
            answer["messages"].append(entry["value"])
        elif entry["metadata"]["is_error"]:
            answer["errors"].append(entry["value"])
    return answer


def main() -> None:
    import mlperf_loadgen

    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as directory:
            answer = _answer(mlperf_loadgen, json.loads(line), directory)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

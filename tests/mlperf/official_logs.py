"""One run of the official LoadGen, in a process of its own, that leaves its log files in a folder.

argv is {directory, settings, total, performance, delay_ns: [..], first_ns, tokens}: query i is
answered after delay_ns[i mod n] with its sample index as four bytes; with ``tokens`` each sample's
first token comes after first_ns and the answer counts tokens[i mod n] tokens.
"""

from __future__ import annotations

import array
import heapq
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def run_official(directory: Path, **request: Any) -> None:
    """Run it; a deadline ends it."""
    text = json.dumps({"directory": str(directory), **request})
    subprocess.run(
        [sys.executable, __file__, text], capture_output=True, text=True, timeout=60, check=True
    )


class Answerer(threading.Thread):
    """Does things when they are due."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._due: list[tuple[int, int, Any, Any]] = []
        self._count = 0
        self._wake = threading.Condition()

    def add(self, due_ns: int, action: Any, argument: Any) -> None:
        with self._wake:
            heapq.heappush(self._due, (due_ns, self._count, action, argument))
            self._count += 1
            self._wake.notify()

    def run(self) -> None:
        while True:
            with self._wake:
                wait_ns = self._due[0][0] - time.monotonic_ns() if self._due else None
                if wait_ns is None or wait_ns > 0:
                    self._wake.wait(wait_ns if wait_ns is None else wait_ns / 1e9)
                    continue
                _, _, action, argument = heapq.heappop(self._due)
            action(argument)


def _settings(loadgen: Any, fields: dict[str, Any]) -> Any:
    settings = loadgen.TestSettings()
    for name, value in fields.items():
        named = {"scenario": loadgen.TestScenario, "mode": loadgen.TestMode}.get(name)
        setattr(settings, name, getattr(named, value) if named else value)
    return settings


def _run(request: dict[str, Any]) -> None:
    import mlperf_loadgen as loadgen

    answerer, made, sent = Answerer(), 0, 0
    delays, tokens = request["delay_ns"], request.get("tokens")

    def responses(ids: list[int], indexes: list[int], numbers: list[int] | None) -> Any:
        data = array.array("i", indexes)
        at = data.buffer_info()[0]
        extra = [(n,) for n in numbers] if numbers else [()] * len(ids)
        return data, [
            loadgen.QuerySampleResponse(i, at + 4 * k, 4, *more)
            for k, (i, more) in enumerate(zip(ids, extra, strict=True))
        ]

    def answer(query: Any) -> None:
        data, made = responses(*query)
        loadgen.QuerySamplesComplete(made)
        del data

    def first(query: Any) -> None:
        data, made = responses(query[0], query[1], None)
        loadgen.FirstTokenComplete(made)
        del data

    def issue(ids: list[int], indexes: list[int]) -> None:
        nonlocal made, sent
        now_ns, query = time.monotonic_ns(), [list(ids), list(indexes), None]
        if tokens:
            query[2] = [tokens[(sent + k) % len(tokens)] for k in range(len(ids))]
            sent += len(ids)
            if request["first_ns"]:
                answerer.add(now_ns + request["first_ns"], first, query)
        delay_ns = delays[made % len(delays)]
        made += 1
        if delay_ns:
            answerer.add(now_ns + delay_ns, answer, query)
        else:
            answer(query)

    answerer.start()
    sut = loadgen.ConstructFastSUT(issue, lambda: None)
    qsl = loadgen.ConstructQSL(
        request["total"], request["performance"], lambda _: None, lambda _: None
    )
    output, logs = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir = request["directory"]
    logs.log_output, logs.enable_trace = output, True
    loadgen.StartTestWithLogSettings(sut, qsl, _settings(loadgen, request["settings"]), logs, "")


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))

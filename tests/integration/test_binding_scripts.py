"""One script written for the official binding, run unchanged but for its import: official LoadGen,
our engine in its process, and served over the network to both engines. Equal samples everywhere.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "mlperf" / "script_sut.py"
RUN_S = 80.0
OFFICIAL = "import mlperf_loadgen as lg"
OURS = "import loadgen_service.binding as lg"
TOTAL, PERFORMANCE = 200, 64
SEEDS = {"qsl_rng_seed": 11, "sample_index_rng_seed": 22, "schedule_rng_seed": 33}

REQUESTS: dict[str, dict[str, Any]] = {
    "single_stream": {
        "scenario": "SingleStream",
        "fields": {"min_query_count": 150, "min_duration_ms": 0},
    },
    "multi_stream": {
        "scenario": "MultiStream",
        "fields": {"min_query_count": 40, "min_duration_ms": 0},
    },
    "server": {
        "scenario": "Server",
        "fields": {"server_target_qps": 400.0, "min_query_count": 200, "min_duration_ms": 500},
    },
    "offline": {
        "scenario": "Offline",
        "fields": {"offline_expected_qps": 100.0, "min_query_count": 300, "min_duration_ms": 100},
    },
}


def request(name: str, outdir: Path, mode: str = "PerformanceOnly") -> dict[str, Any]:
    made = REQUESTS[name]
    fields = {**made["fields"], **SEEDS}
    return {
        "scenario": made["scenario"],
        "mode": mode,
        "fields": fields,
        "outdir": str(outdir),
        "total": TOTAL,
        "performance": PERFORMANCE,
    }


def environment(folder: Path, imported: str, **binding: str) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loadgen_module.py").write_text(imported + "\n")
    chosen = {f"LOADGEN_BINDING_{name.upper()}": value for name, value in binding.items()}
    return {**os.environ, "PYTHONPATH": str(folder), **chosen}


def run_script(folder: Path, imported: str, asked: dict[str, Any], **binding: str) -> list[int]:
    """The script to its end; the samples that it was asked, in order."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(asked)],
        env=environment(folder, imported, **binding),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def served_script(folder: Path, asked: dict[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """The script behind a port; the list holds what it was asked once the block has ended."""
    said: list[int] = []
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(asked)],
        env=environment(folder, OURS, way="serve", flags="--port 0"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"ready on (\S+);", line)
        assert found, line + process.communicate(timeout=RUN_S)[1]
        yield found[1], said
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=RUN_S)
        assert process.returncode == 0, errors
        said += json.loads(out.splitlines()[-1])
    finally:
        process.kill()
        process.wait()


def load(out: Path, address: str, asked: dict[str, Any], engine: str) -> dict[str, Any]:
    """``loadgen run`` with the script's own settings; its summary."""
    fields = asked["fields"]
    rate = fields.get("server_target_qps", 1)
    flags = {
        "sut": f"grpc://{address}",
        "model": "mlperf",
        "engine": engine,
        "scenario": "server",
        "target-qps": rate,
        "total-sample-count": TOTAL,
        "performance-sample-count": PERFORMANCE,
        "min-query-count": fields["min_query_count"],
        "min-duration-ms": fields["min_duration_ms"],
        "issue-delay-budget-ms": 5000,
        "out": out,
        **{name.replace("_", "-"): seed for name, seed in SEEDS.items()},
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "run", "--quiet", *words],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads((out / "summary.json").read_text()))


def detail(path: Path) -> dict[str, Any]:
    lines = (path / "mlperf_log_detail.txt").read_text().splitlines()
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    return {entry["key"]: entry["value"] for entry in entries}


@pytest.mark.parametrize("name", ["multi_stream", "server", "offline"])
def test_our_engine_asks_what_the_official_one_asks(tmp_path, name):
    folders = {}
    for kind, imported in (("official", OFFICIAL), ("ours", OURS)):
        folder = folders[kind] = tmp_path / kind
        (folder / "logs").mkdir(parents=True)
        out = {"out": str(folder / "run")} if kind == "ours" else {}
        asked = request(name, folder / "logs")
        asked["samples"] = run_script(folder, imported, asked, **out)
        folders[f"{kind} samples"] = asked["samples"]
    official, ours = folders["official samples"], folders["ours samples"]
    shared = min(len(official), len(ours))  # a stream may end a query sooner or later
    assert shared >= REQUESTS[name]["fields"]["min_query_count"]
    assert ours[:shared] == official[:shared]
    if name != "multi_stream":
        assert len(ours) == len(official)
    theirs, own = detail(tmp_path / "official" / "logs"), detail(tmp_path / "ours" / "logs")
    for key, value in theirs.items():
        if key.startswith(("requested_", "effective_", "generated_", "loaded_")):
            assert own[key] == value, key
    summary = json.loads((tmp_path / "ours" / "run" / "summary.json").read_text())
    assert summary["data_crossed_network"] is False
    assert summary["counts"]["samples"]["completed"] == len(ours)
    assert own["sut_name"] == "PySUT"


def test_accuracy_logs_hold_the_same_answers(tmp_path):
    logs = {}
    for kind, imported in (("official", OFFICIAL), ("ours", OURS)):
        folder = tmp_path / kind
        (folder / "logs").mkdir(parents=True)
        asked = request("offline", folder / "logs", mode="AccuracyOnly")
        run_script(folder, imported, asked)
        text = (folder / "logs" / "mlperf_log_accuracy.json").read_text()
        logs[kind] = sorted(json.loads(text), key=lambda entry: entry["seq_id"])
    assert len(logs["official"]) == TOTAL
    assert logs["ours"] == logs["official"]


def test_served_over_the_network_it_is_asked_the_same_by_both_engines(tmp_path):
    (tmp_path / "official" / "logs").mkdir(parents=True)
    asked = request("server", tmp_path / "official" / "logs")
    official = run_script(tmp_path / "official", OFFICIAL, asked)
    with served_script(tmp_path / "served", asked) as (address, said):
        for engine in ("native", "mlcommons"):
            summary = load(tmp_path / engine, address, asked, engine)
            assert summary["data_crossed_network"] is False
            assert summary["counts"]["samples"]["completed"] == len(official)
    assert said == official * 2
    assert "Network SUT" in detail(tmp_path / "mlcommons")["sut_name"]


def test_tensors_may_cross_the_network_to_a_script(tmp_path, monkeypatch, capfd):
    import threading
    import time

    import loadgen_service.binding as lg

    for name, value in (("WAY", "serve"), ("INPUTS", "x:FP32:4"), ("FLAGS", "--port 0")):
        monkeypatch.setenv(f"LOADGEN_BINDING_{name}", value)
    got = []

    def issue(samples):
        got.extend((sample.index, sample.inputs["x"].shape) for sample in samples)
        lg.QuerySamplesComplete([lg.QuerySampleResponse(s.id, 0, 0) for s in samples])

    sut = lg.ConstructSUT(issue, lambda: None)
    qsl = lg.ConstructQSL(10, 10, lambda _: None, lambda _: None)
    serving = threading.Thread(target=lg.StartTest, args=(sut, qsl, lg.TestSettings()))
    serving.start()
    try:
        said, deadline = "", time.monotonic() + RUN_S
        while "ready on" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capfd.readouterr().out
        found = re.search(r"ready on (\S+);", said)
        assert found, said
        summary = load(tmp_path / "run", found[1], request("server", tmp_path), "native")
    finally:
        lg.stop_serving()
        serving.join(RUN_S)
    assert not serving.is_alive()
    assert summary["data_crossed_network"] is True
    assert got
    assert set(got) == {(-1, (4,))}
    assert summary["counts"]["samples"]["completed"] == len(got)

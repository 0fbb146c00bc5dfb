"""Makes a submission folder look complete, and says on it that it is synthetic.

What a short run's folder lacks is put in by hand here, to show that the checker asks for that and
for no more. A folder that went through here must never be submitted.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from loadgen_service.mlperf.audit.logs import MARK, SCORE_KEYS
from loadgen_service.mlperf.benchmarks import ROUNDS
from loadgen_service.mlperf.submission.checks import VERIFY_LINES
from loadgen_service.mlperf.submission.layout import MEASUREMENT_FIELDS, ResultFolder, read_json
from loadgen_service.mlperf.submission.system_description import NETWORK, REQUIRED

LABEL = "SYNTHETIC: made to test a checker, not measured; never to be submitted"
LABEL_FILE = "SYNTHETIC.txt"
FAR_SUT = "grpc://sut.example:8001"


def mend(result: ResultFolder, round_name: str = "v6.1", system_type: str = "datacenter") -> None:
    """Mend every miss of one result, of its system and of its organisation; label the folder."""
    _mend_organisation(result, system_type)
    _write_json(result.folder / "measurements.json", dict.fromkeys(MEASUREMENT_FIELDS, LABEL))
    for name in ("user.conf", "README.md"):
        (result.folder / name).write_text(f"# {LABEL}\n")
    values = performance_values(result, round_name)
    mend_log(result.performance, values)
    mend_log(result.accuracy, accuracy_values(result))
    log = result.accuracy / "mlperf_log_accuracy.json"
    if not log.exists():
        log.write_text("[\n]\n")
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    score = "accuracy=99.000%, good=99, total=100\n"
    (result.accuracy / "accuracy.txt").write_text(f"{score}hash={digest}\n")
    if result.rule is not None and not result.is_open:
        for test in result.rule.tests:
            _mend_audit(result.folder / test, test, values)
    for kind in ("performance", "accuracy"):
        facts = read_json(result.facts / f"{kind}.summary.json") or {}
        facts |= {"valid": True, "data_crossed_network": True, "notes": [LABEL]}
        facts["settings"] = {**facts.get("settings", {}), "sut": [FAR_SUT]}
        _write_json(result.facts / f"{kind}.summary.json", facts)


def performance_values(result: ResultFolder, round_name: str) -> dict[str, Any]:
    """Keys of a performance log with values that pass."""
    rule, seeds = result.rule, ROUNDS[round_name]
    assert rule is not None
    limits = rule.tokens_ms
    return {
        "loadgen_version": "6.0.17 @ d6147c7eb7",
        "sut_name": f"Network SUT: {LABEL}",
        "effective_scenario": result.official_scenario,
        "effective_test_mode": "PerformanceOnly",
        "effective_qsl_rng_seed": seeds.qsl,
        "effective_sample_index_rng_seed": seeds.sample_index,
        "effective_schedule_rng_seed": seeds.schedule,
        "effective_performance_sample_count": rule.loaded_count,
        "effective_min_query_count": 1,
        "effective_samples_per_query": rule.offline_samples,
        "effective_min_duration_ms": 600_000,
        "effective_target_latency_ns": rule.server_limit_ms * 1_000_000,
        "requested_use_token_latencies": limits is not None,
        "result_first_token_99.00_percentile_latency_ns": 1,
        "result_time_per_output_token_99.00_percentile_ns": 1,
        "result_validity": "VALID",
        "early_stopping_met": True,
        SCORE_KEYS[result.official_scenario]: 1000,
    }


def accuracy_values(result: ResultFolder) -> dict[str, Any]:
    """Keys of an accuracy log with values that pass."""
    assert result.rule is not None
    return {
        "effective_scenario": result.official_scenario,
        "effective_test_mode": "AccuracyOnly",
        "effective_accuracy_sample_count": result.rule.accuracy_samples,
    }


def mend_log(folder: Path, values: dict[str, Any]) -> None:
    """Give the keys of a detail log these values, drop its error lines, label its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mlperf_log_detail.txt"
    kept = []
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line.removeprefix(MARK))
        if entry["key"] not in values and not entry["metadata"]["is_error"]:
            kept.append(line)
    added = [log_line(key, value) for key, value in values.items()]
    path.write_text("\n".join([log_line("generic_message", LABEL), *added, *kept, ""]))
    summary = folder / "mlperf_log_summary.txt"
    before = summary.read_text() if summary.exists() else ""
    summary.write_text(f"{LABEL}\n{before}")


def log_line(key: str, value: object, is_error: bool = False) -> str:
    """One line of a detail log."""
    entry = {"key": key, "value": value, "metadata": {"is_error": is_error, "is_warning": False}}
    return f"{MARK} {json.dumps(entry)}"


def _mend_audit(folder: Path, test: str, values: dict[str, Any]) -> None:
    mend_log(folder / "performance" / "run_1", values)
    wanted = {**VERIFY_LINES[test], **({"accuracy": ("TEST PASS",)} if test == "TEST01" else {})}
    for name, lines in wanted.items():
        text = [LABEL, *(line.split("|")[0] for line in lines), ""]
        (folder / f"verify_{name}.txt").write_text("\n".join(text))


def _mend_organisation(result: ResultFolder, system_type: str) -> None:
    folder = result.organisation
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / LABEL_FILE).write_text(LABEL + "\n")
    system: dict[str, Any] = dict.fromkeys(REQUIRED, LABEL)
    if result.division == "network":
        system |= {**dict.fromkeys(NETWORK, LABEL), "is_network": "true"}
    system |= {
        "division": result.division,
        "submitter": result.submitter,
        "status": "rdi",
        "system_type": system_type,
        "number_of_nodes": "1",
        "accelerators_per_node": "0",
    }
    _write_json(folder / "systems" / f"{result.system}.json", system)
    if result.is_open:
        _write_json(folder / "model_mapping.json", {result.benchmark: result.task})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")

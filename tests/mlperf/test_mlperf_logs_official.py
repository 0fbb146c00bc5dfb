"""Our strict log files beside the official LoadGen's own, of the same instants, line by line.

Each case repeats a stored sample: the official LoadGen runs with the settings that the sample's log
requests, its trace gives the instants, and our files of these instants are compared with its files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from official_cases import Case
from official_trace import (
    SAMPLES,
    Logged,
    read_detail,
)

from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry, accuracy_lines
from loadgen_service.mlperf.logs.detail_log import detail_lines
from loadgen_service.mlperf.logs.inputs import LogInputs
from loadgen_service.mlperf.logs.summary_log import summary_lines

# sample -> why it is not repeated here
LEFT_OUT = {
    "find_peak_performance": "a sequence of series, driven by the peak search",
    "invalid_settings": "we refuse these settings before the run (and it takes 30 s)",
    "config_errors_in_log": "the errors come from files, read by another part",
    "double_completion": "a faulty SUT; its errors are tested by themselves",
    "missing_first_token": "a faulty SUT; its errors are tested by themselves",
    "server_coalesced": "coalescing depends on the wake-up instants",
}
CASES = sorted(path.name for path in SAMPLES.iterdir() if path.name not in LEFT_OUT)


# key -> why its value is not ours
NOT_COMPARED = {
    "result_qps_with_loadgen_overhead": "gives the series' start, which the trace lacks",
    "test_datetime": "LoadGen's log begins before the trace",
}
# keys and lines that follow from that start, which is known to the rate's printed digits
FROM_THE_START = {
    "result_token_throughput_with_loadgen_overhead",
    "TPS w/ loadgen overhead",
    "result_completed_tokens_per_second",
    "result_inferred_completed_tokens_per_second",
    "Completed tokens per second",
    "Completed tokens per second (inferred)",
    "result_completed_samples_per_sec",
    "Completed samples per second",
}
SIX_DIGITS = 1e-5


def our_detail(inputs: LogInputs, directory: Path) -> list[Logged]:
    path = directory / "ours.txt"
    path.write_text("\n".join(detail_lines(inputs)) + "\n")
    return read_detail(path)


def without_times(text: str) -> str:
    return re.sub(r'"time_ms": [\d.]+', '"time_ms": 0', re.sub(r'"tid": \d+', '"tid": 0', text))


def milliseconds_late(ours: str, theirs: str) -> int:
    """How much later the official power time is, of two of one minute."""
    mine, own = (float(text.rsplit(":", 1)[1]) for text in (ours, theirs))
    return round((own - mine) * 1000)


def differing(ours: list[Logged], theirs: list[Logged]) -> list[tuple[str, Any, Any]]:
    found = []
    for mine, own in zip(ours, theirs, strict=True):
        if own.key in NOT_COMPARED or without_times(mine.text) == without_times(own.text):
            continue
        if own.key.startswith("logger_"):  # how often its threads met; ours has none to meet
            assert mine.value == 0
            continue
        if own.key in FROM_THE_START and own.value == pytest.approx(mine.value, rel=SIX_DIGITS):
            continue
        # LoadGen reads the wall clock after the steady one, and may lose its processor between
        if own.key.startswith("power_"):
            late_ms = milliseconds_late(mine.value, own.value)
            if -1 <= late_ms <= 1 + own.time_ns / 1e6:
                continue
        found.append((own.key, mine.value, own.value))
    return found


@pytest.mark.parametrize("name", CASES)
def test_strict_files_are_the_official_ones(
    name: str, tmp_path: Path, record_property: Any
) -> None:
    case = Case(name, tmp_path)
    ours, theirs = our_detail(case.inputs, tmp_path), case.official_detail()
    assert [one.key for one in ours] == [one.key for one in theirs]
    assert differing(ours, theirs) == []
    assert_summaries_agree(case)
    assert_accuracy_logs_agree(case)
    compared = [one.key for one in theirs if one.key not in NOT_COMPARED]
    record_property("keys_compared", len(compared))
    print(f"{name}: {len(compared)} detail lines, {len(set(compared))} keys")


def assert_summaries_agree(case: Case) -> None:
    theirs = (case.directory / "mlperf_log_summary.txt").read_text().splitlines()
    ours = list(summary_lines(case.inputs))
    warned = sum(one.metadata["is_warning"] for one in case.detail)
    assert len(ours) == len(theirs)
    for mine, own in zip(ours, theirs, strict=True):
        if own.startswith("QPS w/ loadgen overhead"):
            continue
        name, _, value = own.partition(":")
        if name.strip() in FROM_THE_START:
            said = float(mine.partition(":")[2])
            assert float(value) == pytest.approx(said, rel=SIX_DIGITS)
            continue
        if "warning" in own and warned:  # LoadGen's logger of itself
            continue
        assert mine == own


def assert_accuracy_logs_agree(case: Case) -> None:
    """Ours, of the same answers in the same order, is the official one byte for byte."""
    text = (case.directory / "mlperf_log_accuracy.json").read_text()
    entries = [
        AccuracyEntry(
            one["seq_id"],
            one["qsl_idx"],
            bytes.fromhex(one["data"]),
            bytes.fromhex(one["token_data"]) if "token_data" in one else None,
            one.get("token_count"),
        )
        for one in json.loads(text)
    ]
    assert "\n".join(accuracy_lines(entries)) + "\n" == text
    answers = {entry.seq_id: entry.sample_index for entry in entries}
    offset = 0
    for one in case.inputs.series:
        if one.plan.spec.kind == "accuracy":
            for place, sample in enumerate(one.plan.samples.tolist()):
                assert answers[offset + place] == sample
        offset += one.plan.generated_query_count * one.plan.samples_per_query

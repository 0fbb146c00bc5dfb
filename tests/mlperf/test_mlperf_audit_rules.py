"""The pass rules of the compliance tests, on logs made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import (
    DetailLog,
    LoggedAnswer,
    read_accuracy_log,
    read_detail_log,
)
from loadgen_service.mlperf.audit.report import AuditResult, report_lines, write_audit
from loadgen_service.mlperf.audit.rules import (
    equal_answers,
    equal_performance,
    no_caching,
    no_worse,
    token_rules,
    within_delta,
)
from loadgen_service.mlperf.audit.table import TESTS, audit_conf, audit_conf_text
from loadgen_service.mlperf.conf.keys import CONF_KEYS, read_keys
from loadgen_service.mlperf.conf.parser import parse_conf

SCORES = {
    "Offline": "result_samples_per_second",
    "Server": "result_completed_samples_per_sec",
    "SingleStream": "early_stopping_latency_ss",
    "MultiStream": "early_stopping_latency_ms",
}


def log(scenario: str, score: float, **more: object) -> DetailLog:
    values = {"effective_scenario": scenario, "result_validity": "VALID", SCORES[scenario]: score}
    return DetailLog(Path("log"), {**values, **more}, ())


def answer(sample: int, data: bytes, first: bytes | None = None, count: int | None = None):
    return LoggedAnswer(sample, data, first, count)


@pytest.mark.parametrize("scenario", ["Offline", "Server"])
@pytest.mark.parametrize(
    ("score", "passes"), [(89.9, False), (90.1, True), (100, True), (109.9, True), (110.1, False)]
)
def test_test01_allows_a_tenth_either_way(scenario, score, passes):
    assert equal_performance(log(scenario, 100.0), log(scenario, score)).passed is passes


@pytest.mark.parametrize(
    ("scenario", "short_ns"), [("SingleStream", 200_000), ("MultiStream", 1_600_000)]
)
def test_test01_allows_a_fifth_for_short_latencies(scenario, short_ns):
    assert equal_performance(log(scenario, short_ns), log(scenario, short_ns * 1.19)).passed
    longer = short_ns + 1
    assert not equal_performance(log(scenario, longer), log(scenario, longer * 1.19)).passed


@pytest.mark.parametrize(("score", "passes"), [(1, True), (109, True), (111, False)])
def test_test04_lets_one_sample_be_slower_but_no_tenth_faster(score, passes):
    assert no_caching(log("Offline", 100.0), log("Offline", score)).passed is passes


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream"])
def test_test04_compares_rates_of_streams_and_so_allows_a_fifth(scenario):
    assert no_caching(log(scenario, 20e6), log(scenario, 20e6 / 1.19)).passed
    assert not no_caching(log(scenario, 20e6), log(scenario, 20e6 / 1.21)).passed


def test_test05_judges_one_side():
    assert no_worse(log("Server", 100.0), log("Server", 200.0)).passed
    assert not no_worse(log("Server", 100.0), log("Server", 94.9)).passed
    assert no_worse(log("SingleStream", 20e6), log("SingleStream", 1e6)).passed
    assert not no_worse(log("SingleStream", 20e6), log("SingleStream", 21.1e6)).passed


@pytest.mark.parametrize("rule", [equal_performance, no_caching, no_worse])
def test_a_run_that_does_not_count_fails_every_rule(rule):
    good = log("Server", 100.0, effective_target_latency_ns=1)
    assert rule(good, good).passed
    for bad, word in [
        (log("Server", 100.0, result_validity="INVALID"), "INVALID"),
        (log("Server", 0.0, effective_target_latency_ns=1), "no score"),
        (log("Server", 100.0, effective_target_latency_ns=2), "latency limits"),
        (log("Offline", 100.0), "two scenarios"),
        (DetailLog(Path("x"), good.values, ("too many queries",)), "too many queries"),
    ]:
        part = rule(good, bad)
        assert any(word in reason for reason in part.reasons)
        assert part.lines[-1].startswith("TEST FAIL")


def test_test01_answers_must_be_those_of_the_accuracy_run():
    reference = [answer(0, b"\x01\x02"), answer(1, b"\x03\x04"), answer(1, b"\x09\x09")]
    equal = equal_answers(reference, [answer(1, b"\x03\x04"), answer(1, b"\x03\x04")])
    assert equal.passed
    assert "num_perf_log_qsl_idx_match = 2" in equal.lines
    assert "num_acc_log_duplicate_keys = 1" in equal.lines
    assert equal.lines[-1] == "TEST PASS"
    unequal = equal_answers(reference, [answer(0, b"\x00\x02")])
    assert not unequal.passed
    assert unequal.lines[-1] == "TEST FAIL"


def test_test01_looks_further_than_the_first_element():
    part = equal_answers([answer(0, b"\x01\x02")], [answer(0, b"\x01\x03")])
    assert "num_perf_log_data_mismatch = 0" in part.lines
    assert "beyond their first element" in part.reasons[0]


def test_test01_compares_elements_of_the_type_that_was_named():
    one, other = (np.array([value], "<f4").tobytes() for value in (1.0, 2.0))
    assert one[0] == other[0]  # the same first byte
    part = equal_answers([answer(0, one)], [answer(0, other)], "float32")
    assert "num_perf_log_data_mismatch = 1" in part.lines


def test_test01_without_anything_to_compare_fails():
    reference = [answer(0, b"\x01")]
    assert not equal_answers(reference, []).passed
    assert not equal_answers(reference, [answer(5, b"\x01")]).passed
    assert equal_answers(reference, [answer(5, b"\x01"), answer(0, b"\x01")]).passed
    assert not equal_answers(reference, [answer(0, b"")]).passed


def test_two_accuracies_may_differ_by_the_delta():
    assert within_delta(76.0, 76.7, 1.0)
    assert not within_delta(76.0, 76.8, 1.0)
    assert not within_delta(0.0, 0.0, 1.0)


def tokens(*numbers: int) -> bytes:
    return np.array(numbers, "<i4").tobytes()


def test_test06_checks_first_token_end_and_length():
    good = answer(0, tokens(7, 8, 2), tokens(7), 3)
    assert token_rules([good]).lines[:3] == (
        "First token check pass: True",
        "EOS check pass: True",
        "Sample length check pass: True",
    )
    for bad, name in [
        (answer(3, tokens(7, 8, 2), tokens(9), 3), "first token"),
        (answer(3, tokens(7, 8, 2), b"", 3), "first token"),
        (answer(3, tokens(7, 2, 2), tokens(7), 3), "EOS"),
        (answer(3, tokens(7, 8, 2), tokens(7), 2), "sample length"),
    ]:
        part = token_rules([good, bad])
        assert part.reasons == (f"{name} check: 1 of 2 responses, first at sample 3",)


def test_test06_in_offline_has_no_first_token_and_an_empty_log_proves_nothing():
    part = token_rules([answer(0, tokens(7, 2), None, 2)], first=False)
    assert part.passed
    assert part.lines[0] == "First token check pass: Skipped"
    assert not token_rules([]).passed


def test_test06_takes_the_end_token_that_is_named():
    log_entries = [answer(0, tokens(7, 5, 5), tokens(7), 3)]
    assert token_rules(log_entries).passed
    assert not token_rules(log_entries, eos_id=5).passed


@pytest.mark.parametrize("test", [name for name in TESTS if audit_conf(name, "")])
def test_audit_files_are_read_whole_by_our_reader(test):
    table = parse_conf(audit_conf_text(test, "resnet50").splitlines())
    assert not table.errors
    found = read_keys(table, "*", "offline", {}, "audit.config")
    fields = {key.name: key.field for key in CONF_KEYS}
    assert {fields[key] for key in audit_conf(test, "resnet50")} == set(found)
    assert set(found) <= set(Settings.model_fields)


def test_sampling_targets_are_the_benchmarks_own():
    assert audit_conf("TEST01", "3d-unet")["accuracy_log_sampling_target"] == 64
    assert audit_conf("TEST01", "")["accuracy_log_sampling_target"] == 4096


def detail_line(key: str, value: object, is_error: bool = False) -> str:
    entry = {"key": key, "value": value, "metadata": {"is_error": is_error}}
    return ":::MLLOG " + json.dumps(entry) + "\n"


def test_logs_are_read_with_their_errors(tmp_path):
    path = tmp_path / "mlperf_log_detail.txt"
    path.write_text(
        detail_line("effective_scenario", "Offline")
        + detail_line("effective_scenario", "Server")
        + detail_line("error_runtime", "it broke", is_error=True)
        + ':::MLLOG {"key": "result_samples_per_second", "value": -nan}\n'
    )
    found = read_detail_log(tmp_path)
    assert found.scenario == "Offline"
    assert found.errors == ("it broke", "line 4 is not JSON")
    assert found.score is None
    path.write_text("hello\n")
    with pytest.raises(UserError, match="name a LoadGen detail log"):
        read_detail_log(path)
    with pytest.raises(UserError, match="No such file"):
        read_accuracy_log(tmp_path)
    (tmp_path / "mlperf_log_accuracy.json").write_text('[\n{ "qsl_idx" : 1, "data" : "0G" }\n]\n')
    with pytest.raises(UserError, match="not LoadGen's accuracy log"):
        read_accuracy_log(tmp_path)


def test_a_measurement_that_does_not_count_never_says_pass(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("mlperf_log_summary.txt", "mlperf_log_detail.txt", "mlperf_log_accuracy.json"):
        (run / name).write_text("[\n]\n")
    part = equal_answers([answer(0, b"\x01")], [answer(0, b"\x01")])
    good = AuditResult("TEST01", (part,))
    bad = AuditResult("TEST01", (part,), invalid=("the audit run is INVALID: late",))
    assert report_lines(good)[0] == "TEST01 PASS"
    assert report_lines(bad)[:2] == ["TEST01 FAIL", "  - the audit run is INVALID: late"]
    place = write_audit(tmp_path, bad, run)
    assert "TEST PASS" not in (place / "verify_accuracy.txt").read_text()
    assert json.loads((place / "audit.json").read_text())["passed"] is False
    write_audit(tmp_path / "good", good, run)
    assert "TEST PASS" in (tmp_path / "good" / "TEST01" / "verify_accuracy.txt").read_text()

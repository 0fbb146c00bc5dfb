"""Audits judged on run directories made here: answers that differ, the command that scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from submission_mending import log_line

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import read_accuracy_log
from loadgen_service.mlperf.conf.keys import read_keys
from loadgen_service.mlperf.conf.parser import parse_conf
from loadgen_service.mlperf.submission.audit_verdict import LOG_PLACEHOLDER, AuditWay, judge_audit
from loadgen_service.mlperf.submission.layout import (
    accuracy_text,
    by_scenario,
    read_run,
    readme_text,
    user_conf_text,
)

SCORE = (
    "import json, sys; log = json.load(open(sys.argv[1])); "
    "good = sum(one['data'].startswith('01') for one in log); "
    "print(f'accuracy={100 * good / len(log):.3f}%, good={good}, total={len(log)}')"
)
COMMAND = (sys.executable, "-c", SCORE, LOG_PLACEHOLDER)


def run_directory(path: Path, answers: dict[int, str], **more: object) -> Path:
    path.mkdir()
    values = {
        "effective_scenario": "Offline",
        "effective_test_mode": "PerformanceOnly",
        "result_validity": "VALID",
        "result_samples_per_second": 100.0,
        **more,
    }
    lines = [log_line(key, value) for key, value in values.items()]
    (path / "mlperf_log_detail.txt").write_text("\n".join([*lines, ""]))
    (path / "mlperf_log_summary.txt").write_text("summary\n")
    entries = [
        f'{{ "seq_id" : {place}, "qsl_idx" : {sample}, "data" : "{data}" }}'
        for place, (sample, data) in enumerate(answers.items())
    ]
    text = "[\n" + ",\n".join(entries) + "\n]\n"
    (path / "mlperf_log_accuracy.json").write_text(text)
    return path


def directories(tmp_path: Path, wrong: int) -> dict[str, Path]:
    """100 samples, all right in the accuracy run, ``wrong`` of them not in the audit."""
    right = dict.fromkeys(range(200), "01")
    audited = {sample: "00" if sample < wrong else "01" for sample in range(100)}
    return {
        "performance": run_directory(tmp_path / "performance", {}),
        "accuracy": run_directory(tmp_path / "accuracy", right),
        "audit": run_directory(tmp_path / "audit", audited),
    }


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (1, False)])
def test_without_a_command_any_difference_fails(tmp_path, wrong, passes):
    result = judge_audit("TEST01", directories(tmp_path, wrong), AuditWay(), tmp_path)
    assert result.passed is passes
    assert len(result.notes) == 3  # none of them has a summary of ours
    if not passes:
        assert "--accuracy-command" in result.reasons[-1]
        log = tmp_path / "TEST01/accuracy/mlperf_log_accuracy_baseline.json"
        assert len(read_accuracy_log(log)) == 100  # the audited samples alone


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (2, False)])
def test_with_a_command_accuracies_may_differ_by_one_percent(tmp_path, wrong, passes):
    runs = directories(tmp_path, wrong)
    result = judge_audit("TEST01", runs, AuditWay(command=COMMAND), tmp_path)
    assert result.passed is passes


def test_what_differs_by_less_passes_and_leaves_both_scores(tmp_path):
    runs = directories(tmp_path, 0)
    many = {sample: "00" if sample == 0 else "01" for sample in range(200)}
    runs["audit"] = run_directory(tmp_path / "many", many)
    result = judge_audit("TEST01", runs, AuditWay(command=COMMAND), tmp_path)
    assert result.passed
    folder = tmp_path / "TEST01" / "accuracy"
    assert (folder / "baseline_accuracy.txt").read_text().startswith("accuracy=100.000%")
    assert (folder / "compliance_accuracy.txt").read_text().startswith("accuracy=99.500%")
    assert "TEST PASS" not in result.parts[0].lines  # MLPerf's checker reads the two scores then


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program", LOG_PLACEHOLDER), "no-such-program: No such file"),
        (
            (sys.executable, "-c", "raise SystemExit('broken')", LOG_PLACEHOLDER),
            "ended with 1: broken",
        ),
    ],
)
def test_a_command_that_fails_is_named(tmp_path, command, words):
    with pytest.raises(UserError, match=words):
        judge_audit("TEST01", directories(tmp_path, 1), AuditWay(command=command), tmp_path)


def test_a_command_that_prints_no_score_proves_nothing(tmp_path):
    silent = (sys.executable, "-c", "print('fine')", LOG_PLACEHOLDER)
    result = judge_audit("TEST01", directories(tmp_path, 1), AuditWay(command=silent), tmp_path)
    assert "the scoring command printed no accuracy" in result.reasons


def with_settings(path: Path, **settings: object) -> Path:
    run_directory(path, {})
    asked = Settings.model_validate(settings).model_dump(mode="json")
    facts = {"settings": asked, "accuracy": {"top1": 0.75, "count": 8.0}}
    (path / "summary.json").write_text(json.dumps(facts))
    return path


def test_the_made_user_conf_says_what_the_run_was_asked(tmp_path):
    path = with_settings(
        tmp_path / "a", scenario="offline", target_qps=12.5, min_duration_ms=600_000
    )
    table = parse_conf(user_conf_text(read_run(path)).splitlines())
    assert not table.errors
    found = {name: value.number for name, value in read_keys(table, "*", "offline", {}).items()}
    assert found == {"target_qps": 12.5, "min_duration_ms": 600_000, "min_query_count": 100}


def test_the_runs_own_user_conf_is_kept(tmp_path):
    conf = tmp_path / "user.conf"
    conf.write_text("*.Offline.target_qps = 7\n")
    path = with_settings(tmp_path / "a", scenario="offline", user_conf=str(conf))
    assert user_conf_text(read_run(path)) == conf.read_text()


def test_the_made_readme_and_score_are_the_runs(tmp_path):
    path = with_settings(
        tmp_path / "a", scenario="offline", model="mine", header=["authorization=secret"]
    )
    run = read_run(path)
    readme = readme_text(run, "mine", "resnet")
    assert "--model mine" in readme
    assert "those of resnet" in readme
    assert "secret" not in readme
    assert accuracy_text(run) == "accuracy=75.000%, good=6, total=8\n"
    (path / "accuracy.txt").write_text("'exact_match': 81.0\n\n")
    assert accuracy_text(run) == "'exact_match': 81.0\n"


def test_an_interactive_benchmark_has_a_folder_of_its_own(tmp_path):
    path = with_settings(tmp_path / "a", scenario="server", mlperf_model="llama2-70b-interactive")
    detail = path / "mlperf_log_detail.txt"
    detail.write_text(detail.read_text().replace("Offline", "Server"))
    assert list(by_scenario([read_run(path)])) == ["interactive"]

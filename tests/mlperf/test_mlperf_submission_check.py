"""The submission checker: a synthetic folder without a miss, broken in one place at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from submission_mending import LABEL, log_line, mend, mend_log

from loadgen_service.cli.main import main
from loadgen_service.mlperf.submission.checks import check_submission
from loadgen_service.mlperf.submission.layout import ResultFolder, truncated
from loadgen_service.mlperf.submission.rules import ACCURACY_PATTERNS, RULES, directory_name
from loadgen_service.mlperf.submission.system_description import REQUIRED, system_misses, template

Break = Callable[[ResultFolder], object]


def synthetic(root: Path, division: str, benchmark: str = "rgat", scenario: str = "offline"):
    task = directory_name("resnet50") if benchmark == "mine" else benchmark
    result = ResultFolder(root, division, "ourselves", "box", benchmark, task, scenario)
    mend(result)
    return result


@pytest.mark.parametrize("division", ["closed", "open", "network"])
def test_a_whole_folder_has_no_miss_and_says_that_it_is_synthetic(tmp_path, division):
    result = synthetic(tmp_path, division, "mine" if division == "open" else "rgat")
    assert check_submission(tmp_path, "v6.1", "rdi") == []
    assert LABEL in (result.organisation / "SYNTHETIC.txt").read_text()
    assert LABEL in (result.performance / "mlperf_log_summary.txt").read_text()
    assert main(["submission", str(tmp_path), "--check"]) == 0


def set_key(key: str, value: object) -> Break:
    return lambda result: mend_log(result.performance, {key: value})


def drop(path: str) -> Break:
    return lambda result: (result.folder / path).unlink()


def write(path: str, text: str) -> Break:
    return lambda result: (result.folder / path).write_text(text)


def add_error(folder: str) -> Break:
    def break_it(result: ResultFolder) -> None:
        path = result.folder / folder / "mlperf_log_detail.txt"
        path.write_text(path.read_text() + log_line("error_runtime", "it broke", True) + "\n")

    return break_it


def change(path: Callable[[ResultFolder], Path], **values: object) -> Break:
    def break_it(result: ResultFolder) -> None:
        content = json.loads(path(result).read_text())
        content.update(values)
        path(result).write_text(json.dumps(content))

    return break_it


def system_file(result: ResultFolder) -> Path:
    return result.organisation / "systems" / "box.json"


def facts_file(result: ResultFolder) -> Path:
    return result.facts / "performance.summary.json"


def accuracy_key(key: str, value: object) -> Break:
    return lambda result: mend_log(result.accuracy, {key: value})


BREAKS: list[tuple[Break, str]] = [
    (drop("user.conf"), "user.conf: missing"),
    (write("README.md", " \n"), "README.md: empty"),
    (drop("measurements.json"), "measurements.json: missing"),
    (write("measurements.json", "{}"), "retraining: missing"),
    (lambda result: (result.organisation / "src").rmdir(), "src: missing"),
    (drop("performance/run_1/mlperf_log_summary.txt"), "mlperf_log_summary.txt: missing"),
    (drop("performance/run_1/mlperf_log_detail.txt"), "mlperf_log_detail.txt: missing"),
    (set_key("result_validity", "INVALID"), "the result is INVALID"),
    (add_error("performance/run_1"), "error in the log: it broke"),
    (add_error("accuracy"), "error in the log: it broke"),
    (set_key("effective_min_duration_ms", 599_999), "must be at least 600000"),
    (set_key("effective_min_query_count", 0), "effective_min_query_count is 0"),
    (set_key("effective_performance_sample_count", 1), "must be at least 788379"),
    (set_key("effective_samples_per_query", 24576), "must be at least 788379"),
    (set_key("effective_qsl_rng_seed", 5), "effective_qsl_rng_seed is 5, the round's is 20854"),
    (set_key("effective_scenario", "Server"), "cannot stand for offline"),
    (set_key("effective_test_mode", "FindPeakPerformance"), "not of a performance run"),
    (set_key("performance_issue_same", True), ""),
    (set_key("effective_performance_issue_same", True), "that is an audit's run"),
    (set_key("sut_name", "PySUT"), "must contain 'Network SUT'"),
    (set_key("loadgen_version", "loadgen-service"), "demands the official LoadGen"),
    (accuracy_key("effective_accuracy_sample_count", 100), "100 samples were answered"),
    (drop("accuracy/accuracy.txt"), "accuracy.txt: missing"),
    (write("accuracy/accuracy.txt", "accuracy=99%\n"), "has no hash"),
    (write("accuracy/accuracy.txt", "accuracy=0.70%\nhash=ab\n"), "acc is 0.7, must be at least"),
    (write("accuracy/accuracy.txt", "score 5\nhash=ab\n"), "has no line of acc"),
    (drop("accuracy/mlperf_log_accuracy.json"), "mlperf_log_accuracy.json: missing"),
    (write("accuracy/mlperf_log_accuracy.json", " " * 10_241), "larger than 10240 bytes"),
    (change(system_file, cooling=""), "cooling: empty"),
    (change(system_file, status="soon"), "status: is 'soon'"),
    (change(system_file, status="preview"), "status: is 'preview', must be rdi"),
    (change(system_file, number_of_nodes="many"), "must be a whole number"),
    (change(system_file, accelerators_per_node=0), "accelerators_per_node: empty"),
    (change(system_file, is_network=""), "is_network: must be the text"),
    (change(system_file, is_network=True), "not JSON's true or false"),
    (change(system_file, nic_sut=""), "nic_sut: empty"),
    (lambda result: system_file(result).unlink(), "systems/box.json: missing"),
    (change(facts_file, valid=False), "our verdict is INVALID"),
    (change(facts_file, data_crossed_network=False), "data_crossed_network is false"),
    (change(facts_file, settings={"sut": ["grpc://127.0.0.1:1"]}), "is this host"),
    (change(facts_file, settings={"samples_per_request": 8}), "batching"),
    (lambda result: facts_file(result).unlink(), "nothing says whether the data crossed"),
    (drop("TEST01/verify_performance.txt"), "verify_performance.txt: missing"),
    (write("TEST01/verify_performance.txt", "TEST FAIL\n"), "has no line 'TEST PASS'"),
    (write("TEST01/verify_accuracy.txt", "TEST FAIL\n"), "answers differ, and so does acc"),
    (drop("TEST01/performance/run_1/mlperf_log_detail.txt"), "TEST01/performance/run_1"),
]


@pytest.mark.parametrize(("break_it", "words"), BREAKS, ids=[words[:40] for _, words in BREAKS])
def test_one_break_is_named(tmp_path, break_it, words):
    result = synthetic(tmp_path, "network")
    break_it(result)
    misses = [str(miss) for miss in check_submission(tmp_path, "v6.1", "rdi")]
    if not words:  # a key that the checker does not read
        assert misses == []
        return
    assert any(words in miss for miss in misses), misses
    assert main(["submission", str(tmp_path), "--check", "--category", "rdi"]) == 1


def test_test01_passes_by_two_accuracies_that_hardly_differ(tmp_path):
    result = synthetic(tmp_path, "closed")
    (result.folder / "TEST01" / "verify_accuracy.txt").write_text("TEST FAIL\n")
    scores = result.folder / "TEST01" / "accuracy"
    scores.mkdir()
    (scores / "baseline_accuracy.txt").write_text("accuracy=72.0%\n")
    (scores / "compliance_accuracy.txt").write_text("accuracy=72.5%\n")
    assert check_submission(tmp_path, "v6.1") == []
    (scores / "compliance_accuracy.txt").write_text("accuracy=73.0%\n")
    assert len(check_submission(tmp_path, "v6.1")) == 1


def test_every_demanded_scenario_is_named(tmp_path):
    result = ResultFolder(tmp_path, "closed", "o", "box", "resnet", "resnet", "offline")
    mend(result, system_type="edge")
    said = [miss.text for miss in check_submission(tmp_path, "v6.1")]
    assert said == [
        "the edge suite demands scenario singlestream",
        "the edge suite demands scenario multistream",
    ]
    mend(result, system_type="datacenter")
    assert "is no benchmark of the datacenter suite" in [
        miss.text for miss in check_submission(tmp_path, "v6.1")
    ]


def test_edge_systems_may_infer_offline_from_a_stream(tmp_path):
    result = ResultFolder(tmp_path, "open", "o", "box", "mine", "resnet", "offline")
    mend(result, system_type="edge")
    mend_log(result.performance, {"effective_scenario": "SingleStream"})
    assert check_submission(tmp_path, "v6.1") == []
    mend(result, system_type="datacenter")
    mend_log(result.performance, {"effective_scenario": "SingleStream"})
    assert "only edge systems" in check_submission(tmp_path, "v6.1")[0].text


def test_limits_of_server_and_of_tokens(tmp_path):
    result = synthetic(tmp_path, "open", "deepseek-r1", "server")
    assert check_submission(tmp_path, "v6.1") == []
    first = "result_first_token_99.00_percentile_latency_ns"
    for key, value, words in [
        (first, 2_000_000_000, "must be below 2000 ms"),
        ("effective_target_latency_ns", 60_000_000_001, "the benchmark's is 60000 ms"),
        ("requested_use_token_latencies", False, "token latencies are off"),
        ("early_stopping_met", False, "early stopping is not met"),
    ]:
        mend(result)
        mend_log(result.performance, {key: value})
        (miss,) = check_submission(tmp_path, "v6.1")
        assert words in miss.text


def test_another_rounds_seeds_do_not_do(tmp_path):
    synthetic(tmp_path, "open", "mine")
    assert len(check_submission(tmp_path, "v6.0")) == 3


def test_an_empty_folder_holds_no_result(tmp_path):
    (miss,) = check_submission(tmp_path, "v6.1")
    assert "holds no result" in miss.text


def test_the_template_has_every_field_and_names_what_is_empty(capsys):
    assert main(["submission", "--template", "--division", "network"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert set(REQUIRED) < set(fields)
    assert fields["is_network"] == "true"
    assert "is_network" not in template("closed")  # any text there would ask for the others
    empty = system_misses(fields, "network", "ourselves")
    assert len(empty) == 26 + 12 - 1  # the division is filled in
    assert system_misses({}, "closed", "o")[0].startswith("division: missing")
    assert len(system_misses({}, "closed", "o")) == len(REQUIRED)


def test_accuracy_logs_keep_their_two_ends():
    assert truncated(b"short") == b"short"
    cut = truncated(b"a" * 9000 + b"z" * 9000)
    assert cut == b"a" * 4096 + b"\n\n...\n\n" + b"z" * 4096


def test_every_metric_of_the_rules_has_a_pattern():
    assert {rule.name for row in RULES.values() for rule in row.accuracy} == set(ACCURACY_PATTERNS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "out: name the folder"),
        (["x", "--check"], "no such folder"),
        (["x"], "division: give --division"),
        (["x", "--division", "open", "--category", "rdi"], "system: give --system"),
        (
            ["x", "--division", "open", "--category", "rdi", "--system", "no", "--run", "r"],
            "system no: No such file",
        ),
        (
            ["x", "--division", "open", "--category", "rdi", "--system", "s.json", "--run", "r"],
            "run r: holds no mlperf_log_detail.txt",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("s.json").write_text("{}")
    assert main(["submission", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1

"""From a short real run to submission folders: every miss is listed; with all mended, none is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from product_runs import run
from submission_mending import LABEL, mend
from sut_process import sut_server

from loadgen_service.cli.main import main
from loadgen_service.mlperf.audit.report import write_audit
from loadgen_service.mlperf.submission.audit_verdict import AuditWay, judge_audit
from loadgen_service.mlperf.submission.checks import check_submission
from loadgen_service.mlperf.submission.layout import MEASUREMENT_FIELDS, ResultFolder
from loadgen_service.mlperf.submission.system_description import REQUIRED


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[str]:
    """A performance and an accuracy run of the digits classifier, by the official LoadGen."""
    folder = tmp_path_factory.mktemp("runs")
    flags = ("--model", "digits", "--dataset", "digits", "--scenario", "offline", "--quiet",
             "--engine", "mlcommons", "--min-duration-ms", "0",
             "--min-query-count", "64")  # fmt: skip
    found = []
    with sut_server("--model", "digits") as server:
        for mode in ("performance", "accuracy"):
            out = folder / mode
            done = run(out, "--sut", f"grpc://{server.host_port}", "--mode", mode, *flags)
            assert done.exit_code in (0, 1), done.said
            found += ["--run", str(out)]
    return found


def system(path: Path, division: str) -> Path:
    """A description whose every field is filled in."""
    fields = {**dict.fromkeys(REQUIRED, "said"), "division": division, "status": "rdi"}
    fields |= {"submitter": "ourselves", "system_name": "a box", "system_type": "datacenter"}
    fields |= {"number_of_nodes": "1", "accelerators_per_node": "0"}
    path.write_text(json.dumps(fields))
    return path


def build(out: Path, division: str, runs: list[str], capsys, *more: str) -> tuple[int, list[dict]]:
    """Exit code and misses of `loadgen submission`."""
    description = system(out.parent / "system.json", division)
    measurements = out.parent / "measurements.json"
    measurements.write_text(json.dumps(dict.fromkeys(MEASUREMENT_FIELDS, "said")))
    source = out.parent / "code"
    source.mkdir(exist_ok=True)
    (source / "README.md").write_text("code\n")
    code = main(
        ["submission", str(out), "--division", division, "--category", "rdi", "--json",
         "--system", str(description), "--measurements", str(measurements), "--src", str(source),
         *runs, *more]
    )  # fmt: skip
    return code, json.loads(capsys.readouterr().out)["misses"]


def short(misses: list[dict]) -> set[str]:
    """What is missing, by the file's name."""
    return {f"{Path(miss['path']).name}: {miss['text']}" for miss in misses}


def test_an_open_folder_of_a_short_run_lists_exactly_its_misses(runs, tmp_path, capsys):
    out = tmp_path / "open"
    code, misses = build(out, "open", runs, capsys, "--benchmark", "digits", "--task", "resnet")
    assert code == 1
    detail = "mlperf_log_detail.txt"
    expected = {
        f"{detail}: effective_min_duration_ms is 0, must be at least 600000",
        f"{detail}: effective_performance_sample_count is 898, must be at least 1024",
        f"{detail}: 898 samples were answered, the data set has 50000",
    }
    # on a busy machine our own verdict may add that the machine was busy; nothing else may
    others = [miss for miss in misses if short([miss]) - expected]
    assert short(misses) >= expected
    assert all(miss["ours"] and "our verdict is INVALID" in miss["text"] for miss in others)
    result_folder = ResultFolder(out, "open", "ourselves", "a-box", "digits", "resnet", "offline")
    log = Path(runs[3]) / "mlperf_log_accuracy.json"
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    assert f"hash={digest}" in (result_folder.accuracy / "accuracy.txt").read_text()
    assert (result_folder.accuracy / log.name).stat().st_size <= 10_240 < log.stat().st_size
    mend(result_folder)
    assert check_submission(out, "v6.1", "rdi") == []
    assert LABEL in (result_folder.organisation / "SYNTHETIC.txt").read_text()


def test_a_network_folder_of_the_same_run_lists_exactly_what_it_lacks_more(runs, tmp_path, capsys):
    out = tmp_path / "network"
    code, misses = build(out, "network", runs, capsys, "--benchmark", "rgat")
    assert code == 1
    texts = {miss["text"] for miss in misses}
    assert 'is_network: must be the text "true" in the network division' in texts
    assert "missing: the division demands TEST01" in texts
    assert any("is this host" in text for text in texts)
    fields = {text for text in texts if text.startswith(("net", "nic", "num", "is_net"))}
    counts = {text for text in texts if text.startswith("effective_") or "samples were" in text}
    others = texts - fields - counts - {"missing: the division demands TEST01"}
    others = {text for text in others if "this host" not in text and "our verdict" not in text}
    assert len(fields) == 13
    assert len(counts) == 4  # duration, loaded samples, samples a query, accuracy samples
    assert not others  # the name, the seeds, the engine, the crossing and the score are right
    result_folder = ResultFolder(out, "network", "ourselves", "a-box", "rgat", "rgat", "offline")
    mend(result_folder)
    assert check_submission(out, "v6.1", "rdi") == []


def test_an_audit_goes_into_the_folder_as_it_is(runs, tmp_path, capsys):
    """Judged here on the runs themselves: only what becomes of its files is the point."""
    performance, accuracy = Path(runs[1]), Path(runs[3])
    directories = {"performance": performance, "accuracy": accuracy, "audit": performance}
    audits = tmp_path / "audits"
    result = judge_audit("TEST01", directories, AuditWay(), audits)
    assert not result.passed  # nothing was logged in the performance run
    result_folder = write_audit(audits, result, performance)
    out = tmp_path / "network"
    code, misses = build(
        out, "network", runs, capsys, "--benchmark", "rgat", "--audit", str(result_folder)
    )
    texts = {miss["text"] for miss in misses}
    assert code == 1
    assert "missing: the division demands TEST01" not in texts
    assert any("answers differ" in text for text in texts)
    copied = out / "network/ourselves/results/a-box/rgat/offline/TEST01"
    assert (copied / "accuracy" / "accuracy.txt").read_text().startswith("hash=")
    assert (copied / "performance" / "run_1" / "mlperf_log_detail.txt").is_file()


def test_a_result_is_not_written_over(runs, tmp_path, capsys):
    out = tmp_path / "open"
    flags = ("--benchmark", "digits", "--task", "resnet")
    build(out, "open", runs, capsys, *flags)
    description = str(tmp_path / "system.json")
    arguments = ["submission", str(out), "--division", "open", "--category", "rdi", "--system"]
    assert main([*arguments, description, *runs, *flags]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*arguments, description, *runs, *runs[:2], *flags]) == 2
    assert "a result has one of each" in capsys.readouterr().err
    assert main([*arguments, description, *runs]) == 2
    assert "give --benchmark" in capsys.readouterr().err

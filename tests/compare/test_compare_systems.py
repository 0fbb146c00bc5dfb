"""What may be compared, what is refused and why, and what a comparison says."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from run_directories import metric, offline_run, saved, server_run, spread, stream_run
from series_builder import server

from loadgen_service.cli.verbs.compare import main
from loadgen_service.compare.comparison import compare_systems
from loadgen_service.compare.formats import as_junit, as_markdown, as_text
from loadgen_service.compare.gate import parse_condition
from loadgen_service.compare.page import render_comparison
from loadgen_service.compare.score import geometric_mean, oriented_ratio
from loadgen_service.compare.systems import read_systems, refusals
from loadgen_service.compare.task import builtin_tasks, load_task
from loadgen_service.errors import SettingsError, UserError


def compared(*places, **given):
    return compare_systems(read_systems([str(place) for place in places]), **given)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return server_run(folder / "old"), server_run(folder / "new", mean_ms=22, seed=2)


def test_a_slower_system_is_called_slower_with_its_interval(pair):
    found = compared(*pair)
    (one,) = found.differences
    assert one.word == "slower"
    assert "server: new is slower than old: p99 of latency" in one.sentence
    assert one.main.between
    assert one.main.between.low < 0.1 < one.main.between.high


def test_the_other_way_round_it_is_faster(pair):
    (one,) = compared(*reversed(pair)).differences
    assert one.word == "faster"


def test_a_run_and_itself_cannot_be_told_apart(pair):
    (one,) = compared(pair[0], pair[0]).differences
    assert one.second_name == "old (2)"
    assert {figure.word for figure in one.figures} == {"not distinguishable"}


def test_a_percentile_that_rests_on_few_queries_has_no_interval(pair):
    (one,) = compared(*pair).differences
    last = one.figures[-1]
    assert (last.name, last.between) == ("p99.9 of latency", None)
    assert "too few queries beyond p99.9" in last.note


def test_offline_is_compared_by_throughput(tmp_path):
    found = compared(offline_run(tmp_path / "a", 320), offline_run(tmp_path / "b", 400))
    (one,) = found.differences
    assert [figure.name for figure in one.figures] == ["throughput"]
    assert one.word == "faster"
    assert one.main.relative == pytest.approx(0.25, abs=0.01)


def test_other_workloads_are_refused_and_what_differs_is_named(pair, tmp_path):
    other = server_run(tmp_path / "other", workload_hash="another", settings={"min_duration_ms": 1})
    with pytest.raises(UserError, match=r"another workload than .*min_duration_ms"):
        compared(pair[0], other)
    forced = compared(pair[0], other, force=True)
    assert forced.refused
    assert "FORCED" in as_text(forced)
    assert 'class="banner"' in render_comparison(forced)
    assert "FORCED" in as_markdown(forced)
    assert ElementTree.fromstring(as_junit(forced)).find("testcase/failure") is not None


def test_invalid_and_interrupted_runs_are_refused(pair, tmp_path):
    bad = server_run(tmp_path / "bad", valid=False, invalid_reason="error_budget")
    with pytest.raises(UserError, match=r"bad is INVALID \(error_budget\)"):
        compared(pair[0], bad)
    cut = server_run(tmp_path / "cut", state="INTERRUPTED")
    with pytest.raises(UserError, match="cut is INTERRUPTED"):
        compared(pair[0], cut)


def test_a_missing_run_is_named(pair, tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*name the directory of a finished run"):
        compared(pair[0], tmp_path / "nowhere")


def test_two_runs_of_one_scenario_need_two_names(pair):
    with pytest.raises(UserError, match="has a server run already"):
        read_systems([f"x={pair[0]}", f"x={pair[1]}"])


def test_one_system_is_not_enough(pair):
    with pytest.raises(UserError, match="at least two"):
        compared(pair[0])


def test_different_rates_are_not_the_same_load(pair, tmp_path):
    settings = {"target_qps": 600.0, "scenario": "server"}
    other = server_run(tmp_path / "other", settings=settings)
    (one,) = compared(pair[0], other).differences
    assert one.word == "not the same load"
    assert "rates are chosen" in one.sentence


def test_a_task_asks_for_its_accuracy_its_data_and_its_limit(pair):
    task = load_task("digits")
    said = " ".join(refusals(read_systems([str(place) for place in pair]), task))
    assert "has other data than task digits" in said
    assert "has no accuracy run for task digits" in said
    assert "latency limit of 100.0 ms; task digits: 20 ms" in said


def test_an_accuracy_run_of_the_same_name_speaks_for_the_system(tmp_path):
    task = load_task("digits").model_copy(update={"data_hash": "", "latency_limits_ms": {}})
    timed = server_run(tmp_path / "timed")
    places = []
    for name, top1 in (("good", 0.98), ("bad", 0.5)):
        one = server_run(tmp_path / name, mode="accuracy", accuracy={"top1": top1}, series=[])
        places += [f"{name}={timed}", f"{name}={one}"]
    said = refusals(read_systems(places), task)
    assert said == ["bad reaches top1 0.5; task digits asks for 0.97"]


def test_the_score_is_the_geometric_mean_of_its_parts(tmp_path):
    places = {
        name: [stream_run(tmp_path / f"{name}-s", mean), offline_run(tmp_path / f"{name}-o", rate)]
        for name, mean, rate in (("old", 10, 400), ("new", 5, 600))
    }
    systems = [f"{name}={place}" for name, two in places.items() for place in two]
    found = compared(*systems, force=True)
    old, new = found.scores
    assert old.value == pytest.approx(1)
    runs = found.systems[1].runs, found.systems[0].runs
    ratios = [
        metric(runs[1]["single_stream"].summary) / metric(runs[0]["single_stream"].summary),
        metric(runs[0]["offline"].summary) / metric(runs[1]["offline"].summary),
    ]
    assert [part.ratio for part in new.parts] == pytest.approx(ratios)
    assert new.value == pytest.approx(math.sqrt(ratios[0] * ratios[1]))
    assert new.value > 1.5


def test_more_than_one_is_better_for_times_and_rates():
    assert oriented_ratio(5, 10, "ns") == 2
    assert oriented_ratio(10, 5, "1/s") == 2
    assert geometric_mean([2, 8]) == pytest.approx(4)


def test_the_reference_may_be_named(pair):
    found = compared(*pair, reference="new")
    assert found.scores[0].reference == "new"
    with pytest.raises(UserError, match="no such system; name one of old, new"):
        compared(*pair, reference="newer")


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("latency_ns.p99 > +5%", True),
        ("latency_ns.p99 > +50%", False),
        ("latency_ns.p99 < -5 %", False),
        ("metric.value < -1%", False),
        ("first_response_ns.p50>=+5%", True),
        ("server_queue_ns.p99 > +5%", True),  # unknown in both: nobody can say
    ],
)
def test_the_gate_holds_or_fails(pair, text, failed):
    found = compared(*pair, conditions=[parse_condition(text)])
    assert found.gate_failed is failed
    assert ("FAIL" in as_text(found)) is failed
    junit = ElementTree.fromstring(as_junit(found))
    assert int(junit.get("failures", "")) == failed


@pytest.mark.parametrize("text", ["latency_ns.p99", "p99 > 5", "p99 > 5%", "latency_ns > +5 ms"])
def test_a_condition_of_another_form_is_a_users_mistake(text):
    with pytest.raises(UserError, match=r"--fail-if .* such as"):
        parse_condition(text)


@pytest.mark.parametrize("path", ["latency_ns.p98", "latency", "scenario", "latency_ns"])
def test_a_figure_that_no_summary_has_is_a_users_mistake(pair, path):
    with pytest.raises(UserError, match="--fail-if: "):
        compared(*pair, conditions=[parse_condition(f"{path} > +1%")])


def test_the_command_writes_its_files_and_its_exit_code_is_the_gate(pair, tmp_path, capsys):
    files = {kind: tmp_path / f"out.{kind}" for kind in ("html", "markdown", "junit")}
    flags = [part for kind, path in files.items() for part in (f"--{kind}", str(path))]
    places = [str(place) for place in pair]
    assert main([*places, *flags, "--fail-if", "latency_ns.p99 > +5%"]) == 1
    assert main([*places, "--fail-if", "latency_ns.p99 > +90%"]) == 0
    assert "slower" in capsys.readouterr().out
    assert "<!doctype html>" in files["html"].read_text()
    assert files["markdown"].read_text().startswith("# Comparison")
    assert ElementTree.parse(files["junit"]).getroot().tag == "testsuite"
    with pytest.raises(UserError, match="--confidence"):
        main([*places, "--confidence", "2"])


def test_not_comparable_is_exit_code_2_and_one_line(pair, tmp_path):
    other = server_run(tmp_path / "other", workload_hash="another")
    done = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "compare", str(pair[0]), str(other)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("loadgen compare: not comparable: ")
    assert done.stderr.count("\n") == 1


def test_every_shipped_task_can_be_read():
    assert builtin_tasks() == ["digits", "imagenet-sample"]
    for name in builtin_tasks():
        assert load_task(name).name == name


def test_a_task_file_that_is_none_is_named(tmp_path):
    with pytest.raises(SettingsError, match="name a task file, or one of digits"):
        load_task("digit")
    path = tmp_path / "task.yaml"
    path.write_text("format: loadgen-task\nversion: 1\nname: x\n")
    with pytest.raises(SettingsError, match="dataset"):
        load_task(str(path))
    path.write_text("{")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load_task(str(path))


def test_hosts_that_lost_processor_time_are_named(pair, tmp_path):
    made = server(target_qps=500, min_duration_ms=8000, target_latency_ms=100, dataset="digits")
    made.workers = [replace(made.workers[0], host="vm", stolen_share=0.05)]
    run = saved(spread(made, 20, seed=1), tmp_path / "robbed", workload_hash="w")
    found = compared(pair[0], run)
    (note,) = found.host_notes
    assert note.startswith("robbed, server: worker 0 on vm: the hypervisor took 5.0%")
    assert note in as_text(found)
    assert note in as_markdown(found)
    assert compared(*pair).host_notes == []

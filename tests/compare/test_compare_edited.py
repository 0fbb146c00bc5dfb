"""A result that was edited or damaged is told from the one that a run wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_directories import offline_run, server_run, stream_run

from loadgen_service.checksums import (
    SUMS_FILE,
    file_sums,
    replace_sum,
    require_sums,
    require_unchanged,
    sums_text,
)
from loadgen_service.cli.verbs.compare import main as compare
from loadgen_service.compare.records_check import require_agreement
from loadgen_service.compare.systems import read_run
from loadgen_service.errors import UserError

GATE = ["--fail-if", "latency_ns.p99 > +5%"]


def seal(directory: Path) -> Path:
    names = [path.name for path in directory.iterdir() if path.name != SUMS_FILE]
    (directory / SUMS_FILE).write_text(sums_text(file_sums(directory, names)))
    return directory


def edit(directory: Path, **changes: int) -> None:
    """Make the latencies of a summary others, at its top and in its series."""
    path = directory / "summary.json"
    summary = json.loads(path.read_text())
    for place in (summary, *summary["series"]):
        place["latency_ns"].update(changes)
    path.write_text(json.dumps(summary))


def test_an_edited_summary_passes_no_gate(tmp_path: Path) -> None:
    good, slow = seal(server_run(tmp_path / "a")), seal(server_run(tmp_path / "b", mean_ms=40))
    assert compare([str(good), str(slow), *GATE]) == 1
    edit(slow, **json.loads((good / "summary.json").read_text())["latency_ns"])
    with pytest.raises(UserError, match=r"summary\.json: is not what the run wrote"):
        compare([str(good), str(slow), *GATE])
    seal(slow)  # who edits may write the sums, too: the records still contradict
    with pytest.raises(UserError, match="contradict each other"):
        compare([str(good), str(slow), *GATE])


@pytest.mark.parametrize(
    "field", ["count", "min", "max", "p50", "p90", "p95", "p97", "p99", "p99_9"]
)
def test_every_figure_of_the_latency_is_counted_again(tmp_path: Path, field: str) -> None:
    directory = server_run(tmp_path / "a")
    run = read_run(directory)
    assert run.series is not None
    value = getattr(run.series.latency_ns, field)
    edit(directory, **{field: value - 1 if field != "count" else value + 1})
    changed = read_run(directory)
    assert changed.series is not None
    with pytest.raises(UserError, match="contradict each other"):
        require_agreement(directory, changed.summary, changed.series)


@pytest.mark.parametrize("make", ["server", "offline", "single_stream"])
def test_an_untouched_summary_agrees_with_its_records(tmp_path: Path, make: str) -> None:
    makers = {
        "server": lambda path: server_run(path),
        "offline": lambda path: offline_run(path, 400),
        "single_stream": lambda path: stream_run(path, 5.0),
    }
    run = read_run(makers[make](tmp_path / "a"))
    assert run.series is not None
    require_agreement(run.directory, run.summary, run.series)


def test_a_figure_at_the_top_must_be_that_of_its_series(tmp_path: Path) -> None:
    directory = server_run(tmp_path / "a")
    path = directory / "summary.json"
    summary = json.loads(path.read_text())
    summary["completed_qps"] = 1e6
    path.write_text(json.dumps(summary))
    run = read_run(directory)
    assert run.series is not None
    with pytest.raises(UserError, match="completed_qps"):
        require_agreement(directory, run.summary, run.series)


def test_a_page_that_is_made_again_gets_its_new_sum(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("one")
    seal(tmp_path)
    (tmp_path / "report.html").write_text("two")
    with pytest.raises(UserError, match=r"report\.html"):
        require_unchanged(tmp_path)
    replace_sum(tmp_path, "report.html")
    require_unchanged(tmp_path)


def test_sums_that_were_promised_must_be_there(tmp_path: Path) -> None:
    require_sums(tmp_path, "")
    with pytest.raises(UserError, match="SHA256SUMS is missing"):
        require_sums(tmp_path, SUMS_FILE)


@pytest.mark.parametrize("line", ["", "0" * 64, f"{'0' * 64}  ../x", "no sums"])
def test_sums_of_another_form_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / SUMS_FILE).write_text(line + "\n")
    with pytest.raises(UserError, match="damaged or edited"):
        require_unchanged(tmp_path)

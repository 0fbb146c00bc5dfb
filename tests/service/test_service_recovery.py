"""A service that died leaves journal and segments; the next one makes honest results of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from crashed_service import SETTINGS, crash_while_writing
from service_fake_worker import Faults

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.service.run.recovery import recover_all
from loadgen_service.service.server import serve
from loadgen_service.service.storage.journal import (
    COPY_NAME,
    JOURNAL_NAME,
    Journal,
    read_journal,
)
from loadgen_service.service.storage.run_directory import RunDirectories

CLOSED = SETTINGS.model_copy(
    update={"scenario": "concurrency", "concurrency": 4, "min_duration_ms": 600}
)


def test_results_are_made_from_journal_and_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    store = RunDirectories(tmp_path / "results")
    (directory,) = store.unfinished()
    assert b"secret" not in (directory.path / "journal.jsonl").read_bytes()
    (said,) = recover_all(store)
    assert said.endswith("partial results written")
    summary = summary_from_json((directory.path / "summary.json").read_text())
    assert summary.state == "INTERRUPTED"
    assert summary.valid is False
    assert summary.counts.queries.completed == summary.counts.queries.planned > 900
    assert "the service died during the run" in summary.notes
    assert store.unfinished() == []


def test_a_torn_segment_costs_only_its_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    store = RunDirectories(tmp_path / "results")
    (directory,) = store.unfinished()
    (_, segment) = directory.segments(0)[0]
    segment.write_bytes(segment.read_bytes()[:-100])
    recover_all(store)
    counts = summary_from_json((directory.path / "summary.json").read_text()).counts.queries
    assert 0 < counts.lost <= 200
    assert counts.planned == counts.completed + counts.lost


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def kill_and_flip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Settings) -> Summary:
    """A run that died at its end, one byte of the middle of its segment changed, recovered."""
    crash_while_writing(tmp_path, monkeypatch, Faults(), asked)
    store = RunDirectories(tmp_path / "results")
    (directory,) = store.unfinished()
    without_the_end(directory.path)
    (_, segment) = directory.segments(0)[0]
    flip(segment, segment.stat().st_size // 2)
    damaged = segment.read_bytes()
    recover_all(store)
    (kept,) = (directory.path / "damaged").iterdir()
    assert kept.read_bytes() == damaged
    assert not directory.series(0).exists()
    return summary_from_json((directory.path / "summary.json").read_text())


def without_the_end(folder: Path) -> None:
    """The journal of a service that died before the series ended: no worker's last word."""
    entries = [one for one in read_journal(folder) if one["event"] != "series"]
    for name in (JOURNAL_NAME, COPY_NAME):
        (folder / name).unlink()
    for entry in entries:
        Journal(folder).write(**entry)


@pytest.mark.parametrize("asked", [SETTINGS, CLOSED], ids=["bounded", "closed loop"])
def test_a_flipped_bit_costs_one_batch_which_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Settings
) -> None:
    summary = kill_and_flip(tmp_path, monkeypatch, asked)
    (gap,) = summary.gaps
    assert "worker 0: damaged on the disk: batch " in gap
    assert "never came" not in gap
    assert "damaged/series-00-worker-0000.seg" in gap
    unmet = {one.name: one.measured for one in summary.findings if not one.met}
    assert gap in unmet["accounting"]
    counts = summary.counts.queries
    assert counts.lost in (10, 200, 120)
    assert counts.issued == counts.completed + counts.lost
    assert counts.completed > counts.lost


@pytest.mark.parametrize("copies", [1, 2])
def test_a_flipped_bit_of_the_journal_changes_nothing_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    store = RunDirectories(tmp_path / "results")
    (directory,) = store.unfinished()
    for name in (JOURNAL_NAME, COPY_NAME)[:copies]:
        flip(directory.path / name, (directory.path / name).read_bytes().index(b"schedule_rng"))
    (said,) = recover_all(store)
    if copies == 1:
        summary = summary_from_json((directory.path / "summary.json").read_text())
        assert any("journal.jsonl: damaged at line 1" in note for note in summary.notes)
        assert summary.counts.queries.completed > 900
    else:
        assert "journal.jsonl: entry 1 is damaged, and so is its copy" in said
        assert directory.segments(0)


def test_a_run_that_never_loaded_is_left_alone(tmp_path: Path) -> None:
    async def run() -> None:
        settings = ServeSettings(port=0, results=str(tmp_path / "results"))
        service = await serve(settings, embedded=True)
        changed = SETTINGS.model_copy(update={"lease_timeout_ms": 1})
        started = service.coordinator.start_run(changed.model_dump_json())
        async with asyncio.timeout(10):
            while not started.is_over:
                await asyncio.sleep(0.02)
        await service.stop(drain_s=0)

    asyncio.run(run())
    assert recover_all(RunDirectories(tmp_path / "results")) == []

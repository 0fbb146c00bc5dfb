"""A service that is started again goes on with the run in which the last one was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crashed_service import crash_while_writing
from loadgen_proto import loadgen_pb2 as pb
from service_fake_worker import FakeWorker, Faults

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.service.run.recovery import DIED
from loadgen_service.service.run.resumption import NO_SECRETS, WENT_ON, find_resumption
from loadgen_service.service.server import serve
from loadgen_service.service.storage.journal import (
    COPY_NAME,
    JOURNAL_NAME,
    Journal,
    read_journal,
)
from loadgen_service.service.storage.run_directory import RunDirectories

Entries = list[dict[str, Any]]


def serve_again(tmp_path: Path) -> tuple[list[str], pb.RunStatus]:
    """What the next service said at its start, and how the run ended there."""

    async def run() -> tuple[list[str], pb.RunStatus]:
        service = await serve(ServeSettings(port=0, results=str(tmp_path / "results")))
        try:
            (found,) = service.coordinator.runs.values()
            async with asyncio.timeout(30):
                while not found.is_over:
                    await asyncio.sleep(0.02)
            return service.recovered, found.status()
        finally:
            await service.stop(drain_s=0)

    return asyncio.run(run())


def change_journal(tmp_path: Path, change: Callable[[Entries], Entries]) -> None:
    (directory,) = RunDirectories(tmp_path / "results").unfinished()
    entries = change(read_journal(directory.path))
    for name in (JOURNAL_NAME, COPY_NAME):
        (directory.path / name).unlink()
    journal = Journal(directory.path)
    for entry in entries:
        journal.write(**entry)


def without(*events: str) -> Callable[[Entries], Entries]:
    return lambda entries: [entry for entry in entries if entry["event"] not in events]


def summary_of(status: pb.RunStatus) -> Summary:
    return summary_from_json(status.summary_json)


def test_a_run_whose_results_only_were_missing_gets_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    (said,), status = serve_again(tmp_path)
    assert said.endswith("going on with it, 1 workers expected")
    assert status.state == pb.DONE
    summary = summary_of(status)
    assert summary.state == "DONE"
    assert summary.valid is True
    assert summary.counts.queries.completed == summary.counts.queries.planned > 900
    assert WENT_ON in summary.notes
    assert NO_SECRETS in summary.notes  # the header was given literally
    assert "secret" not in status.summary_json
    assert RunDirectories(tmp_path / "results").unfinished() == []


def test_workers_that_stay_away_are_lost_and_the_service_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    change_journal(tmp_path, without("series"))
    monkeypatch.setattr("loadgen_service.service.coordinator.COME_BACK_NS", 300_000_000)
    _, status = serve_again(tmp_path)
    assert status.state == pb.INTERRUPTED
    summary = summary_of(status)
    unmet = {one.name: one.measured for one in summary.findings if not one.met}
    assert unmet["interrupted"] == DIED
    assert "it did not come back after the service died" in unmet["worker_lost"]
    counts = summary.counts.queries
    assert counts.planned == counts.completed + counts.lost
    assert counts.completed > 900


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: [e | {"boot_id": "another"} if e["event"] == "run" else e for e in entries],
        lambda entries: [{k: v for k, v in e.items() if k != "boot_id"} for e in entries],
        without("start", "series"),
        lambda entries: [*entries, {"event": "given_up", "reason": "so"}],
    ],
    ids=["another boot", "an older journal", "no load yet", "given up"],
)
def test_what_cannot_be_gone_on_with_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Entries], Entries]
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    store = RunDirectories(tmp_path / "results")
    assert find_resumption(store) is not None
    store.release_all()
    change_journal(tmp_path, change)
    assert find_resumption(store) is None


def test_a_worker_that_forgot_the_run_is_lost_at_once_and_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_writing(tmp_path, monkeypatch, Faults())
    change_journal(tmp_path, without("series"))
    store = RunDirectories(tmp_path / "results")
    resumption = find_resumption(store)
    assert resumption is not None
    store.release_all()

    async def run() -> None:
        service = await serve(ServeSettings(port=0, results=str(tmp_path / "results")))
        worker = FakeWorker(service.address, "")
        worker.worker_id = resumption.workers[0]["worker_id"]
        task = asyncio.create_task(worker.run())
        try:
            (found,) = service.coordinator.runs.values()
            async with asyncio.timeout(30):
                while not found.is_over:
                    await asyncio.sleep(0.02)
            summary = summary_of(found.status())
            assert "given the run up" in summary.workers[0].lost_reason
            assert [one.worker_id for one in service.sessions.idle()] == [worker.worker_id]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await service.stop(drain_s=0)

    asyncio.run(run())

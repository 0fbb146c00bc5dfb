"""Segments, journal and run directories: what a crash or a full disk leaves behind."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.errors import RunError, UserError
from loadgen_service.service.storage.journal import JOURNAL_NAME, Journal, entries_of, read_journal
from loadgen_service.service.storage.run_directory import RunDirectories, RunDirectory
from loadgen_service.service.storage.segments import MAGIC, Segment, frames


def write(path: Path, payloads: list[bytes]) -> None:
    segment = Segment(path)
    for payload in payloads:
        segment.append(payload)
    segment.sync()
    segment.close()


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.seg"
    write(path, [b"one", b"", b"three" * 1000])
    assert list(frames(path)) == [b"one", b"", b"three" * 1000]


def test_a_reopened_segment_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"one"])
    write(path, [b"two"])
    assert list(frames(path)) == [b"one", b"two"]


@given(payloads=st.lists(st.binary(max_size=40), max_size=5), data=st.data())
def test_any_cut_leaves_the_whole_frames_before_it(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.seg"
    write(path, payloads)
    size = path.stat().st_size
    cut = data.draw(st.integers(0, size))
    os.truncate(path, cut)
    ends, end = [], len(MAGIC)
    for payload in payloads:
        end += 8 + len(payload)
        ends.append(end)
    whole = [payload for payload, at in zip(payloads, ends, strict=True) if at <= cut]
    segment = Segment(path)
    segment.append(b"after")
    segment.close()
    assert list(frames(path)) == [*whole, b"after"]


def test_a_long_segment_leaves_the_page_cache_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[tuple[int, int]] = []

    def advise(_handle: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        forgotten.append((start, size))

    page = mmap.PAGESIZE
    monkeypatch.setattr("loadgen_service.service.storage.segments.CACHED_BYTES", 4 * page)
    monkeypatch.setattr("loadgen_service.service.storage.segments.os.posix_fadvise", advise)
    segment = Segment(tmp_path / "a.seg")
    for _ in range(8):
        segment.append(bytes(page))
        segment.sync()
    segment.close()
    assert forgotten == [(at * page, page) for at in range(4)]
    assert list(frames(tmp_path / "a.seg")) == [bytes(page)] * 8


def test_a_page_cache_that_keeps_everything_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("loadgen_service.service.storage.segments.CACHED_BYTES", 0)
    monkeypatch.setattr("loadgen_service.service.storage.segments.os.posix_fadvise", refuse)
    segment = Segment(tmp_path / "a.seg")
    segment.append(bytes(3 * mmap.PAGESIZE))
    segment.sync()
    segment.close()
    assert list(frames(tmp_path / "a.seg")) == [bytes(3 * mmap.PAGESIZE)]


def test_a_flipped_bit_hides_its_frame_and_all_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"one", b"two", b"three"])
    content = bytearray(path.read_bytes())
    content[len(MAGIC) + 11 + 8] ^= 1
    path.write_bytes(content)
    assert list(frames(path)) == [b"one"]


@pytest.mark.parametrize("room", [0, 5, 8, 11])
def test_a_refused_write_leaves_no_half_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path = tmp_path / "a.seg"
    segment = Segment(path)
    segment.append(b"one")
    whole = path.stat().st_size

    def to_a_full_disk(descriptor: int, parts: list[memoryview]) -> int:
        left = whole + room - path.stat().st_size
        if not left:
            raise OSError(28, "No space left on device")
        return os.write(descriptor, b"".join(parts)[:left])

    monkeypatch.setattr("loadgen_service.service.storage.segments.os.writev", to_a_full_disk)
    with pytest.raises(OSError, match="No space"):
        segment.append(b"never stored")
    assert path.stat().st_size == whole
    monkeypatch.undo()
    segment.append(b"two")
    segment.close()
    assert list(frames(path)) == [b"one", b"two"]


@pytest.mark.parametrize("taken", [1, 3, 8, 9])
def test_a_write_that_takes_a_part_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    path = tmp_path / "a.seg"
    segment = Segment(path)
    monkeypatch.setattr(
        "loadgen_service.service.storage.segments.os.writev",
        lambda descriptor, parts: os.write(descriptor, b"".join(parts)[:taken]),
    )
    for payload in (b"one", b"", b"a longer one"):
        segment.append(payload)
    segment.close()
    assert list(frames(path)) == [b"one", b"", b"a longer one"]


def test_the_journal_forgets_only_a_torn_last_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("run", run_id="a")
    journal.write("start", t0_ns=5)
    with open(tmp_path / JOURNAL_NAME, "ab") as file:
        file.write(b'{"event": "sta')
    entries = read_journal(tmp_path)
    assert [entry["event"] for entry in entries] == ["run", "start"]
    assert entries_of(entries, "start") == [{"event": "start", "t0_ns": 5}]


def test_a_directory_without_journal_has_no_entries(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"):
        directory.write_whole("summary.json", fail)
    assert list(tmp_path.iterdir()) == []
    directory.write_text("summary.json", "{}")
    assert directory.is_finished


def test_a_named_folder_is_used_once(tmp_path: Path) -> None:
    store = RunDirectories(tmp_path / "results")
    made = store.create("server", "0001", str(tmp_path / "mine"))
    Journal(made.path).write("run")
    with pytest.raises(UserError, match="already holds a run"):
        store.create("server", "0002", str(tmp_path / "mine"))


def test_default_names_carry_time_scenario_and_id(tmp_path: Path) -> None:
    name = RunDirectories(tmp_path).create("burst", "abcd").path.name
    assert name.endswith("Z-burst-abcd")


def test_only_runs_without_summary_are_unfinished(tmp_path: Path) -> None:
    store = RunDirectories(tmp_path)
    done, torn = store.create("server", "0001"), store.create("server", "0002")
    for directory in (done, torn):
        Journal(directory.path).write("run")
    done.write_text("summary.json", "{}")
    assert store.unfinished() == [torn]


def test_segments_are_found_by_worker(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for worker in (10, 2):
        Segment(directory.segment(0, worker)).close()
    assert [worker for worker, _ in directory.segments(0)] == [2, 10]

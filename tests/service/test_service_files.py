"""Segments, journal and run directories: what a crash or a full disk leaves behind."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen_service.errors import RunError, UserError
from loadgen_service.service.run.recovery import recover_all
from loadgen_service.service.run.resumption import find_resumption
from loadgen_service.service.storage.journal import (
    COPY_NAME,
    JOURNAL_NAME,
    Journal,
    entries_of,
    read_journal,
    scan_journal,
)
from loadgen_service.service.storage.run_directory import RunDirectories, RunDirectory, take_lock
from loadgen_service.service.storage.segments import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    Damage,
    Segment,
    frames,
    frames_and_damage,
)


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
    ends, end = [], HEADER_BYTES
    for payload in payloads:
        end += FRAME_HEAD_BYTES + len(payload)
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


PAYLOADS = [b"one", b"two" * 50, b"", b"three" * 20]


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_flipped_bit_costs_one_frame_at_most_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, PAYLOADS)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 13):
        path.write_bytes(whole)
        flipped(path, bit)
        found = list(frames_and_damage(path))
        kept = [part for part in found if not isinstance(part, Damage)]
        damage = [part for part in found if isinstance(part, Damage)]
        if bit >= 8 * HEADER_BYTES:
            assert len(damage) == 1
            assert not damage[0].torn
            assert len(kept) == len(PAYLOADS) - 1
        else:  # a damaged header costs nothing: frames repeat its mark
            assert kept == PAYLOADS
        assert [payload for payload in PAYLOADS if payload in kept] == kept


def test_a_damaged_segment_is_continued_behind_its_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, PAYLOADS)
    flipped(path, 8 * (path.stat().st_size - 1))  # the last frame's payload
    write(path, [b"after"])
    assert list(frames(path)) == [*PAYLOADS[:-1], b"after"]
    assert sum(isinstance(part, Damage) for part in frames_and_damage(path)) == 1


def test_a_payload_cannot_pass_as_a_frame_where_its_own_head_is_damaged(tmp_path: Path) -> None:
    inner = tmp_path / "inner.seg"
    write(inner, [b"forged"])
    path = tmp_path / "a.seg"
    write(path, [inner.read_bytes(), b"next"])
    flipped(path, 8 * (HEADER_BYTES + 9))  # the length of the first frame
    assert list(frames(path)) == [b"next"]


def test_a_segment_without_a_readable_byte_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    path.write_bytes(b"garbage " * 100)
    write(path, [b"one"])
    assert list(frames(path)) == [b"one"]
    assert (tmp_path / "a.seg.damaged").read_bytes() == b"garbage " * 100


def test_a_tail_of_zeros_is_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"one"])
    os.truncate(path, path.stat().st_size + 5000)
    assert [type(part) for part in frames_and_damage(path)] == [bytes, Damage]
    write(path, [b"two"])
    assert list(frames_and_damage(path)) == [b"one", b"two"]


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
    Journal(tmp_path).write("stop")
    scan = scan_journal(tmp_path)
    assert [entry["event"] for entry in scan.entries] == ["run", "start", "stop"]
    assert not scan.gaps + scan.notes
    assert entries_of(entries, "start") == [{"event": "start", "t0_ns": 5}]


ENTRIES: list[dict[str, Any]] = [
    {"event": "run", "settings": {"seed": 7, "target_latency_ms": 100}},
    {"event": "prepared", "trace_ns": [1, 2, 3]},
    {"event": "start", "t0_ns": 5},
]


def journal_of_three(folder: Path) -> bytes:
    journal = Journal(folder)
    for entry in ENTRIES:
        journal.write(**entry)
    return (folder / JOURNAL_NAME).read_bytes()


def test_every_flipped_bit_of_a_journal_is_made_good_by_its_copy(tmp_path: Path) -> None:
    whole = journal_of_three(tmp_path)
    for name in (JOURNAL_NAME, COPY_NAME):
        for bit in range(0, 8 * len(whole), 13):
            flipped(tmp_path / name, bit)
            scan = scan_journal(tmp_path)
            assert scan.entries == ENTRIES
            assert not scan.gaps
            assert len(scan.notes) == (bit // 8 != len(whole) - 1)  # the last newline: torn
            (tmp_path / name).write_bytes(whole)


def test_every_flipped_bit_of_a_journal_without_a_copy_is_named(tmp_path: Path) -> None:
    whole = journal_of_three(tmp_path)
    (tmp_path / COPY_NAME).unlink()
    for bit in range(0, 8 * (len(whole) - 1), 13):
        flipped(tmp_path / JOURNAL_NAME, bit)
        scan = scan_journal(tmp_path)
        assert [entry for entry in ENTRIES if entry in scan.entries] == scan.entries
        assert len(scan.entries) in (1, 2)
        assert scan.gaps
        (tmp_path / JOURNAL_NAME).write_bytes(whole)


def test_a_journal_without_digests_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_text('{"event": "run"}\n')
    scan = scan_journal(tmp_path)
    assert (scan.entries, len(scan.gaps)) == ([], 1)


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
    with pytest.raises(UserError, match="another run is writing there"):
        RunDirectories(tmp_path / "results").create("server", "0002", str(tmp_path / "mine"))
    with pytest.raises(UserError, match="another run is writing there"):
        store.create("server", "0002", str(tmp_path / "mine"))
    Journal(made.path).write("run")
    Journal(made.path).write("start")
    store.release(made)
    with pytest.raises(UserError, match="already holds a run"):
        store.create("server", "0002", str(tmp_path / "mine"))


def test_of_many_that_start_together_one_gets_the_folder(tmp_path: Path) -> None:
    def start(number: int) -> RunDirectories | None:
        store = RunDirectories(tmp_path / "results")
        with contextlib.suppress(UserError):
            store.create("server", str(number), str(tmp_path / "mine"))
            return store
        return None

    with ThreadPoolExecutor(8) as pool:
        won = [store for store in pool.map(start, range(64)) if store]
    assert len(won) == 1
    won[0].release_all()
    assert start(0) is not None


def test_a_failed_start_does_not_block_its_folder(tmp_path: Path) -> None:
    store = RunDirectories(tmp_path / "results")
    for _ in range(2):
        made = store.create("server", "0001", str(tmp_path / "mine"))
        Journal(made.path).write("run")
        Journal(made.path).write("given_up", reason="no workers")
        store.release(made)
    assert not (tmp_path / "mine" / ".lock").exists()


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from loadgen_service.service.storage.run_directory import take_lock\n"
        "assert take_lock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert (tmp_path / ".lock").exists()
    assert take_lock(tmp_path) is not None


def test_a_run_that_another_process_writes_is_not_recovered(tmp_path: Path) -> None:
    store = RunDirectories(tmp_path)
    Journal(store.create("server", "0001").path).write("run")
    assert recover_all(RunDirectories(tmp_path)) == []
    assert find_resumption(RunDirectories(tmp_path)) is None
    store.release_all()
    assert len(recover_all(RunDirectories(tmp_path))) == 1


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

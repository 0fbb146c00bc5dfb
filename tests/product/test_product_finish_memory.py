"""Finishing where memory is short gives the same files."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import finish_memory  # noqa: E402

from loadgen_service.service.results import writer  # noqa: E402
from loadgen_service.service.storage import column_storage  # noqa: E402

COUNT = 3_000


@pytest.mark.parametrize("scenario", ["server", "concurrency"])
def test_columns_in_files_give_the_files_of_columns_in_memory(
    tmp_path: Path, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = finish_memory.settings_of(COUNT, scenario)
    asyncio.run(finish_memory.store(tmp_path, COUNT, settings))
    in_files: list[int] = []
    true_in_file = column_storage._in_file

    def in_file(directory: Path, count: int, dtype: object) -> object:
        in_files.append(count)
        return true_in_file(directory, count, dtype)

    monkeypatch.setattr(column_storage, "_in_file", in_file)
    written = []
    for free_bytes in (1 << 40, 0):
        monkeypatch.setattr(writer, "free_memory_bytes", lambda free=free_bytes: free)
        finish_memory.finish(tmp_path, COUNT, settings, "memory")
        names = ("records.parquet", "summary.json", "report.txt")
        written.append([(tmp_path / name).read_bytes() for name in names])
        assert bool(in_files) == (free_bytes == 0)
    assert written[0] == written[1]
    assert set(in_files) == {COUNT}

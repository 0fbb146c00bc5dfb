"""Spill folders: removed by their owner, or by the next worker if the owner was killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from loadgen_service.errors import RunError
from loadgen_service.worker.records.spill import SpillFolder, remove_abandoned


def test_a_folder_goes_with_its_owner(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    (folder.path / "block").write_bytes(b"x")
    folder.close()
    folder.close()
    assert not list(tmp_path.iterdir())


def test_a_living_owners_folder_is_left_alone(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    second = SpillFolder(tmp_path)
    assert folder.path.is_dir()
    folder.close()
    second.close()


def test_a_dead_owners_folder_is_removed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        SpillFolder(tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    assert remove_abandoned(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_about_to_be_locked_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "loadgen-spill-new").mkdir()
    assert remove_abandoned(tmp_path) == 0


def test_a_worker_that_starts_at_the_same_instant_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def late(lock: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        assert remove_abandoned(tmp_path) == 0
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    folder = SpillFolder(tmp_path)
    assert folder.path.is_dir()
    assert remove_abandoned(tmp_path) == 0
    folder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--spill-dir"):
        SpillFolder(tmp_path / "missing")

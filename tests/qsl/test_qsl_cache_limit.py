"""The arenas' folder: what goes, what stays, and what a run that has mapped it sees."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from loadgen_service.errors import UserError
from loadgen_service.qsl.arena.builder import Arena, ArenaDownload, build_arena
from loadgen_service.qsl.arena.eviction import IN_USE_S, UNUSED_S_MAX, limit_bytes, trim_arenas
from loadgen_service.qsl.tensors import TensorSpec

NOW_S = 2_000_000_000.0
HOUR_S = 3600


def arena(folder: Path, name: str, size_bytes: int, unused_s: float) -> Path:
    path = folder / f"{name}.arena"
    path.write_bytes(bytes(size_bytes))
    os.utime(path, (NOW_S - unused_s, NOW_S - unused_s))
    return path


def trimmed(folder: Path, wanted: Path) -> list[str]:
    return [path.stem for path in trim_arenas(folder, wanted, NOW_S)]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CACHE_MAX_BYTES", "100")


@pytest.mark.usefixtures("limit")
def test_longest_unused_go_first_until_the_rest_fits(tmp_path: Path) -> None:
    for name, hours in (("a", 5), ("b", 9), ("c", 7), ("d", 3)):
        arena(tmp_path, name, 40, hours * HOUR_S)
    assert trimmed(tmp_path, tmp_path / "none.arena") == ["b", "c"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "d"]


@pytest.mark.usefixtures("limit")
def test_wanted_and_just_used_arenas_stay_whatever_their_size(tmp_path: Path) -> None:
    wanted = arena(tmp_path, "wanted", 500, 9 * HOUR_S)
    arena(tmp_path, "used", 500, IN_USE_S - 1)
    arena(tmp_path, "idle", 1, IN_USE_S + 1)
    assert trimmed(tmp_path, wanted) == ["idle"]


def test_old_arenas_go_though_there_is_room(tmp_path: Path) -> None:
    arena(tmp_path, "old", 1, UNUSED_S_MAX + 1)
    arena(tmp_path, "young", 1, UNUSED_S_MAX - 1)
    assert trimmed(tmp_path, tmp_path / "none.arena") == ["old"]


def test_no_limit_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CACHE_MAX_BYTES", "0")
    arena(tmp_path, "old", 1, 2 * UNUSED_S_MAX)
    assert trimmed(tmp_path, tmp_path / "none.arena") == []


@pytest.mark.parametrize("text", ["20G", "-1", "1.5"])
def test_limit_that_is_no_count_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_CACHE_MAX_BYTES", text)
    with pytest.raises(UserError, match=r"LOADGEN_CACHE_MAX_BYTES: .* is no count of bytes"):
        limit_bytes()


@pytest.mark.usefixtures("limit")
def test_notes_of_removed_arenas_and_killed_writers_files_go(tmp_path: Path) -> None:
    arena(tmp_path, "gone", 200, 9 * HOUR_S)
    kept = arena(tmp_path, "kept", 1, 0)
    (tmp_path / "made").mkdir()
    for name in ("gone", "kept"):
        (tmp_path / "made" / f"{name}.json").write_text(f'{{"content_hash": "{name}"}}')
    dead, living = tmp_path / ".new-dead", tmp_path / ".new-living"
    for path, unused_s in ((dead, UNUSED_S_MAX + 1), (living, 60)):
        path.write_bytes(b"")
        os.utime(path, (NOW_S - unused_s, NOW_S - unused_s))
    assert trimmed(tmp_path, kept) == ["gone"]
    assert [path.stem for path in (tmp_path / "made").iterdir()] == ["kept"]
    assert (dead.exists(), living.exists()) == (False, True)


class Samples:
    """Eight samples of sixteen floats; ``dataset_hash`` tells libraries apart."""

    tensors = (TensorSpec("input", "FP32", (16,)),)
    preprocess_ns = None

    def __init__(self, value: int) -> None:
        self.dataset_hash = str(value)
        self._value = value

    def shapes(self, index: int) -> tuple[tuple[int, ...] | None, ...] | None:
        return None

    def sample(self, index: int) -> tuple[bytes, ...]:
        return (np.full(16, self._value + index, "<f4").tobytes(),)


@pytest.mark.usefixtures("limit")
def test_making_another_arena_trims_and_a_mapped_one_stays_readable(tmp_path: Path) -> None:
    first = build_arena(Samples(1), range(8), tmp_path)
    mapped = Arena.open(first.path)
    os.utime(first.path, (1, 1))  # used long ago
    second = build_arena(Samples(2), range(8), tmp_path)
    assert (first.path.exists(), second.path.exists()) == (False, True)
    assert bytes(mapped.tensors(3)[0]) == Samples(1).sample(3)[0]
    assert build_arena(Samples(1), range(8), tmp_path).content_hash == first.content_hash


@pytest.mark.usefixtures("limit")
def test_use_protects_and_fetching_trims(tmp_path: Path) -> None:
    used, idle = (build_arena(Samples(value), range(8), tmp_path) for value in (1, 2))
    for made in (used, idle):
        os.utime(made.path, (1, 1))
    Arena.open(used.path).close()
    other = build_arena(Samples(3), range(8), tmp_path / "other-host")
    download = ArenaDownload(other.content_hash, other.size_bytes, tmp_path)
    download.write(other.path.read_bytes())
    fetched = download.commit()
    assert (used.path.exists(), idle.path.exists(), fetched.exists()) == (True, False, True)

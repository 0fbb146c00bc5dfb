"""Arenas: what was written is what is mapped; nothing half-written or damaged is ever used."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen_service.errors import RunError, UserError
from loadgen_service.qsl.arena.builder import (
    Arena,
    ArenaDownload,
    ArenaFile,
    arena_path,
    build_arena,
    is_intact,
)
from loadgen_service.qsl.tensors import TensorSpec


@dataclass
class FakeLibrary:
    """Samples from a dict; counts how many were made."""

    samples: dict[int, tuple[bytes, ...]]
    tensors: tuple[TensorSpec, ...] = (TensorSpec("a", "UINT8", (4,)), TensorSpec("t", "BYTES", ()))
    dataset_hash: str = "dataset-v1:0"
    preprocess_ns: int | None = 123
    made: list[int] = field(default_factory=list)

    def shapes(self, index: int) -> tuple[tuple[int, ...] | None, ...] | None:
        return None

    def sample(self, index: int) -> tuple[bytes, ...]:
        self.made.append(index)
        return self.samples[index]


def library(count=5) -> FakeLibrary:
    return FakeLibrary({i: (bytes([i] * 4), b"x" * i) for i in range(count)})


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@given(st.dictionaries(st.integers(0, 10**9), st.tuples(st.binary(), st.binary()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_sample_reads_back(tmp_path_factory, samples):
    made = build_arena(FakeLibrary(samples), samples, tmp_path_factory.mktemp("cache"))
    arena = Arena.open(made.path, made.content_hash)
    assert arena.sample_indexes.tolist() == sorted(samples)
    assert {i: tuple(map(bytes, arena.tensors(i))) for i in samples} == samples
    assert arena.specs == FakeLibrary({}).tensors
    with pytest.raises(KeyError):
        arena.tensors(10**9 + 1)
    with pytest.raises(KeyError):
        arena.tensors(-1)


def test_the_name_is_the_hash_of_the_file(tmp_path):
    made = build_arena(library(), range(5), tmp_path)
    content = made.path.read_bytes()
    assert made.content_hash == sha256(content).hexdigest()
    assert made.size_bytes == len(content)
    assert made.path == arena_path(made.content_hash, tmp_path)
    assert made.preprocess_ns == 123


def test_tensors_lie_on_64_byte_boundaries(tmp_path):
    made = build_arena(library(), range(5), tmp_path)
    base = np.frombuffer(made.path.read_bytes(), np.uint8)
    arena = Arena.open(made.path)
    for index in range(5):
        for view in arena.tensors(index):
            if len(view):
                at = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
                assert at % 64 == 0
    assert len(base) == made.size_bytes


def test_order_and_repeats_of_the_loaded_samples_do_not_matter(tmp_path):
    one = build_arena(library(), [3, 1, 1, 2], tmp_path / "one")
    other = build_arena(library(), np.array([1, 2, 3]), tmp_path / "other")
    assert one.content_hash == other.content_hash


def test_a_kept_arena_is_found_without_making_a_sample(tmp_path):
    first = build_arena(library(), range(5), tmp_path)
    again = library()
    again.preprocess_ns = None
    assert build_arena(again, range(5), tmp_path) == first
    assert again.made == []


@pytest.mark.parametrize("change", ["content", "samples", "tensors"])
def test_other_data_is_another_arena(tmp_path, change):
    first = build_arena(library(), range(5), tmp_path)
    other, loaded = library(), range(5)
    if change == "content":
        other.dataset_hash = "dataset-v1:1"
        other.samples[0] = (b"abcd", b"")
    elif change == "samples":
        loaded = range(4)
    else:
        other.tensors = (TensorSpec("b", "UINT8", (4,)), other.tensors[1])
    assert build_arena(other, loaded, tmp_path).content_hash != first.content_hash
    assert other.made == list(loaded)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "note"])
def test_a_damaged_kept_arena_is_made_again(tmp_path, damage):
    made = build_arena(library(), range(5), tmp_path)
    content = made.path.read_bytes()
    if damage == "flip":
        made.path.write_bytes(content[:70] + bytes([content[70] ^ 1]) + content[71:])
    elif damage == "cut":
        made.path.write_bytes(content[:-1])
    elif damage == "gone":
        made.path.unlink()
    else:
        next((tmp_path / "arenas" / "made").iterdir()).write_text("{")
    again = library()
    assert build_arena(again, range(5), tmp_path) == made
    assert again.made == [0, 1, 2, 3, 4]
    assert is_intact(made.path, made.content_hash, made.size_bytes)


def test_opening_checks_the_hash_when_asked(tmp_path):
    made = build_arena(library(), range(5), tmp_path)
    with pytest.raises(RunError, match="missing or damaged"):
        Arena.open(made.path, "0" * 64)
    with pytest.raises(RunError, match="missing or damaged"):
        Arena.open(tmp_path / "gone", "0" * 64)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_broken_file_is_refused_and_never_crashes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("broken")
    content = bytearray(build_arena(library(2), range(2), folder).path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "broken"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(RunError):
        arena = Arena.open(path)
        for index in arena.sample_indexes.tolist():
            arena.tensors(index)


def test_views_outlive_close(tmp_path):
    made = build_arena(library(), range(5), tmp_path)
    arena = Arena.open(made.path)
    view = arena.tensors(2)[0]
    arena.close()
    assert bytes(view) == b"\2\2\2\2"


def test_a_failing_sample_leaves_nothing_behind(tmp_path):
    made = library()
    made.samples[3] = None
    with pytest.raises(TypeError):
        build_arena(made, range(5), tmp_path)
    assert names(tmp_path) == []


def test_a_full_disk_is_one_clear_line(tmp_path):
    large = FakeLibrary({0: (bytes(1 << 20), b"")})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(RunError, match=r"no space left for samples in .*LOADGEN_CACHE"):
            build_arena(large, [0], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_cache_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "arenas").write_text("a file")
    with pytest.raises(UserError, match=r"cannot keep samples in .*: (File exists|Not a dir)"):
        build_arena(library(), range(5), tmp_path)


def test_two_makers_at_once_agree(tmp_path):
    made: list[ArenaFile] = []
    threads = [
        threading.Thread(target=lambda: made.append(build_arena(library(), range(5), tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(made) == 4
    assert len({arena.content_hash for arena in made}) == 1
    assert len(names(tmp_path)) == 2


def test_the_cache_follows_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path))
    assert build_arena(library(), range(2)).path.parent == tmp_path / "arenas"
    monkeypatch.delenv("LOADGEN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert arena_path("a" * 64).parent == tmp_path / "home/.cache/loadgen/arenas"


def test_a_download_appears_whole_or_not_at_all(tmp_path):
    made = build_arena(library(), range(5), tmp_path / "here")
    content = made.path.read_bytes()
    download = ArenaDownload(made.content_hash, made.size_bytes, tmp_path / "there")
    for start in range(0, len(content), 100):
        assert download.offset == start
        download.write(content[start : start + 100])
    path = download.commit()
    download.abort()
    assert path == arena_path(made.content_hash, tmp_path / "there")
    assert path.read_bytes() == content
    assert len(names(tmp_path / "there")) == 1


@pytest.mark.parametrize("damage", ["short", "flip"])
def test_a_damaged_download_is_refused(tmp_path, damage):
    made = build_arena(library(), range(5), tmp_path / "here")
    content = made.path.read_bytes()
    bad = content[:-1] if damage == "short" else content[:-1] + bytes([content[-1] ^ 1])
    download = ArenaDownload(made.content_hash, made.size_bytes, tmp_path / "there")
    download.write(bad)
    with pytest.raises(RunError, match="samples arrived damaged"):
        download.commit()
    assert names(tmp_path / "there") == []


def test_an_aborted_download_leaves_nothing(tmp_path):
    download = ArenaDownload("0" * 64, 10, tmp_path)
    download.write(b"abc")
    download.abort()
    assert names(tmp_path) == []
    assert os.listdir(tmp_path / "arenas") == []


@pytest.mark.parametrize("name", ["", "../../secret", "A" * 64, "a" * 63])
def test_a_name_that_is_no_hash_reaches_no_file(tmp_path, name):
    with pytest.raises(RunError, match="names no samples"):
        arena_path(name, tmp_path)
    with pytest.raises(RunError, match="names no samples"):
        ArenaDownload(name, 1, tmp_path)


def test_shapes_of_samples_and_what_is_left_out_are_kept(tmp_path):
    specs = (TensorSpec("a", "UINT8", (-1, 2)), TensorSpec("b", "UINT8", (1,), optional=True))

    @dataclass
    class Own(FakeLibrary):
        def shapes(self, index):
            return {0: ((1, 2), None), 1: ((0, 2), (1,))}[index]

    made = build_arena(Own({0: (b"xy", None), 1: (b"", b"z")}, specs), [0, 1], tmp_path)
    arena = Arena.open(made.path, made.content_hash)
    assert not arena.is_uniform
    assert [arena.shapes(0), arena.shapes(1)] == [((1, 2), None), ((0, 2), (1,))]
    assert [bytes(one) for one in arena.tensors(0)] == [b"xy", b""]
    assert [bytes(one) for one in arena.tensors(1)] == [b"", b"z"]
    arena.close()

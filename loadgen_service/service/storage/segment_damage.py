"""What damaged bytes of a run's segments cost: named by worker and batch, the files kept.

Blocking: call it from a thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segments import Damage, frames_and_damage

KEPT_FOLDER = "damaged"
"""Of a run directory: segments with damage, which outlive the run."""


@dataclass(slots=True)
class SegmentDamage:
    """``gaps``: batches that are lost. ``notes``: damage that cost nothing, and torn tails."""

    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Stretch(NamedTuple):
    name: str
    damage: Damage


def keep_damaged(directory: RunDirectory, series: Sequence[int]) -> SegmentDamage:
    """Look at every segment of these series; those with damage are kept in ``damaged/``.

    Raises OSError where they cannot be read.
    """
    found = SegmentDamage()
    files = [(worker, index, path) for index in series for worker, path in _files(directory, index)]
    if not any(_is_damaged(path) for _, _, path in files):
        return found
    for worker in sorted({worker for worker, _, _ in files}):
        mine = [(index, path) for one, index, path in files if one == worker]
        _name(worker, _kept_parts(directory, mine), found)
    return found


def _files(directory: RunDirectory, series_index: int) -> Iterator[tuple[int, Path]]:
    """Segments, and before each what was put aside of it."""
    yield from directory.segments(series_index, put_aside=True)
    yield from directory.segments(series_index)


def _is_damaged(path: Path) -> bool:
    return any(isinstance(part, Damage) for part in frames_and_damage(path))


def _kept_parts(
    directory: RunDirectory, files: Iterable[tuple[int, Path]]
) -> Iterator[int | _Stretch]:
    """The sequence number of each batch and each damaged stretch, in the order of the files."""
    for index, path in files:
        name = f"{KEPT_FOLDER}/series-{index:02d}-{path.name}"
        is_kept = False
        for part in frames_and_damage(path):
            if isinstance(part, Damage):
                if not part.torn and not is_kept:
                    _keep(path, directory.path / name)
                    is_kept = True
                yield _Stretch(name, part)
            else:
                yield _sequence_of(part)


def _sequence_of(payload: bytes) -> int:
    try:
        batch = pb.Batch.FromString(payload)
    except DecodeError:
        return 0
    kind = batch.WhichOneof("message")
    return int(getattr(batch, kind).sequence) if kind not in (None, "open") else 0


def _keep(path: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        try:
            os.link(path, target)
        except PermissionError:  # a file system without links
            shutil.copyfile(path, target)


def _name(worker: int, parts: Iterable[int | _Stretch], found: SegmentDamage) -> None:
    last, open_stretches = 0, list[_Stretch]()
    for part in parts:
        if isinstance(part, _Stretch):
            open_stretches.append(part)
            continue
        if open_stretches:
            missing = part - 1 - last
            which = f"batch {last + 1}" if missing == 1 else f"batches {last + 1} to {part - 1}"
            _say(worker, which if missing > 0 else "", open_stretches, found)
            open_stretches.clear()
        last = max(last, part)
    if open_stretches:
        _say(worker, f"what followed batch {last}", open_stretches, found)


def _say(worker: int, which: str, stretches: list[_Stretch], found: SegmentDamage) -> None:
    damaged = [one for one in stretches if not one.damage.torn]
    for one in stretches:
        if one.damage.torn and which:
            found.notes.append(
                f"worker {worker}: a batch was being stored when the service died; its first "
                f"{one.damage.size_bytes} bytes were left out"
            )
    if not damaged:
        return
    where = ", ".join(
        f"{one.damage.size_bytes} bytes at {one.damage.offset} of {one.name}" for one in damaged
    )
    if which:
        found.gaps.append(f"worker {worker}: damaged on the disk: {which} ({where})")
    else:
        found.notes.append(f"worker {worker}: damaged on the disk, no batch was lost: {where}")

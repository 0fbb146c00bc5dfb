"""A run that a killed service left in the middle: what the next service needs to go on with it.

Decides from journal and host whether a run can be gone on with; how it then ends is the conductor's
affair. Only on the same boot of the same host: its monotonic clock must still count from the same
zero, since the common start was named by it. Blocking: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import SeriesFacts, SutFacts
from loadgen_service.core.plan.plan import SeriesPlan, plan_series, series_specs
from loadgen_service.core.run_state import RunState
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError
from loadgen_service.qsl.library import open_library
from loadgen_service.service.run.preparation import DataFacts, Prepared
from loadgen_service.service.run.recovery import (
    DIED,
    counts_from_journal,
    facts_from_journal,
    spec_of_start,
)
from loadgen_service.service.run.run import Run
from loadgen_service.service.storage.journal import Entry, JournalScan, entries_of, scan_journal
from loadgen_service.service.storage.run_directory import RunDirectories, RunDirectory

WENT_ON = f"{DIED} and was started again; the workers went on meanwhile"
NO_SECRETS = (
    "the SUTs were not told or asked anything after the service died: "
    "values of --header died with it; give them as env: or file:"
)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Resumption:
    """A run, and how far it had come. ``running``: the journal's start of the series that had
    begun and not ended; ``stop``: the last stop that was told to it."""

    run: Run
    prepared: Prepared
    workers: Sequence[Entry]
    plans: Sequence[SeriesPlan]
    series: Sequence[SeriesFacts]
    searched: Sequence[bool]
    gaps: Sequence[str]
    running: Entry | None
    running_plan: SeriesPlan | None
    stop: Entry | None


def boot_id() -> str:
    """Names this boot of this host; empty where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def find_resumption(store: RunDirectories) -> Resumption | None:
    """The newest unfinished run, if it can be gone on with; it is the only one with workers.

    Its directory is claimed then. A run that another process is writing is left to it.
    """
    directories = store.unfinished()
    if not directories or not store.claim(directories[-1]):
        return None
    found = _found(directories[-1])
    if found is None:
        store.release(directories[-1])
    return found


def _found(directory: RunDirectory) -> Resumption | None:
    scan = scan_journal(directory.path)
    try:
        if scan.gaps or not _can_go_on(scan.entries):
            return None
        return _resumption(directory, scan)
    except (LoadgenError, ValueError, KeyError, TypeError):
        return None  # another version's journal: partial results are still made from it


def _can_go_on(entries: list[Entry]) -> bool:
    if not entries_of(entries, "start") or entries_of(entries, "given_up"):
        return False
    known = boot_id()
    return bool(known) and entries_of(entries, "run")[0]["boot_id"] == known


def _resumption(directory: RunDirectory, scan: JournalScan) -> Resumption:
    entries = scan.entries
    run_entry = entries_of(entries, "run")[0]
    settings = Settings.model_validate(run_entry["settings"])
    prepared = _prepared(settings, entries_of(entries, "prepared")[0])
    ended = entries_of(entries, "series")
    starts = {entry["series_index"]: entry for entry in entries_of(entries, "start")}
    plans = [_plan(settings, prepared, start) for _, start in sorted(starts.items())]
    going_on = starts.get(len(ended))
    all_stops = entries_of(entries, "stop")
    stops = [stop for stop in all_stops if stop["series_index"] == len(ended)]
    run = Run(run_entry["run_id"], settings, directory)
    run.state = RunState.RUNNING if going_on else RunState.DRAINING
    run.series_count = len(prepared.specs)
    run.t0_ns = max(start["t0_ns"] for start in starts.values())
    run.sut_addresses = [sut.address for sut in prepared.suts]
    run.stop_requests = int(any(stop["by_a_person"] for stop in all_stops))
    _note(run, ended)
    for text in scan.notes:
        run.note(text)
    return Resumption(
        run=run,
        prepared=prepared,
        workers=entries_of(entries, "worker"),
        plans=plans[: len(ended)],
        series=[facts_from_journal(entry["facts"]) for entry in ended],
        searched=[entry["passed"] for entry in entries_of(entries, "searched")],
        gaps=ended[-1]["gaps"] if ended else (),
        running=going_on,
        running_plan=plans[-1] if going_on else None,
        stop=stops[-1] if stops else None,
    )


def _note(run: Run, ended: list[Entry]) -> None:
    for text in ended[-1]["notes"] if ended else ():
        run.note(text)
    run.note(WENT_ON)
    if has_lost_secrets(run.settings):
        run.note(NO_SECRETS)


def has_lost_secrets(settings: Settings) -> bool:
    """Whether literal header values were blanked before the settings were written down."""
    return any(header.endswith("=***") for header in settings.header)


def _prepared(settings: Settings, entry: Entry) -> Prepared:
    counts = counts_from_journal(entry)
    trace = entry["trace_ns"]
    return Prepared(
        descriptions=(),
        suts=tuple(SutFacts(**sut) for sut in entry["suts"]),
        data=DataFacts(
            name=entry["dataset_name"],
            content_hash=entry["dataset_hash"],
            preprocess_ns=entry["preprocess_ns"],
            inputs=_inputs(entry),
            batched=entry["batched"],
            labels=_labels(settings, entry),
        ),
        arena=None,
        counts=counts,
        trace_ns=None if trace is None else np.array(trace, dtype=np.int64),
        specs=tuple(series_specs(settings, counts)),
        plan_hash=entry["plan_hash"],
        workload_hash=entry["workload_hash"],
        has_sut_proto=entry["has_sut_proto"] and not has_lost_secrets(settings),
    )


def _inputs(entry: Entry) -> tuple[pb.TensorMetadata, ...]:
    return tuple(
        pb.TensorMetadata(name=name, datatype=datatype, shape=shape, optional=any(optional))
        for name, datatype, shape, *optional in entry["inputs"]
    )


def _labels(settings: Settings, entry: Entry) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Only accuracy needs them; the data set is opened again, and must still be the same."""
    if "accuracy" not in settings.series_kinds:
        return None
    library = open_library(settings, _inputs(entry), entry["batched"])
    return library.labels if library.dataset_hash == entry["dataset_hash"] else None


def _plan(settings: Settings, prepared: Prepared, start: Entry) -> SeriesPlan:
    spec = spec_of_start(list(prepared.specs), start)
    return plan_series(settings, prepared.counts, spec, prepared.trace_ns)

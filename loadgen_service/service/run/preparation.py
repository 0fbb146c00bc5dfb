"""All that precedes load: SUT metadata, data, plan hash, and workers that agree about them.

Whatever is wrong here is found before the first request, and is one line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.facts.run import SutFacts
from loadgen_service.core.plan.arrivals import parse_trace, trace_to_bytes
from loadgen_service.core.plan.mt19937 import Int64Array
from loadgen_service.core.plan.plan import (
    SampleCounts,
    SeriesSpec,
    plan_hash,
    series_specs,
    workload_hash,
)
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS, NS_PER_S
from loadgen_service.errors import RunError, SettingsError, SutError
from loadgen_service.qsl.arena.builder import ArenaFile, build_arena
from loadgen_service.qsl.input_specs import is_batched
from loadgen_service.qsl.library import open_library
from loadgen_service.service.results.trace_export import require_exporter
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import LeasedWorkers, Worker

DESCRIBE_MARGIN_NS = 20 * NS_PER_S
"""Beyond the connect timeout: a server may still be loading its model."""

PREPARE_TIMEOUT_NS = 300 * NS_PER_S
"""A worker may have to fetch gigabytes of samples and plan millions of queries."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data that is sent. ``inputs``: the SUTs' tensors that it was made for; ``batched``: they
    have a batch dimension; ``preprocess_ns``: of a sample; ``labels``: int64 by sample."""

    name: str
    content_hash: str
    preprocess_ns: int | None
    inputs: tuple[pb.TensorMetadata, ...]
    batched: bool
    labels: np.ndarray[Any, np.dtype[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is settled before load, and what the results need again at the end.

    ``descriptions`` and ``arena`` are what workers are prepared with: a run that is gone on with
    after the service died has none. ``has_sut_proto``: some SUT offers load, flush and clock.
    """

    descriptions: tuple[pb.SutDescription, ...]
    suts: tuple[SutFacts, ...]
    data: DataFacts
    arena: ArenaFile | None
    counts: SampleCounts
    trace_ns: Int64Array | None
    specs: tuple[SeriesSpec, ...]
    plan_hash: str
    workload_hash: str
    has_sut_proto: bool


async def prepare(run: Run, leased: LeasedWorkers) -> Prepared:
    """Describe the SUTs, open the data, plan, and prepare every worker.

    Raises LoadgenError with one line; Interrupted where a person stopped it.
    """
    settings = run.settings
    if not settings.sut:
        raise SettingsError("sut: name at least one, such as --sut grpc://127.0.0.1:8001")
    require_exporter(settings)
    trace_ns = await asyncio.to_thread(read_trace, settings)
    reply = await leased.control(
        pb.Control(settings_json=settings.model_dump_json(), describe=pb.Describe()),
        settings.connect_timeout_ms * NS_PER_MS + DESCRIBE_MARGIN_NS,
        run.is_stopped,
    )
    require_equal_tensors(reply.suts)
    _note_lacking(run, reply)
    run.sut_addresses = [description.address for description in reply.suts]
    prepared = await asyncio.to_thread(_prepare_data, settings, tuple(reply.suts), trace_ns)
    await prepare_workers(run, leased, prepared)
    return prepared


def read_trace(settings: Settings) -> Int64Array | None:
    """Due times of ``trace_file``, None for other arrivals. Raises SettingsError."""
    if settings.arrivals != "trace" or SCENARIOS[settings.scenario].due != "arrivals":
        return None
    try:
        text = Path(settings.trace_file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SettingsError(
            f"trace_file {settings.trace_file}: {reason}; give a file with one time in ms a line"
        ) from None
    return parse_trace(text, f"trace_file {settings.trace_file}")


def require_equal_tensors(suts: Sequence[pb.SutDescription]) -> None:
    """SUTs of one run must take and give the same tensors. Raises SutError naming the odd one."""
    if not suts:
        raise RunError("the elected worker described no SUT")
    first = suts[0]
    for other in suts[1:]:
        for role, one, two in (
            ("inputs", first.inputs, other.inputs),
            ("outputs", first.outputs, other.outputs),
        ):
            if _names(one) != _names(two):
                raise SutError(
                    f"{other.address}: its {role} are {_names(two)}, those of {first.address} are "
                    f"{_names(one)}; SUTs of one run must serve the same model"
                )


def _names(tensors: Sequence[pb.TensorMetadata]) -> str:
    return ", ".join(f"{t.name} {t.datatype} {list(t.shape)}" for t in tensors) or "none"


def _note_lacking(run: Run, reply: pb.ControlReply) -> None:
    if reply.lacking:
        run.note(f"the SUTs do not offer: {', '.join(sorted(reply.lacking))}")


def _prepare_data(
    settings: Settings,
    descriptions: tuple[pb.SutDescription, ...],
    trace_ns: Int64Array | None,
) -> Prepared:
    """In a thread: open the library, plan, make the arena."""
    inputs = descriptions[0].inputs
    max_batch_size = descriptions[0].max_batch_size if descriptions[0].has_config else None
    library = open_library(settings, inputs, is_batched(inputs, max_batch_size))
    counts = SampleCounts(
        library.total_sample_count, library.performance_sample_count, library.sequences
    )
    specs = tuple(series_specs(settings, counts))
    # The hash before the arena: a plan that cannot be made should not cost an hour of decoding.
    hashed = plan_hash(settings, counts, trace_ns)
    needed = np.unique(np.concatenate([spec.loaded for spec in specs]))
    arena = build_arena(library, needed)
    return Prepared(
        descriptions=descriptions,
        suts=tuple(
            SutFacts(
                sut_index=d.sut_index,
                address=d.address,
                name=d.name,
                platform=d.platform,
            )
            for d in descriptions
        ),
        data=DataFacts(
            name=library.name,
            content_hash=library.dataset_hash,
            preprocess_ns=arena.preprocess_ns,
            inputs=tuple(inputs),
            batched=library.batched,
            labels=library.labels,
        ),
        arena=arena,
        counts=counts,
        trace_ns=trace_ns,
        specs=specs,
        plan_hash=hashed,
        workload_hash=workload_hash(settings, counts, library.dataset_hash),
        has_sut_proto=any(description.has_sut_proto for description in descriptions),
    )


async def prepare_workers(run: Run, leased: LeasedWorkers, prepared: Prepared) -> None:
    """Give every worker its part and require that all derive the same plan."""
    for worker in leased.workers:
        message = prepare_message(run, prepared, worker, len(leased.workers))
        worker.send(pb.ToWorker(prepare=message))
    await leased.wait(
        lambda: all(worker.ready is not None for worker in leased.workers),
        PREPARE_TIMEOUT_NS,
        "workers were not ready (samples fetched, connected to the SUTs)",
        run.is_stopped,
    )
    for worker in leased.workers:
        assert worker.ready is not None
        if worker.ready.plan_hash != prepared.plan_hash:
            raise RunError(
                f"worker {worker.index} on {worker.host} (version {worker.version}) derived plan "
                f"{worker.ready.plan_hash}, the service {prepared.plan_hash}: install the same "
                "version on both"
            )


def prepare_message(run: Run, prepared: Prepared, worker: Worker, worker_count: int) -> pb.Prepare:
    """What a worker needs to derive and issue its rows."""
    arena = prepared.arena
    assert arena is not None
    return pb.Prepare(
        run_id=run.run_id,
        settings_json=run.settings.model_dump_json(),
        worker_index=worker.index,
        worker_count=worker_count,
        epoch=worker.epoch,
        suts=prepared.descriptions,
        arena=pb.Arena(
            content_hash=arena.content_hash,
            size_bytes=arena.size_bytes,
            # Only a worker of this host can map our file; the others fetch its content.
            path=str(arena.path) if worker.host == gethostname() else "",
            tensors=[
                pb.TensorMetadata(name=t.name, datatype=t.datatype, shape=t.shape)
                for t in arena.tensors
            ],
            batched=prepared.data.batched,
        ),
        total_sample_count=prepared.counts.total,
        performance_sample_count=prepared.counts.performance,
        expected_plan_hash=prepared.plan_hash,
        trace_ns=trace_to_bytes(prepared.trace_ns),
        sequences=prepared.counts.sequences.to_bytes() if prepared.counts.sequences else b"",
    )

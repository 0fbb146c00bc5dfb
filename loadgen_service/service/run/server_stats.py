"""Asks the SUTs what they counted, before and after one series, through the elected worker.

Two control calls a series and none while it runs. What is not to be had is told in words and
stops no run; what the figures mean is computed in ``core.server_statistics``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from google.protobuf.message import DecodeError
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.core.facts.server_stats import (
    TIMES,
    ModelReading,
    ServerFacts,
)
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError
from loadgen_service.service.run.run import Run
from loadgen_service.service.run.worker_sessions import LeasedWorkers
from loadgen_service.service.storage.journal import Entry

READ_TIMEOUT_NS: Final = 5 * NS_PER_S
CUT_SHORT: Final = "the series was cut short before the second reading"
UNKNOWN_BEFORE: Final = "the service was restarted during the series, which lost the first reading"


class SeriesStatistics:
    """The readings around one series; without any where the settings ask for none."""

    def __init__(self, run: Run, leased: LeasedWorkers) -> None:
        self._run = run
        self._leased = leased
        self._mode = run.settings.server_statistics
        self._facts: ServerFacts | None = None
        self._is_asked_again = False

    async def read_before(self) -> None:
        """The sums before the load. Raises Interrupted only."""
        if self._mode == "off":
            return
        readings, missing = await self._read(stoppable=True)
        self._facts = ServerFacts(before=readings, missing=missing)

    def journalled(self) -> dict[str, Any]:
        """What the start of a series writes down: nothing where there is nothing."""
        return {"server": asdict(self._facts)} if self._facts is not None else {}

    def resume(self, start: Entry) -> None:
        """Take the first reading from the journal's start of the series."""
        if self._mode == "off":
            return
        kept = start.get("server")
        if kept is not None:
            self._facts = ServerFacts.from_journal(kept)
        else:
            suts = range(len(self._run.settings.sut))
            self._facts = ServerFacts(missing=[(sut, UNKNOWN_BEFORE) for sut in suts])

    async def read_after(self) -> None:
        """The sums after the load, of the SUTs that had told theirs before."""
        facts = self._facts
        self._is_asked_again = True
        if facts is None:
            return
        if not facts.before:
            self._note(facts)
            return
        known = {one.sut_index for one in facts.before}
        readings, missing = await self._read(stoppable=False)
        told = [(sut, why) for sut, why in missing if sut in known]
        self._facts = replace(facts, after=readings, missing=(*facts.missing, *told))
        self._note(self._facts)

    def facts(self) -> ServerFacts | None:
        """What was read; None where nobody asked."""
        facts = self._facts
        if facts is None or self._is_asked_again:
            return facts
        suts = {one.sut_index for one in facts.before}
        cut = [(sut, CUT_SHORT) for sut in sorted(suts)]
        return replace(facts, missing=(*facts.missing, *cut))

    async def _read(
        self, *, stoppable: bool
    ) -> tuple[tuple[ModelReading, ...], tuple[tuple[int, str], ...]]:
        settings = self._run.settings
        call = pb.Control(settings_json=settings.model_dump_json(), statistics=pb.Statistics())
        stopped = self._run.is_stopped if stoppable else lambda: False
        try:
            reply = await self._leased.control(call, READ_TIMEOUT_NS, stopped)
        except LoadgenError as error:
            return (), tuple((sut, str(error)) for sut in range(len(settings.sut)))
        readings: list[ModelReading] = []
        missing: list[tuple[int, str]] = []
        for told in reply.statistics:
            try:
                readings += readings_of(told, settings.model)
            except DecodeError:
                missing.append((told.sut_index, "its ModelStatistics are not KServe's"))
            if told.missing:
                missing.append((told.sut_index, told.missing))
        return tuple(readings), tuple(missing)

    def _note(self, facts: ServerFacts) -> None:
        if self._mode == "on":
            for sut, why in facts.missing:
                self._run.note(f"no server statistics of sut {sut}: {why}")


def readings_of(told: pb.SutStatistics, model: str) -> Sequence[ModelReading]:
    """One SUT's sums by model version. Raises DecodeError for bytes that are not KServe's."""
    message = service_pb2.ModelStatisticsResponse.FromString(told.kserve_statistics)
    return [_reading(told.sut_index, one, model) for one in message.model_stats]


def _reading(sut_index: int, one: service_pb2.ModelStatistics, model: str) -> ModelReading:
    sums = one.inference_stats
    return ModelReading(
        sut_index=sut_index,
        model=one.name,
        version=one.version,
        composing=one.name != model,
        inference_count=one.inference_count,
        execution_count=one.execution_count,
        times={name: (getattr(sums, name).count, getattr(sums, name).ns) for name in TIMES},
        batches=tuple(
            (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns)
            for batch in one.batch_stats
        ),
    )

"""What a worker shares with SUTs on its host: its samples, and room for their answers.

Decides which regions there are and who is told of them; how memory is shared and what a request
says of it is decided in ``sut``.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.qsl.arena.builder import Arena
from loadgen_service.sut.factory import open_suts
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import RequestTensor
from loadgen_service.sut.shm.outputs import OutputSlots, PlacedAnswers, PlacedSut, unsettled
from loadgen_service.sut.shm.regions import SharedMemory
from loadgen_service.sut.shm.requests import SharedRequestBuilder
from loadgen_service.worker.issue.shard import Build


class SharedTensors:
    """The shared memory of one run on one worker. ``open`` first, ``close`` at the end."""

    def __init__(self, settings: Settings, arena: Arena, output_names: Sequence[str]) -> None:
        self._settings = settings
        self._arena = arena
        self._output_names = output_names
        self._memory = SharedMemory(settings)
        self._inputs = ""

    async def open(self, sink: Sink, *, streaming: bool) -> list[SystemUnderTest]:
        """Connected adapters whose SUTs know the regions. Raises ``UserError``."""
        size = self._settings.output_shared_memory_bytes
        if size and streaming:
            raise SettingsError(
                "output_shared_memory_bytes: the SUT answers this model in pieces, which would "
                "overwrite one another; leave it out"
            )
        answers = await self._answers(sink, size) if size else None
        suts = await open_suts(self._settings, answers or sink, streaming=streaming)
        try:
            content = self._arena.content
            region = await self._memory.share(len(content), content)
        except BaseException:
            for sut in suts:
                await sut.close()
            raise
        self._inputs = region.name
        return [PlacedSut(sut, answers) for sut in suts] if answers else suts

    async def _answers(self, sink: Sink, size: int) -> PlacedAnswers:
        settings, names = self._settings, self._output_names
        if not names:
            raise SettingsError(
                "output_shared_memory_bytes: the SUT's metadata names no outputs; leave it out"
            )
        count = settings.output_shared_memory_slots
        region = await self._memory.share(size * count * len(names))
        slots = OutputSlots(region.name, region.view, names, size, count)
        return PlacedAnswers(slots, settings.keeps_responses, sink, unsettled(settings.adapter))

    def build(self, tensors: Sequence[RequestTensor], batched: bool) -> Build:
        """What makes a request of a sample."""
        settings, arena = self._settings, self._arena
        return SharedRequestBuilder(
            settings.model,
            settings.model_version,
            tensors,
            batched,
            self._inputs,
            arena.tensors,
            arena.spans,
            None if arena.is_uniform else arena.shapes,
        ).build

    async def close(self) -> None:
        """Take the regions back from the SUTs and from this host."""
        await self._memory.close()

"""Control calls at SUTs, whatever carries them: what is asked, what comes back, what is lacking.

Untimed and few. What a SUT does not offer is reported as lacking and never an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.sut.net.addresses import parse_addresses

NO_STATISTICS: Final = "it does not offer ModelStatistics"


@dataclass(frozen=True, slots=True)
class ClockExchange:
    """One exchange with a SUT's clock: ours, theirs, theirs, ours (ns)."""

    sent_ns: int
    received_ns: int
    replied_ns: int
    returned_ns: int


@dataclass(slots=True)
class Answers:
    """What control calls brought; ``lacking`` names calls that a SUT does not offer."""

    suts: list[pb.SutDescription] = field(default_factory=list)
    clocks: dict[int, list[ClockExchange]] = field(default_factory=dict)
    statistics: list[pb.SutStatistics] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


class SutControl(Protocol):
    """Control calls at every SUT of a run. Each raises ``SutError`` with one line."""

    async def describe(self) -> Answers:
        """What every SUT says of itself and of the model; ``Answers.suts`` in their order."""

    async def load(self, samples: Sequence[int], *, unload: bool = False) -> Answers:
        """Tell every SUT which samples are about to be used, or no longer."""

    async def flush(self) -> Answers:
        """Return once every SUT has answered what it received before."""

    async def clocks(self, count: int = ...) -> Answers:
        """Exchanges with the clock of every SUT that has one."""

    async def statistics(self) -> Answers:
        """What every SUT counted of its own work, or why it has none."""


class LackingControl:
    """An async context in which every SUT lacks every control call; heirs add what theirs has."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self._settings = settings
        self._timeout_s = timeout_ns / NS_PER_S
        self._addresses = parse_addresses(settings.sut)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing stays open."""

    async def describe(self) -> Answers:
        """The addresses alone: tensors are then what ``--shape`` or the data set says."""
        suts = [
            pb.SutDescription(sut_index=index, address=str(address))
            for index, address in enumerate(self._addresses)
        ]
        return Answers(suts=suts)

    async def load(self, samples: Sequence[int], *, unload: bool = False) -> Answers:
        """Lacking."""
        return self._lacks("UnloadSamples" if unload else "LoadSamples")

    async def flush(self) -> Answers:
        """Lacking."""
        return self._lacks("Flush")

    async def clocks(self, count: int = 0) -> Answers:
        """Lacking."""
        return self._lacks("Clock")

    async def statistics(self) -> Answers:
        """Lacking."""
        missing = [
            pb.SutStatistics(sut_index=index, missing=NO_STATISTICS)
            for index in range(len(self._addresses))
        ]
        return Answers(statistics=missing)

    def _lacks(self, name: str) -> Answers:
        return Answers(lacking=[f"{name} at {address}" for address in self._addresses])

"""The elected worker's control calls: a message in, a reply out, never an exception.

Offset between two hosts' monotonic clocks, from pings.

Pure: whoever sends the pings reads the clocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError
from loadgen_service.sut.control import Answers, ClockExchange
from loadgen_service.sut.factory import descriptor_of


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One exchange: ours at send and return, theirs in between (ns)."""

    sent_ns: int
    received_ns: int
    replied_ns: int
    returned_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Time on the way, without the peer's own."""
        return (self.returned_ns - self.sent_ns) - (self.replied_ns - self.received_ns)

    @property
    def offset_ns(self) -> int:
        """Peer's clock less ours, if both ways took equally long."""
        return ((self.received_ns - self.sent_ns) + (self.replied_ns - self.returned_ns)) // 2


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """``offset_ns``: peer's clock less ours; true within ``error_ns`` at ``measured_at_ns``."""

    offset_ns: int
    error_ns: int
    measured_at_ns: int


def estimate_offset(samples: Sequence[ClockSample]) -> OffsetEstimate:
    """The offset of the exchange with the shortest round trip; its error is half of that.

    However unequal the two ways are, the true offset lies within half a round trip; so the
    shortest exchange bounds it best, and averaging the others could only add their queues.
    """
    if not samples:
        raise ValueError("no clock exchange to judge")
    best = min(samples, key=lambda sample: sample.round_trip_ns)
    return OffsetEstimate(
        offset_ns=best.offset_ns,
        error_ns=max(1, (best.round_trip_ns + 1) // 2),
        measured_at_ns=best.returned_ns,
    )


async def answer_control(control: pb.Control) -> pb.ControlReply:
    """Make the calls at every SUT within the control's deadline."""
    try:
        answers = await asyncio.wait_for(_call(control), control.timeout_ns / NS_PER_S)
    except LoadgenError as error:
        return _refusal(control, str(error), error.exit_code)
    except TimeoutError:
        name = control.WhichOneof("call")
        text = f"sut: no answer to {name} within {control.timeout_ns / NS_PER_S:g} s"
        return _refusal(control, text, 3)
    except Exception as error:  # a bug must reach the user as a line, not as silence
        return _refusal(control, f"control call failed: {type(error).__name__}: {error}", 3)
    return pb.ControlReply(
        id=control.id,
        suts=answers.suts,
        clocks=[_offset(sut, exchanges) for sut, exchanges in answers.clocks.items()],
        lacking=answers.lacking,
        statistics=answers.statistics,
    )


async def _call(control: pb.Control) -> Answers:
    settings = Settings.model_validate_json(control.settings_json)
    name = control.WhichOneof("call")
    async with descriptor_of(settings).control(settings, control.timeout_ns) as sut:
        if name == "load":
            return await sut.load(control.load.sample_index)
        if name == "unload":
            return await sut.load(control.unload.sample_index, unload=True)
        if name == "flush":
            return await sut.flush()
        if name == "clocks":
            return await sut.clocks(control.clocks.count)
        if name == "statistics":
            return await sut.statistics()
        return await sut.describe()


def _refusal(control: pb.Control, text: str, exit_code: int) -> pb.ControlReply:
    return pb.ControlReply(id=control.id, error=" ".join(text.split()), error_exit_code=exit_code)


def _offset(sut_index: int, exchanges: list[ClockExchange]) -> pb.ClockOffset:
    best = estimate_offset(
        [ClockSample(e.sent_ns, e.received_ns, e.replied_ns, e.returned_ns) for e in exchanges]
    )
    return pb.ClockOffset(
        offset_ns=best.offset_ns,
        error_ns=best.error_ns,
        measured_at_ns=best.measured_at_ns,
        peer=f"sut {sut_index}",
    )

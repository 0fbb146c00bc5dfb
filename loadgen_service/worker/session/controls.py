"""The elected worker's control calls: a message in, a reply out, never an exception."""

from __future__ import annotations

import asyncio

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_S
from loadgen_service.errors import LoadgenError
from loadgen_service.sut.control import Answers, ClockExchange
from loadgen_service.sut.factory import descriptor_of
from loadgen_service.worker.session.clock import ClockSample, estimate_offset


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

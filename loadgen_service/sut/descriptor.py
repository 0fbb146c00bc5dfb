"""What a protocol brings: its adapter, its requests and its control calls, in one descriptor.

A new protocol is a row of ``core.protocols``, a module that makes a descriptor, and its line in
``sut.factory``. The facts that the rest of the program asks for are in the row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from loadgen_service.core.settings import Settings
from loadgen_service.sut.control import SutControl
from loadgen_service.sut.interface import Parts, Sink, SystemUnderTest
from loadgen_service.sut.kserve.grpc_request import RequestTensor, ShapesOf
from loadgen_service.sut.net.addresses import SutAddress

Build = Callable[[Sequence[int]], Parts]
"""Makes the request of some samples, as it is sent. Raises ``SettingsError``."""

Mark = Callable[[Parts, int, bool, bool], Parts]
"""``(request, sequence_id, is_start, is_end) -> request``."""


@dataclass(frozen=True, slots=True)
class RequestSource:
    """What requests are made of. ``tensors_of(sample)``: its raw tensors, ordered as ``tensors``.

    ``shapes_of(sample)``: where samples have shapes of their own, else None. ``batched``: shapes
    lead with the number of samples. ``parameters``: the user's own fields of every request
    (``request_parameters``). ``streaming``: answers are asked for in pieces.
    """

    settings: Settings
    tensors: Sequence[RequestTensor]
    batched: bool
    tensors_of: Callable[[int], Sequence[bytes | memoryview]]
    shapes_of: ShapesOf | None
    streaming: bool
    parameters: dict[str, Any]


Make = Callable[[Settings, SutAddress, Sink, bool], Awaitable[SystemUnderTest]]
"""``(settings, address, sink, streaming)`` -> the adapter of one SUT, not connected yet.

Raises ``UserError`` for settings that the protocol cannot serve.
"""


@dataclass(frozen=True, slots=True)
class ProtocolDescriptor:
    """How one protocol is spoken.

    ``control(settings, timeout_ns)`` asks SUTs before and after load. ``compress`` makes a ready
    request a gzip one. ``mark`` writes a position in a sequence into a ready request; None where
    the protocol has no sequences.
    """

    make: Make
    build: Callable[[RequestSource], Build]
    control: Callable[[Settings, int], AbstractAsyncContextManager[SutControl]]
    compress: Callable[[Parts], bytes]
    mark: Mark | None = None

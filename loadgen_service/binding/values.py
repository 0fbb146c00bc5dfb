"""Plain values of the binding: enumerations, samples, responses, log settings (specification 6.4).

Names, defaults and numbers are the official binding's. Nothing here does anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class TestScenario(IntEnum):
    """LoadGen's scenarios."""

    __test__ = False  # its name is LoadGen's, and no test

    SingleStream = 0
    MultiStream = 1
    Server = 2
    Offline = 3


class TestMode(IntEnum):
    """LoadGen's run modes."""

    __test__ = False

    SubmissionRun = 0
    AccuracyOnly = 1
    PerformanceOnly = 2
    FindPeakPerformance = 3


class LoggingMode(IntEnum):
    """When LoadGen writes; here the files are written at the end, whatever is asked for."""

    AsyncPoll = 0
    EndOfTestOnly = 1
    Synchronous = 2


@dataclass(slots=True)
class QuerySample:
    """One sample to answer: ``id`` is returned with its answer, ``index`` is the library's.

    ``inputs`` is ours: the tensors that came over the network by name, where the script is served
    with some (docs/how-to/binding.md); its ``index`` is then -1.
    """

    id: int = 0
    index: int = 0
    inputs: Mapping[str, Any] | None = None


@dataclass(slots=True)
class QuerySampleResponse:
    """An answer: ``size`` bytes at the address ``data``, and how many tokens they are."""

    id: int = 0
    data: int = 0
    size: int = 0
    n_tokens: int = 0

    def content(self) -> bytes:
        """A copy of the bytes; the buffer must live until the completion call returns."""
        return ctypes.string_at(self.data, self.size) if self.size else b""


class VectorQuerySample(list[QuerySample]):
    """Several samples."""


class VectorQuerySampleResponse(list[QuerySampleResponse]):
    """Several answers."""


@dataclass(slots=True)
class LogOutputSettings:
    """Where log files go and how they are called."""

    outdir: str = "."
    prefix: str = "mlperf_log_"
    suffix: str = ""
    prefix_with_datetime: bool = False
    copy_detail_to_stdout: bool = False
    copy_summary_to_stdout: bool = False


@dataclass(slots=True)
class LogSettings:
    """What is logged. The mode and its interval change nothing, as in LoadGen."""

    log_output: LogOutputSettings = field(default_factory=LogOutputSettings)
    log_mode: LoggingMode = LoggingMode.AsyncPoll
    log_mode_async_poll_interval_ms: int = 1000
    enable_trace: bool = True

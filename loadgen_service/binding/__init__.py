"""The names of LoadGen's Python binding, so that a script changes one import and nothing else.

``import loadgen_service.binding as lg`` in place of ``import mlperf_loadgen as lg``. What a
test call then does is chosen by ``configure`` or the environment (docs/how-to/binding.md): run the
script under our engine in this process, or serve it over the network to a LoadGen elsewhere.
"""

from __future__ import annotations

from loadgen_service.binding.choice import configure
from loadgen_service.binding.handles import (
    ConstructFastSUT,
    ConstructQDL,
    ConstructQSL,
    ConstructSUT,
    DestroyFastSUT,
    DestroyQDL,
    DestroyQSL,
    DestroySUT,
)
from loadgen_service.binding.settings import TestSettings
from loadgen_service.binding.start import (
    FirstTokenComplete,
    QuerySamplesComplete,
    StartTest,
    StartTestWithLogSettings,
    stop_serving,
)
from loadgen_service.binding.values import (
    LoggingMode,
    LogOutputSettings,
    LogSettings,
    QuerySample,
    QuerySampleResponse,
    TestMode,
    TestScenario,
    VectorQuerySample,
    VectorQuerySampleResponse,
)

__all__ = [
    "ConstructFastSUT",
    "ConstructQDL",
    "ConstructQSL",
    "ConstructSUT",
    "DestroyFastSUT",
    "DestroyQDL",
    "DestroyQSL",
    "DestroySUT",
    "FirstTokenComplete",
    "LogOutputSettings",
    "LogSettings",
    "LoggingMode",
    "QuerySample",
    "QuerySampleResponse",
    "QuerySamplesComplete",
    "StartTest",
    "StartTestWithLogSettings",
    "TestMode",
    "TestScenario",
    "TestSettings",
    "VectorQuerySample",
    "VectorQuerySampleResponse",
    "configure",
    "stop_serving",
]

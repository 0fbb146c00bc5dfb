"""Our settings as the official LoadGen's TestSettings, field by field, and back.

The one place that knows both vocabularies (specification 4.1). Values are plain: enumerations go by
LoadGen's spelling. Refuses to know the official package itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS

OfficialValue = str | int | float | bool

SCENARIO_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {name: row.loadgen_name for name, row in SCENARIOS.items() if row.loadgen_name}
)
MODE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "performance": "PerformanceOnly",
        "accuracy": "AccuracyOnly",
        "submission": "SubmissionRun",
        "find_peak": "FindPeakPerformance",
    }
)

NETWORK_SUT: Final = "Network SUT: "
"""The rules want these words in the name that LoadGen logs (specification 9.3)."""

BY_INDEX_PLATFORM: Final = "mlperf_binding_by_index"
IN_PROCESS_PLATFORM: Final = "mlperf_binding_in_process"
"""What SUTs made of a script say of themselves: given sample numbers only, or no network at all."""

SAME: Final = (
    "min_duration_ms",
    "max_duration_ms",
    "min_query_count",
    "max_query_count",
    "qsl_rng_seed",
    "sample_index_rng_seed",
    "schedule_rng_seed",
    "accuracy_log_rng_seed",
    "accuracy_log_probability",
    "accuracy_log_sampling_target",
    "test05",
    "test05_qsl_rng_seed",
    "test05_sample_index_rng_seed",
    "test05_schedule_rng_seed",
    "print_timestamps",
    "performance_issue_unique",
    "performance_issue_same",
    "performance_issue_same_index",
    "sample_concatenate_permutation",
    "use_token_latencies",
    "infer_token_latencies",
    "token_latency_scaling_factor",
)
"""Fields whose name and unit are LoadGen's own."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "performance_sample_count_override": "performance_sample_count",
        "accuracy_sample_count_override": "accuracy_sample_count",
        "server_coalesce_queries": "coalesce_queries",
        "server_max_async_queries": "max_async_queries",
        "server_find_peak_qps_decimals_of_precision": "find_peak_decimals_of_precision",
        "server_find_peak_qps_boundary_step_size": "find_peak_boundary_step_size",
        "multi_stream_samples_per_query": "samples_per_query",
    }
)
"""LoadGen's name -> ours, same unit."""


def _rate(qps: OfficialValue) -> float:
    return float(qps) if float(qps) > 0 else 1.0


def _percent(quantile: OfficialValue) -> float:
    """The percentile whose hundredth, in double, is ``quantile`` or the double next to it."""
    return round(float(quantile) * 100, 10)


@dataclass(frozen=True, slots=True)
class OwnField:
    """A field of TestSettings that one scenario has: LoadGen's name, and how to and from ours."""

    official: str
    ours: str
    value: Callable[[Settings], OfficialValue]
    back: Callable[[OfficialValue], float]


def _percentile(scenario: str) -> OwnField:
    name = f"{scenario}_target_latency_percentile"
    return OwnField(name, "target_latency_percentile", lambda one: one.percentile, _percent)


def _expected_latency(scenario: str) -> OwnField:
    return OwnField(
        f"{scenario}_expected_latency_ns",
        "expected_latency_ms",
        lambda one: one.expected_latency_ms * NS_PER_MS,
        lambda ns: float(ns) / NS_PER_MS,
    )


OWN_FIELDS: Final[Mapping[str, tuple[OwnField, ...]]] = MappingProxyType(
    {
        "single_stream": (_expected_latency("single_stream"), _percentile("single_stream")),
        "multi_stream": (_expected_latency("multi_stream"), _percentile("multi_stream")),
        "server": (
            _percentile("server"),
            OwnField("server_target_qps", "target_qps", lambda one: one.target_qps, _rate),
            OwnField(
                "server_target_latency_ns",
                "target_latency_ms",
                lambda one: one.latency_limit_ns,
                lambda ns: int(ns) / NS_PER_MS,
            ),
        ),
        "offline": (
            OwnField("offline_expected_qps", "target_qps", lambda one: one.target_qps, _rate),
        ),
    }
)
"""Scenario -> the fields that LoadGen names after it."""


def official_fields(settings: Settings) -> dict[str, OfficialValue]:
    """Every field of TestSettings that this run says something about.

    Fields of other scenarios keep LoadGen's defaults. Issue threads stay 0: Python cannot register
    any, and LoadGen would wait for them for ever. The factor of inferred tokens is always given,
    since LoadGen leaves it uninitialised.
    """
    scenario = settings.scenario
    fields: dict[str, OfficialValue] = {
        "scenario": SCENARIO_NAMES[scenario],
        "mode": MODE_NAMES[settings.mode],
        "server_num_issue_query_threads": 0,
        "ttft_latency": settings.ttft_latency_ms * NS_PER_MS,
        "tpot_latency": settings.tpot_latency_ms * NS_PER_MS,
    }
    fields |= {name: getattr(settings, name) for name in SAME}
    fields |= {name: getattr(settings, ours) for name, ours in RENAMED.items()}
    return fields | {own.official: own.value(settings) for own in OWN_FIELDS[scenario]}


def settings_values(fields: Mapping[str, OfficialValue]) -> dict[str, object]:
    """Our settings, by name, from all fields of a TestSettings.

    A rate of 0 or less counts as 1, as LoadGen has it.
    """
    scenario = _name_of(SCENARIO_NAMES, fields["scenario"])
    values: dict[str, object] = {
        "scenario": scenario,
        "mode": _name_of(MODE_NAMES, fields["mode"]),
        "ttft_latency_ms": int(fields["ttft_latency"]) // NS_PER_MS,
        "tpot_latency_ms": int(fields["tpot_latency"]) // NS_PER_MS,
    }
    values |= {name: fields[name] for name in SAME}
    values |= {ours: fields[name] for name, ours in RENAMED.items()}
    return values | {own.ours: own.back(fields[own.official]) for own in OWN_FIELDS[scenario]}


def _name_of(names: Mapping[str, str], official: OfficialValue) -> str:
    return next(ours for ours, name in names.items() if name == official)


def network_sut_name(names: Iterable[str]) -> str:
    """What a log calls the SUTs of ``names``, each once.

    LoadGen escapes nothing: a quote or a newline would break its log.
    """
    name = NETWORK_SUT + "; ".join(dict.fromkeys(names))
    return " ".join(name.replace('"', "'").replace("\\", "/").split())

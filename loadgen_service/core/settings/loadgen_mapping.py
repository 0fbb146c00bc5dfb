"""Our settings as the official LoadGen's TestSettings, field by field, and back.

The one place that knows both vocabularies (specification 4.1). Values are plain: enumerations go by
LoadGen's spelling. Refuses to know the official package itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from loadgen_service.core.settings import Settings

NS_PER_MS: Final = 1_000_000

OfficialValue = str | int | float | bool

SCENARIO_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "single_stream": "SingleStream",
        "multi_stream": "MultiStream",
        "server": "Server",
        "offline": "Offline",
    }
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

_STREAMS: Final = {"single_stream": "single_stream", "multi_stream": "multi_stream"}


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
    if scenario in _STREAMS:
        fields[f"{scenario}_expected_latency_ns"] = settings.expected_latency_ms * NS_PER_MS
    if scenario in (*_STREAMS, "server"):
        fields[f"{scenario}_target_latency_percentile"] = settings.percentile
    if scenario == "server":
        fields["server_target_qps"] = settings.target_qps
        fields["server_target_latency_ns"] = settings.latency_limit_ns
    if scenario == "offline":
        fields["offline_expected_qps"] = settings.target_qps
    return fields


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
    if scenario in _STREAMS:
        expected = float(fields[f"{scenario}_expected_latency_ns"])
        values["expected_latency_ms"] = expected / NS_PER_MS
    if scenario in (*_STREAMS, "server"):
        quantile = float(fields[f"{scenario}_target_latency_percentile"])
        values["target_latency_percentile"] = _percent(quantile)
    if scenario == "server":
        values["target_qps"] = _rate(fields["server_target_qps"])
        values["target_latency_ms"] = int(fields["server_target_latency_ns"]) / NS_PER_MS
    if scenario == "offline":
        values["target_qps"] = _rate(fields["offline_expected_qps"])
    return values


def _name_of(names: Mapping[str, str], official: OfficialValue) -> str:
    return next(ours for ours, name in names.items() if name == official)


def _rate(qps: OfficialValue) -> float:
    return float(qps) if float(qps) > 0 else 1.0


def _percent(quantile: float) -> float:
    """The percentile whose hundredth, in double, is ``quantile`` or the double next to it."""
    return round(quantile * 100, 10)


def network_sut_name(names: Iterable[str]) -> str:
    """What a log calls the SUTs of ``names``, each once.

    LoadGen escapes nothing: a quote or a newline would break its log.
    """
    name = NETWORK_SUT + "; ".join(dict.fromkeys(names))
    return " ".join(name.replace('"', "'").replace("\\", "/").split())

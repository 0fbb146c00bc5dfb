"""TestSettings with LoadGen's fields and defaults, and FromConfig, which reads LoadGen's files.

Precedence and return codes are LoadGen's (specification 4.2, 4.4). The built-in file is applied for
the scenario that the call names.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from loadgen_service.binding.values import TestMode, TestScenario
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import (
    RENAMED,
    SAME,
    SCENARIO_NAMES,
    OfficialValue,
    settings_values,
)
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.mlperf.benchmarks import BENCHMARKS, ROUNDS, Benchmark
from loadgen_service.mlperf.conf.keys import (
    ConfNumber,
    ConfValue,
    builtin_keys,
    read_keys,
    seed_keys,
)
from loadgen_service.mlperf.conf.parser import parse_conf

BUILT_IN_ONLY: Final = 0
USER_CONF: Final = 1

_OFFICIAL_OF: Final = {ours: name for name, ours in RENAMED.items()}
_STATE: Final[dict[str, bool]] = {"has_read_user_conf": False}
"""LoadGen applies its built-in file before the first user.conf of a process, and never again."""


@dataclass(slots=True)
class TestSettings:
    """Every field of the official TestSettings. An unknown name is an AttributeError, as there."""

    __test__ = False

    scenario: TestScenario = TestScenario.SingleStream
    mode: TestMode = TestMode.PerformanceOnly
    single_stream_expected_latency_ns: float = 1e6
    single_stream_target_latency_percentile: float = 0.9
    multi_stream_expected_latency_ns: float = 8e6
    multi_stream_target_latency_percentile: float = 0.99
    multi_stream_samples_per_query: int = 8
    server_target_qps: float = 1.0
    server_target_latency_ns: int = 100 * NS_PER_MS
    server_target_latency_percentile: float = 0.99
    server_coalesce_queries: bool = False
    server_find_peak_qps_decimals_of_precision: int = 1
    server_find_peak_qps_boundary_step_size: float = 1.0
    server_max_async_queries: int = 0
    server_num_issue_query_threads: int = 0
    offline_expected_qps: float = 1.0
    sample_concatenate_permutation: bool = False
    min_duration_ms: int = 10_000
    max_duration_ms: int = 0
    min_query_count: int = 100
    max_query_count: int = 0
    qsl_rng_seed: int = 0
    sample_index_rng_seed: int = 0
    schedule_rng_seed: int = 0
    accuracy_log_rng_seed: int = 0
    accuracy_log_probability: float = 0.0
    accuracy_log_sampling_target: int = 0
    test05: bool = False
    test05_qsl_rng_seed: int = 0
    test05_sample_index_rng_seed: int = 0
    test05_schedule_rng_seed: int = 0
    print_timestamps: bool = False
    performance_issue_unique: bool = False
    performance_issue_same: bool = False
    performance_issue_same_index: int = 0
    performance_sample_count_override: int = 0
    accuracy_sample_count_override: int = 0
    use_token_latencies: bool = False
    ttft_latency: int = 100 * NS_PER_MS
    tpot_latency: int = 100 * NS_PER_MS
    infer_token_latencies: bool = False
    token_latency_scaling_factor: int = 0

    def FromConfig(self, path: str, model: str, scenario: str, conf_type: int = USER_CONF) -> int:
        """Apply the built-in values, a user.conf (1) or only the named file (2).

        Returns 0, -2 where the file cannot be read, -22 where it is refused; then nothing of it is
        applied.
        """
        ours = _scenario(scenario)
        if ours is None:
            return -errno.EINVAL
        if conf_type == BUILT_IN_ONLY or (
            conf_type == USER_CONF and not _STATE["has_read_user_conf"]
        ):
            self._apply_built_in(model, ours)
        if conf_type == BUILT_IN_ONLY:
            return 0
        _STATE["has_read_user_conf"] |= conf_type == USER_CONF
        try:
            text = Path(path).read_bytes().decode("latin-1")
        except OSError:
            return -errno.ENOENT
        table = parse_conf(text.split("\n"))
        if table.errors:
            return -errno.EINVAL
        for name in SCENARIO_NAMES:
            found = read_keys(table, model, name, self._tokens(), path)
            self._apply(found if name == ours else _fixed(found), name)
        return 0

    def _apply_built_in(self, model: str, scenario: str) -> None:
        row = BENCHMARKS.get(model, Benchmark())
        self._apply(builtin_keys(row, scenario, "built in"), scenario)
        self._apply(seed_keys(ROUNDS["v6.1"], "built in"), scenario)

    def _tokens(self) -> dict[str, ConfNumber]:
        return {
            "use_token_latencies": self.use_token_latencies,
            "infer_token_latencies": self.infer_token_latencies,
        }

    def _apply(self, found: Mapping[str, ConfValue], scenario: str) -> None:
        for name, value in found.items():
            field_name, number = _official(name, value.number, scenario)
            setattr(self, field_name, number)

    def official_fields(self) -> dict[str, OfficialValue]:
        """All fields by name; enumerations by LoadGen's spelling."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        values["scenario"] = TestScenario(self.scenario).name
        values["mode"] = TestMode(self.mode).name
        return values

    def to_settings(self, **more: object) -> Settings:
        """As our settings. Raises pydantic's ValidationError for what no run can follow."""
        return Settings.model_validate({**settings_values(self.official_fields()), **more})


def _scenario(name: str) -> str | None:
    return next((ours for ours, official in SCENARIO_NAMES.items() if official == name), None)


_FIXED: Final = frozenset(
    {
        "target_latency_percentile",
        "expected_latency_ms",
        "target_latency_ms",
        "target_qps",
        "samples_per_query",
        "coalesce_queries",
        "max_async_queries",
    }
)
"""Keys that LoadGen reads for their own scenario, whichever scenario a call names (4.3)."""


def _fixed(found: Mapping[str, ConfValue]) -> dict[str, ConfValue]:
    return {name: value for name, value in found.items() if name in _FIXED}


def _official(name: str, number: ConfNumber, scenario: str) -> tuple[str, Any]:
    """LoadGen's field and value for one of our settings in a scenario."""
    if name == "mode":
        known = int(number) in TestMode.__members__.values()
        return name, TestMode(int(number)) if known else TestMode.PerformanceOnly
    if name == "expected_latency_ms":
        return f"{scenario}_expected_latency_ns", float(number) * NS_PER_MS
    if name == "target_latency_percentile":
        return f"{scenario}_target_latency_percentile", number * 0.01
    if name == "target_latency_ms":
        return "server_target_latency_ns", int(number) * NS_PER_MS
    if name == "target_qps":
        pulled = SCENARIOS[scenario].pulled
        return "offline_expected_qps" if pulled else "server_target_qps", float(number)
    if name in ("ttft_latency_ms", "tpot_latency_ms"):
        return name.removesuffix("_ms"), int(number) * NS_PER_MS
    return (name if name in SAME else _OFFICIAL_OF[name]), number

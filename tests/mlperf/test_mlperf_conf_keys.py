"""Every key of the configuration files against the official LoadGen's own reading of them."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import mlperf_loadgen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen_service.mlperf.benchmarks import BENCHMARKS, ROUNDS, Benchmark
from loadgen_service.mlperf.conf.keys import (
    OFFICIAL_SCENARIO,
    ConfValue,
    builtin_keys,
    read_keys,
    seed_keys,
)
from loadgen_service.mlperf.conf.parser import parse_conf
from loadgen_service.mlperf.conf.settings import AUDIT_MODEL

UINT64 = 2**64
EXAMPLES_A_SCENARIO = 250
OTHER_MODEL = "a-model-without-a-row"
MODES = ("SubmissionRun", "AccuracyOnly", "PerformanceOnly", "FindPeakPerformance")

ALL_KEYS = (
    "mode", "qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed",
    "accuracy_log_probability", "accuracy_log_rng_seed", "accuracy_log_sampling_target",
    "test05", "test05_qsl_rng_seed", "test05_sample_index_rng_seed", "test05_schedule_rng_seed",
    "use_token_latencies", "ttft_latency", "tpot_latency", "infer_token_latencies",
    "token_latency_scaling_factor", "target_latency_percentile", "samples_per_query",
    "target_latency", "target_qps", "performance_issue_unique", "performance_issue_same",
    "performance_issue_same_index", "sample_concatenate_permutation", "coalesce_queries",
    "max_async_queries", "min_duration", "max_duration", "min_query_count", "max_query_count",
    "performance_sample_count_override", "accuracy_sample_count_override", "print_timestamps",
    "target_duration", "no_such_key",
)  # fmt: skip
VALUES = (
    "0", "1", "2", "3", "0x1", "0x1F", "010", "-1", "+5", "1e3", "2.5", ".5", "97.3", "99.9",
    "-4.5", "600000", "18446744073709551615", "18446744073709551614 7", "1.9",
)  # fmt: skip


def same(number: Any) -> Any:
    return number


def ms_to_ns(number: Any) -> Any:
    return number * 1_000_000 % UINT64


def float_ms_to_ns(number: Any) -> Any:
    return number * 1_000_000.0


def percent(number: Any) -> Any:
    return number * 0.01


def mode(number: Any) -> Any:
    name = MODES[number] if number < len(MODES) else "PerformanceOnly"
    return getattr(mlperf_loadgen.TestMode, name)


Rule = tuple[str, Callable[[Any], Any]]
# our setting -> the official field, and what becomes of the number on the way
EVERYWHERE: Mapping[str, Rule] = {
    name: (name, same)
    for name in (
        "min_duration_ms", "max_duration_ms", "min_query_count", "max_query_count",
        "performance_issue_unique", "performance_issue_same", "performance_issue_same_index",
        "sample_concatenate_permutation", "print_timestamps", "accuracy_log_rng_seed",
        "accuracy_log_sampling_target", "use_token_latencies", "infer_token_latencies",
        "token_latency_scaling_factor", "qsl_rng_seed", "sample_index_rng_seed",
        "schedule_rng_seed", "test05_qsl_rng_seed", "test05_sample_index_rng_seed",
        "test05_schedule_rng_seed",
    )
} | {
    "mode": ("mode", mode),
    "performance_sample_count": ("performance_sample_count_override", same),
    "accuracy_sample_count": ("accuracy_sample_count_override", same),
    "ttft_latency_ms": ("ttft_latency", ms_to_ns),
    "tpot_latency_ms": ("tpot_latency", ms_to_ns),
}  # fmt: skip
BY_SCENARIO: Mapping[str, Mapping[str, Rule]] = {
    "single_stream": {
        "target_latency_percentile": ("single_stream_target_latency_percentile", percent),
        "expected_latency_ms": ("single_stream_expected_latency_ns", float_ms_to_ns),
    },
    "multi_stream": {
        "target_latency_percentile": ("multi_stream_target_latency_percentile", percent),
        "expected_latency_ms": ("multi_stream_expected_latency_ns", float_ms_to_ns),
        "samples_per_query": ("multi_stream_samples_per_query", same),
    },
    "server": {
        "target_latency_percentile": ("server_target_latency_percentile", percent),
        "target_latency_ms": ("server_target_latency_ns", ms_to_ns),
        "target_qps": ("server_target_qps", same),
        "coalesce_queries": ("server_coalesce_queries", same),
        "max_async_queries": ("server_max_async_queries", same),
    },
    "offline": {"target_qps": ("offline_expected_qps", same)},
}


def rules(scenario: str) -> dict[str, Rule]:
    return {**EVERYWHERE, **BY_SCENARIO[scenario]}


def official(model: str, scenario: str, path: pathlib.Path | None) -> Any:
    """Built-in values, then the named file alone: what one call of type 1 does in a new process."""
    theirs = mlperf_loadgen.TestSettings()
    assert theirs.FromConfig("", model, OFFICIAL_SCENARIO[scenario], 0) == 0
    if path is not None:
        theirs.FromConfig(str(path), model, OFFICIAL_SCENARIO[scenario], 2)
    return theirs


def builtin(model: str, scenario: str) -> dict[str, ConfValue]:
    row = BENCHMARKS.get(model, Benchmark())
    return builtin_keys(row, scenario, "built-in") | seed_keys(ROUNDS["v6.1"], "round")


def assert_same(ours: Mapping[str, ConfValue], theirs: Any, scenario: str) -> None:
    """Each setting that was read is the official one; each that was not has the default there."""
    untouched = mlperf_loadgen.TestSettings()
    for name, (field, convert) in rules(scenario).items():
        if name == "token_latency_scaling_factor" and name not in ours:
            continue  # the official field is not initialised
        default = getattr(untouched, field)
        expected = convert(ours[name].number) if name in ours else default
        assert getattr(theirs, field) == expected, f"{name}: {ours.get(name)}"


def lines_of(model: str) -> st.SearchStrategy[list[str]]:
    models = st.sampled_from([model, "*", "*", OTHER_MODEL + "2"])
    scenarios = st.sampled_from(["*", *OFFICIAL_SCENARIO.values()])
    line = st.builds(
        "{}.{}.{} = {}".format,
        models,
        scenarios,
        st.sampled_from(ALL_KEYS),
        st.sampled_from(VALUES),
    )
    odd = st.sampled_from(["# a comment", "#alone", "*.*.min_duration=5", "", "*.*.max_duration"])
    return st.lists(st.one_of(line, line, line, odd), max_size=40)


@pytest.mark.parametrize("scenario", OFFICIAL_SCENARIO)
@settings(
    max_examples=EXAMPLES_A_SCENARIO,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), model=st.sampled_from([*BENCHMARKS, OTHER_MODEL]))
def test_a_drawn_file_is_read_as_the_official_one_reads_it(
    scenario: str, data: st.DataObject, model: str, tmp_path: pathlib.Path
) -> None:
    lines = data.draw(lines_of(model))
    path = tmp_path / "user.conf"
    path.write_text("\n".join(lines) + "\n")
    below = builtin(model, scenario)
    before = {name: value.number for name, value in below.items()}
    ours = below | read_keys(parse_conf(lines), model, scenario, before)
    assert_same(ours, official(model, scenario, path), scenario)


@pytest.mark.parametrize("scenario", OFFICIAL_SCENARIO)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_drawn_audit_file_is_read_as_the_official_one_reads_it(
    scenario: str, data: st.DataObject, tmp_path: pathlib.Path
) -> None:
    lines = data.draw(lines_of("bert"))
    path = tmp_path / "audit.config"
    path.write_text("\n".join(lines) + "\n")
    theirs = mlperf_loadgen.TestSettings()
    theirs.FromConfig(str(path), AUDIT_MODEL, OFFICIAL_SCENARIO[scenario], 2)
    ours = read_keys(parse_conf(lines), AUDIT_MODEL, scenario, {})
    assert_same(ours, theirs, scenario)


@pytest.mark.parametrize("scenario", OFFICIAL_SCENARIO)
@pytest.mark.parametrize("model", [*BENCHMARKS, OTHER_MODEL])
def test_builtin_values_become_the_official_settings(model: str, scenario: str) -> None:
    assert_same(builtin(model, scenario), official(model, scenario, None), scenario)


TYPE_1 = """
import sys, mlperf_loadgen
settings = mlperf_loadgen.TestSettings()
assert settings.FromConfig(*sys.argv[1:4], 1) == 0
print([repr(getattr(settings, name)) for name in sys.argv[4:]])
"""


@pytest.mark.parametrize("scenario", OFFICIAL_SCENARIO)
def test_one_call_for_user_conf_is_builtin_then_file(scenario: str, tmp_path: pathlib.Path) -> None:
    lines = [f"*.*.{key} = {index + 2}" for index, key in enumerate(ALL_KEYS)]
    path = tmp_path / "user.conf"
    path.write_text("\n".join(lines) + "\n")
    fields = [field for field, _ in rules(scenario).values() if "scaling" not in field]
    arguments = [str(path), "bert", OFFICIAL_SCENARIO[scenario], *fields]
    answer = subprocess.run(
        [sys.executable, "-c", TYPE_1, *arguments], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    ours = official("bert", scenario, path)
    assert answer.stdout.strip() == str([repr(getattr(ours, field)) for field in fields])


def test_a_value_knows_its_line() -> None:
    lines = ["# rates", "*.Server.target_qps = 5", "m.Server.target_qps = 7"]
    table = parse_conf(lines)
    found = read_keys(table, "m", "server", {}, "user.conf")
    assert found["target_qps"] == ConfValue(7.0, "user.conf:3 (m.Server.target_qps)")
    found = read_keys(table, "n", "server", {}, "user.conf")
    assert found["target_qps"] == ConfValue(5.0, "user.conf:2 (*.Server.target_qps)")

"""The keys of LoadGen's configuration files: which are read, how, and for which setting.

Specification 4.3 as a table, and the built-in file as the same kind of values. Values keep the
file's units (ms, percent); files and precedence are another file's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from loadgen_service.mlperf.benchmarks import (
    MIN_DURATION_MS,
    MULTI_STREAM_QUERY_COUNT,
    SINGLE_STREAM_LATENCY_MS,
    Benchmark,
    RoundSeeds,
)
from loadgen_service.mlperf.conf.parser import ConfTable, as_integer, as_number

ConfNumber = int | float | bool

OFFICIAL_SCENARIO: Final[Mapping[str, str]] = MappingProxyType(
    {
        "single_stream": "SingleStream",
        "multi_stream": "MultiStream",
        "server": "Server",
        "offline": "Offline",
    }
)

_EITHER: Final = ("SingleStream", "MultiStream", "Server", "Offline")


@dataclass(frozen=True, slots=True)
class ConfValue:
    """A number in the file's unit, and where it was read: ``user.conf:3 (*.*.min_duration)``."""

    number: ConfNumber
    source: str


@dataclass(frozen=True, slots=True)
class ConfKey:
    """One key: the setting it feeds, how its value is read, and whose entry is looked up.

    ``look_up``: LoadGen's scenario whose entry is read; empty: the run's own. ``holds_in``: the
    scenarios in which our setting of that name means it. ``only_if``: read only where that other
    setting is then true.
    """

    name: str
    field: str
    read: Callable[[str], ConfNumber] = as_integer
    look_up: str = ""
    holds_in: tuple[str, ...] = _EITHER
    only_if: str = ""


def is_one(token: str) -> bool:
    """LoadGen's strict switches: on if the integer is 1."""
    return as_integer(token) == 1


def is_set(token: str) -> bool:
    """LoadGen's lenient switches: on if the integer is not 0."""
    return as_integer(token) != 0


def _fixed(
    name: str, field: str, read: Callable[[str], ConfNumber], *scenarios: str
) -> list[ConfKey]:
    return [ConfKey(name, field, read, look_up=one, holds_in=(one,)) for one in scenarios]


CONF_KEYS: Final[tuple[ConfKey, ...]] = (
    ConfKey("mode", "mode"),
    ConfKey("min_duration", "min_duration_ms"),
    ConfKey("max_duration", "max_duration_ms"),
    ConfKey("min_query_count", "min_query_count"),
    ConfKey("max_query_count", "max_query_count"),
    ConfKey("performance_sample_count_override", "performance_sample_count"),
    ConfKey("accuracy_sample_count_override", "accuracy_sample_count"),
    ConfKey("performance_issue_unique", "performance_issue_unique", is_set),
    ConfKey("performance_issue_same", "performance_issue_same", is_set),
    ConfKey("performance_issue_same_index", "performance_issue_same_index"),
    ConfKey("sample_concatenate_permutation", "sample_concatenate_permutation", is_one),
    ConfKey("print_timestamps", "print_timestamps", is_set),
    ConfKey("accuracy_log_rng_seed", "accuracy_log_rng_seed"),
    ConfKey("accuracy_log_sampling_target", "accuracy_log_sampling_target"),
    *_fixed("target_latency_percentile", "target_latency_percentile", as_number, *_EITHER[:3]),
    *_fixed("target_latency", "expected_latency_ms", as_number, "SingleStream", "MultiStream"),
    *_fixed("target_latency", "target_latency_ms", as_integer, "Server"),
    *_fixed("target_qps", "target_qps", as_number, "Server", "Offline"),
    *_fixed("samples_per_query", "samples_per_query", as_integer, "MultiStream"),
    *_fixed("coalesce_queries", "coalesce_queries", is_set, "Server"),
    *_fixed("max_async_queries", "max_async_queries", as_integer, "Server"),
    ConfKey("use_token_latencies", "use_token_latencies", is_one),
    ConfKey("ttft_latency", "ttft_latency_ms", look_up="Server", only_if="use_token_latencies"),
    ConfKey("tpot_latency", "tpot_latency_ms", look_up="Server", only_if="use_token_latencies"),
    ConfKey("infer_token_latencies", "infer_token_latencies", is_one),
    ConfKey(
        "token_latency_scaling_factor",
        "token_latency_scaling_factor",
        only_if="infer_token_latencies",
    ),
)
"""What a user's or an audit file may say; seeds and TEST05 come from the built-in file alone."""


READ_NAMES: Final = frozenset(key.name for key in CONF_KEYS)
UNREAD_NAMES: Final = frozenset(
    (
        *("performance_sample_count", "expected_qps", "target_duration"),
        *("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed", "accuracy_log_probability"),
        *("test05", "test05_qsl_rng_seed", "test05_sample_index_rng_seed"),
        *("test05_schedule_rng_seed", "server_num_issue_query_threads"),
    )
)
"""Names that files of published submissions carry, and LoadGen does not read from a user's file."""


def read_keys(
    table: ConfTable,
    model: str,
    scenario: str,
    before: Mapping[str, ConfNumber],
    file_name: str = "",
) -> dict[str, ConfValue]:
    """What ``table`` says for ``model`` in ``scenario`` (our name), by our setting's name.

    Settings of other scenarios are left out. ``before`` is what holds without the file: a token
    limit counts only where tokens are then judged.
    """
    official = OFFICIAL_SCENARIO[scenario]
    found: dict[str, ConfValue] = {}
    for key in CONF_KEYS:
        if official not in key.holds_in or not _is_read(key, found, before):
            continue
        name = table.name_of(model, key.look_up or official, key.name)
        if name is not None:
            source = f"{file_name}:{table.line_numbers.get(name, 0)} ({name})"
            found[key.field] = ConfValue(key.read(table.values[name]), source)
    return found


def _is_read(
    key: ConfKey, found: Mapping[str, ConfValue], before: Mapping[str, ConfNumber]
) -> bool:
    if not key.only_if:
        return True
    here = found.get(key.only_if)
    return bool(before.get(key.only_if, False) if here is None else here.number)


def builtin_keys(row: Benchmark, scenario: str, source: str) -> dict[str, ConfValue]:
    """What LoadGen's built-in file says of a benchmark, its row turned into settings.

    ``source`` is what an error says of where the value comes from.
    """
    stream = scenario in ("single_stream", "multi_stream")
    numbers: dict[str, ConfNumber] = {
        "min_duration_ms": MIN_DURATION_MS,
        "performance_sample_count": row.loaded_count,
        "accuracy_sample_count": row.accuracy_count,
        "sample_concatenate_permutation": row.equal_issue,
        "use_token_latencies": row.uses_tokens,
        "infer_token_latencies": bool(row.inferred_tokens),
    }
    if row.ttft_ms:
        numbers |= {"ttft_latency_ms": row.ttft_ms, "tpot_latency_ms": row.tpot_ms}
    if row.inferred_tokens:
        numbers["token_latency_scaling_factor"] = row.inferred_tokens
    if stream:
        single = scenario == "single_stream"
        numbers["target_latency_percentile"] = row.single_stream_percentile if single else 99.0
        numbers["expected_latency_ms"] = (
            SINGLE_STREAM_LATENCY_MS if single else row.multi_stream_latency_ms
        )
    else:
        numbers["target_qps"] = 1.0
    if scenario == "multi_stream":
        numbers |= {"min_query_count": MULTI_STREAM_QUERY_COUNT, "samples_per_query": 8}
    elif scenario == "offline" and row.offline_count:
        numbers["min_query_count"] = row.offline_count
    else:
        numbers["min_query_count"] = 100
    if scenario == "server":
        numbers |= {"target_latency_ms": row.server_latency_ms, "target_latency_percentile": 99.0}
    return {name: ConfValue(number, source) for name, number in numbers.items()}


def seed_keys(seeds: RoundSeeds, source: str) -> dict[str, ConfValue]:
    """A round's seeds as settings; those of TEST05 where the round published them."""
    names = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
    found = dict(zip(names, (seeds.qsl, seeds.sample_index, seeds.schedule), strict=True))
    if seeds.test05:
        found |= zip((f"test05_{name}" for name in names), seeds.test05, strict=True)
    return {name: ConfValue(number, source) for name, number in found.items()}

"""LoadGen's files as settings: which layer wins, and what our settings cannot follow.

Order, weakest first: our defaults, the benchmark's and the round's built-in values, user.conf, what
the user gave by flag, environment or YAML, audit.config (specification 4.4). TEST05 comes after all
and is the settings' own affair. Reads files; every mistake is one SettingsError line.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.mlperf.benchmarks import BENCHMARKS, ROUNDS, Benchmark
from loadgen_service.mlperf.conf.keys import (
    OFFICIAL_SCENARIO,
    READ_NAMES,
    UNREAD_NAMES,
    ConfNumber,
    ConfValue,
    builtin_keys,
    read_keys,
    seed_keys,
)
from loadgen_service.mlperf.conf.parser import ConfTable, parse_conf

NEWEST_ROUND: Final = "v6.1"
AUDIT_MODEL: Final = "*"
"""LoadGen reads audit.config for no model at all: entries that name one never match."""

MODES: Final = ("submission", "accuracy", "performance", "find_peak")
"""By LoadGen's number; any other number is performance."""

_LARGEST_COUNT: Final = 2**53
_OFF: Final = frozenset({"", "0", "false", "no", "off", "none"})
_SWITCHES: Final = ("mlperf_model", "round", "user_conf", "audit_config")


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings by name, and for each the source that an error names."""

    values: Mapping[str, object]
    sources: Mapping[str, str]


def mlperf_layers(asked: Mapping[str, object]) -> tuple[Layer, Layer]:
    """(what yields to the user's explicit settings, what overrides them), from those settings.

    ``asked``: explicit settings as flags, environment and YAML gave them, not yet judged. Both
    layers are empty where no MLPerf setting is among them.

    :raises SettingsError: unreadable or refused file, unknown benchmark or round, a scenario that
        LoadGen lacks, a value that no run can follow.
    """
    named = {name: str(asked.get(name, "")) for name in _SWITCHES}
    scenario = str(asked.get("scenario", Settings.model_fields["scenario"].default))
    if not any(named.values()) or scenario not in SCENARIOS:
        return Layer({}, {}), Layer({}, {})  # an unknown scenario is the settings' own complaint
    if scenario not in OFFICIAL_SCENARIO:
        given = next(name for name in _SWITCHES if named[name])
        raise SettingsError(
            f"{given}: LoadGen has no {scenario} scenario; "
            f"use one of {', '.join(OFFICIAL_SCENARIO)}, or leave {given} out"
        )
    below = _builtin_layer(named, asked, scenario)
    if named["user_conf"]:
        table = read_conf("user_conf", named["user_conf"])
        if not _is_on(asked.get("lenient_user_conf")):
            require_known_keys(table, named["user_conf"])
        _require_model(named["mlperf_model"], table)
        below |= read_keys(
            table, named["mlperf_model"], scenario, _numbers(below), named["user_conf"]
        )
    elif named["mlperf_model"]:
        _require_model(named["mlperf_model"], ConfTable())
    above: dict[str, ConfValue] = {}
    if named["audit_config"]:
        table = read_conf("audit_config", named["audit_config"])
        before = _numbers(below) | _asked_tokens(asked)
        above = read_keys(table, AUDIT_MODEL, scenario, before, named["audit_config"])
    return _layer(below), _layer(above)


def read_conf(setting: str, path: str) -> ConfTable:
    """Parse a file. Raises SettingsError naming the first refused line, its reason and a remedy."""
    try:
        # As bytes, one character each: LoadGen knows no encoding.
        text = Path(path).read_bytes().decode("latin-1")
    except OSError as error:
        raise SettingsError(
            f"{setting} {path}: {error.strerror}; name a file that can be read"
        ) from None
    table = parse_conf(text.split("\n"))
    if table.errors:
        first = table.errors[0]
        more = f" (and {len(table.errors) - 1} more)" if len(table.errors) > 1 else ""
        raise SettingsError(
            f"{path}:{first.line_number}: {first.text}; write `model.scenario.key = NUMBER`, and "
            f"a comment on a line of its own after '# '{more}"
        )
    return table


def require_known_keys(table: ConfTable, path: str) -> None:
    """Raises SettingsError for the first name that LoadGen would pass over without a word."""
    for name in table.values:
        trouble = _name_trouble(name)
        if trouble:
            at = f"{path}:{table.line_numbers.get(name, 0)}"
            raise SettingsError(
                f"{at}: {name}: {trouble}, or read the file as LoadGen does, which ignores it, "
                "with --lenient-user-conf"
            )


def _name_trouble(name: str) -> str:
    """What is wrong with a value's name, and the remedy; empty where nothing is."""
    parts = name.rsplit(".", 2)
    if len(parts) < 3:
        half = f"*.{name}" if name.count(".") else f"*.*.{name}"
        return f"names no model and scenario; write {half}"
    _, scenario, key = parts
    scenarios = ("*", *OFFICIAL_SCENARIO.values())
    if scenario not in scenarios:
        close = difflib.get_close_matches(scenario, scenarios, n=1, cutoff=0.5)
        known = f"did you mean {close[0]}?" if close else f"use one of {', '.join(scenarios)}"
        return f"LoadGen has no scenario {scenario!r}; {known} Correct it"
    if key not in READ_NAMES and key not in UNREAD_NAMES:
        close = difflib.get_close_matches(key, READ_NAMES, n=1, cutoff=0.6)
        known = f"; did you mean {close[0]}?" if close else ";"
        return f"LoadGen has no key {key!r}{known} Correct it"
    return ""


def _builtin_layer(
    named: Mapping[str, str], asked: Mapping[str, object], scenario: str
) -> dict[str, ConfValue]:
    """The benchmark's row where one or a user.conf is named, and the round's seeds."""
    layer: dict[str, ConfValue] = {}
    model, round_name = named["mlperf_model"], named["round"] or NEWEST_ROUND
    if model or named["user_conf"]:
        row = BENCHMARKS.get(model, Benchmark())
        source = f"by the built-in values of {model or 'any model'}"
        layer |= builtin_keys(row, scenario, source)
    seeds = ROUNDS.get(round_name)
    if seeds is None:
        raise SettingsError(
            f"round: no seeds of {round_name}; use one of {', '.join(ROUNDS)}, or give the seeds"
        )
    if layer or named["round"]:
        layer |= seed_keys(seeds, f"by the seeds of round {round_name}")
    if seeds.test05 is None and _is_on(asked.get("test05")) and not _gives_test05_seeds(asked):
        raise SettingsError(
            f"test05: round {round_name} published no seeds for it; give "
            "--test05-qsl-rng-seed, --test05-sample-index-rng-seed and --test05-schedule-rng-seed"
        )
    return layer


def _gives_test05_seeds(asked: Mapping[str, object]) -> bool:
    names = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
    return all(f"test05_{name}" in asked for name in names)


def _require_model(model: str, table: ConfTable) -> None:
    """Refuse a benchmark that nothing speaks of, and a file that speaks of ones nobody named."""
    # from the right: a benchmark's name may hold dots itself (wan-2.2-t2v-a14b)
    in_file = {name.rsplit(".", 2)[0] for name in table.values if name.count(".") >= 2} - {"*"}
    if not model:
        if in_file:
            raise SettingsError(
                f"mlperf_model: user_conf has values of {_listed(sorted(in_file))}; "
                "name the benchmark, such as --mlperf-model " + min(in_file)
            )
        return
    if model not in BENCHMARKS and model not in in_file:
        known = [*BENCHMARKS, *in_file]
        close = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise SettingsError(f"mlperf_model: no benchmark {model!r}; {hint}")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _numbers(layer: Mapping[str, ConfValue]) -> dict[str, ConfNumber]:
    return {name: value.number for name, value in layer.items()}


def _asked_tokens(asked: Mapping[str, object]) -> dict[str, ConfNumber]:
    names = ("use_token_latencies", "infer_token_latencies")
    return {name: _is_on(asked[name]) for name in names if name in asked}


def _is_on(value: object) -> bool:
    return value is not None and str(value).strip().lower() not in _OFF


def _layer(found: Mapping[str, ConfValue]) -> Layer:
    values = {
        name: _setting(name, value)
        for name, value in found.items()
        if not _says_nothing(name, value, found)
    }
    return Layer(values, {name: f"in {found[name].source}" for name in values})


def _says_nothing(name: str, value: ConfValue, found: Mapping[str, ConfValue]) -> bool:
    """Language models have no latency limit but those of their tokens: 0 in the built-in file."""
    tokens = found.get("use_token_latencies")
    return name == "target_latency_ms" and not value.number and bool(tokens and tokens.number)


def _setting(name: str, value: ConfValue) -> object:
    """The number as our setting takes it. Raises SettingsError for what no run can follow."""
    number = value.number
    if name == "mode":
        return MODES[int(number)] if number < len(MODES) else "performance"
    if isinstance(number, float) and not math.isfinite(number):
        raise SettingsError(f"{value.source}: {name} is {number}; give a finite number")
    if number > _LARGEST_COUNT and not name.endswith("_seed"):
        raise SettingsError(
            f"{value.source}: {name} is {number:.0f} as LoadGen reads it, which no run can reach; "
            "give a smaller number, and none below 0"
        )
    if name in ("target_latency_ms", "target_latency_percentile") and number == 0:
        raise SettingsError(
            f"{value.source}: {name} is 0 as LoadGen reads it; give more than 0"
            + (" (whole ms)" if name == "target_latency_ms" else "")
        )
    return number

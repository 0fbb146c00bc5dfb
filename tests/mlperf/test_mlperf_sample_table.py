"""What of each real log we derive from its settings alone, value by value (``-s`` shows a table).

Result lines need latencies, which these logs do not hold: test_mlperf_logs_official repeats the
runs and feeds us the official run's own instants.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from official_trace import SAMPLES, counts_of, our_settings, read_detail
from pydantic import ValidationError

from loadgen_service.core.plan.plan import SeriesSpec, peak_series, plan_series, series_specs
from loadgen_service.core.search.peak_search import PeakSearch
from loadgen_service.core.settings import Settings
from loadgen_service.mlperf.logs.parameters import effective_values, requested
from loadgen_service.mlperf.logs.values import json_text

LOGS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
PLANNED = (
    "loaded_qsl_set",
    "generated_query_count",
    "generated_samples_per_query",
    "generated_query_duration",
)

REFUSED = "invalid_settings"
"""LoadGen logs an error and waits for ever; we refuse before the run."""


def as_logged(value: Any) -> Any:
    return json.loads(json_text(value, strict=True))


def derived(values: dict[str, Any], stored: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Every value that follows from the settings, by the log's key, in order."""
    settings, counts = our_settings(values), counts_of(values)
    specs = series_specs(settings, counts)
    found: dict[str, list[Any]] = {f"requested_{k}": [value] for k, value in requested(settings)}
    found |= {f"effective_{k}": [value] for k, value in effective_values(settings, counts)}
    if settings.searches_peak:
        specs, said, loads = searched(settings, specs[0], stored["generic_message"])
        found["generic_message"] = said
    else:
        loads = len(specs)
    plans = [plan_series(settings, counts, spec) for spec in specs]
    found["loaded_qsl_set"] = [spec.loaded.tolist() for spec in specs[:loads]]
    found["generated_query_count"] = [plan.generated_query_count for plan in plans]
    found["generated_samples_per_query"] = [plan.samples_per_query for plan in plans]
    found["generated_query_duration"] = [plan.generated_duration_ns for plan in plans]
    return {key: [as_logged(value) for value in values] for key, values in found.items()}


def test_settings_that_loadgen_mends_or_hangs_on_are_refused() -> None:
    stored = read_detail(SAMPLES / REFUSED / "mlperf_log_detail.txt")
    values: dict[str, Any] = {}
    for one in stored:
        values.setdefault(one.key, one.value)
    with pytest.raises(ValidationError, match="target_qps"):
        our_settings(values)


def searched(
    settings: Settings, base: SeriesSpec, messages: list[str]
) -> tuple[list[SeriesSpec], list[str], int]:
    """The search's runs, words, and how many of them loaded samples. A rate passed where the log
    does not go below it in the end."""
    peak = float(messages[-1].rpartition(": ")[2])
    search = PeakSearch.of(settings)
    specs, widened = [], 0
    while search.next_qps is not None:
        widened += search.phase != "bisect"
        specs.append(peak_series(base, len(specs), search.next_qps))
        search.record(search.next_qps <= peak)
    assert search.peak_qps == peak
    return specs, search.messages, widened + 1


@pytest.mark.parametrize("name", [name for name in LOGS if name != REFUSED])
def test_what_follows_from_the_settings_is_as_logged(name: str, record_property: Any) -> None:
    stored: dict[str, list[Any]] = {}
    for one in read_detail(SAMPLES / name / "mlperf_log_detail.txt"):
        stored.setdefault(one.key, []).append(one.value)
    values = {key: found[0] for key, found in stored.items()}
    ours = derived(values, stored)
    keys = [key for key in stored if key.startswith(("requested_", "effective_")) or key in PLANNED]
    keys += ["generic_message"] if "generic_message" in ours else []
    differing = {key: (ours.get(key), stored[key]) for key in keys if ours.get(key) != stored[key]}
    assert differing == {}
    record_property("keys", len(keys))
    print(f"{name}: {len(keys)} of {len(keys)} keys")

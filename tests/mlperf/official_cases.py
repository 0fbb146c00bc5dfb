"""One official run of a stored sample, and our log inputs of the same instants."""

from __future__ import annotations

from pathlib import Path

from official_logs import run_official
from official_trace import (
    SAMPLES,
    Logged,
    first_values,
    official_settings,
    our_settings,
    read_detail,
    read_trace,
    rebuilt,
)

# at its own rate the official run takes 100 s
CHANGED = {"token_accuracy_Server": {"server_target_qps": 2000.0}}


class Case:
    """One official run and our files of it."""

    def __init__(self, name: str, directory: Path) -> None:
        stored = first_values(read_detail(SAMPLES / name / "mlperf_log_detail.txt"))
        tokens = [1] if "token_count_1" in name else [12, 7, 30]
        use = stored.get("requested_use_token_latencies", False)
        offline = stored["requested_scenario"] == "Offline"
        delay_ns = max(0, stored.get("result_mean_latency_ns", 0) - 60_000)
        if use and not offline:
            delay_ns = max(delay_ns, 300_000)
        run_official(
            directory,
            settings=official_settings(stored) | CHANGED.get(name, {}),
            total=stored["qsl_reported_total_count"],
            performance=stored["qsl_reported_performance_count"],
            delay_ns=[delay_ns, delay_ns // 2 * 3, delay_ns],
            first_ns=0 if offline else delay_ns // 3,
            tokens=tokens if use else None,
        )
        self.directory = directory
        self.detail = read_detail(directory / "mlperf_log_detail.txt")
        self.values = first_values(self.detail)
        settings = our_settings(
            self.values,
            infer_token_latencies="inferred" in name,
            token_latency_scaling_factor=69 if "inferred" in name else 0,
        )
        trace = read_trace(directory / "mlperf_log_trace.json")
        self.inputs = rebuilt(settings, self.values, self.detail, trace, tokens if use else None)

    def official_detail(self) -> list[Logged]:
        return [one for one in self.detail if not one.is_of_the_logger]

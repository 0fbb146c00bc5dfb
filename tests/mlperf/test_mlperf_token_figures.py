"""Our own token figures and verdict beside the official LoadGen's, of the same instants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from official_cases import Case
from official_trace import our_settings, read_trace, rebuilt

TOKENS = [12, 7, 30]
QUANTILES = {"50.00": "p50", "90.00": "p90", "99.00": "p99"}


@pytest.mark.parametrize(
    "name", [f"token_perf_{name}" for name in ("Offline", "Server", "SingleStream", "MultiStream")]
)
def test_times_limits_and_verdict_are_loadgens(name: str, tmp_path: Path) -> None:
    case = Case(name, tmp_path)
    official: dict[str, Any] = case.values
    settings = our_settings(official, strict_loadgen=False)
    trace = read_trace(tmp_path / "mlperf_log_trace.json")
    ours = rebuilt(settings, official, case.detail, trace, TOKENS).series[-1]
    tokens = ours.figures.tokens
    assert tokens is not None
    if name != "token_perf_Offline":  # there the first token is not reported
        for place, attribute in QUANTILES.items():
            ttft = official[f"result_first_token_{place}_percentile_latency_ns"]
            tpot = official[f"result_time_per_output_token_{place}_percentile_ns"]
            assert getattr(tokens.ttft_ns, attribute) == ttft
            assert getattr(tokens.loadgen_tpot_ns, attribute) == tpot
        assert tokens.early_stopping_met == official["early_stopping_met"]
    assert ours.verdict.loadgen_valid == (official["result_validity"] == "VALID")
    assert next(one for one in ours.verdict.findings if one.name == "token_answers").met

"""Time to plan QUERIES of Server: ``ours`` or ``official`` QUERIES; seconds."""

from __future__ import annotations

import sys
import tempfile
import time


def ours(queries: int) -> float:
    """One series of our plan: samples, instants, SUTs."""
    from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
    from loadgen_service.core.settings import Settings

    settings = Settings(
        scenario="server", target_qps=1000, min_duration_ms=0, min_query_count=queries
    )
    counts = SampleCounts(1024, 1024)
    started = time.monotonic()
    plan = plan_series(settings, counts, series_specs(settings, counts)[0])
    seconds = time.monotonic() - started
    assert plan.query_count >= queries
    return seconds


def official(queries: int) -> float:
    """From StartTest to its first query: it generates all before it issues one."""
    import mlperf_loadgen as lg

    first: list[float] = []

    def issue(ids: list[int], indexes: list[int]) -> None:
        first.append(time.monotonic())
        lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0) for one in ids])

    settings = lg.TestSettings()
    settings.scenario, settings.mode = lg.TestScenario.Server, lg.TestMode.PerformanceOnly
    settings.server_target_qps, settings.min_duration_ms = 1000, 0
    settings.min_query_count, settings.max_duration_ms = queries, 1
    settings.server_target_latency_ns = 10**9
    with tempfile.TemporaryDirectory() as folder:
        output = lg.LogOutputSettings()
        output.outdir = folder
        log = lg.LogSettings()
        log.log_output, log.enable_trace = output, False
        sut = lg.ConstructFastSUT(issue, lambda: None)
        qsl = lg.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
        started = time.monotonic()
        lg.StartTestWithLogSettings(sut, qsl, settings, log, "")
        lg.DestroyQSL(qsl)
        lg.DestroyFastSUT(sut)
    return first[0] - started


if __name__ == "__main__":
    print({"ours": ours, "official": official}[sys.argv[1]](int(sys.argv[2])))

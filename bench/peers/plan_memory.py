"""Memory that a worker holds for a planned Server query: QUERIES; bytes a query, at the peak."""

from __future__ import annotations

import sys
from pathlib import Path

from loadgen_service.core.pacing.pacer import Pacer
from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.settings import Settings


def peak_bytes() -> int:
    """The most that this process ever held."""
    # not ru_maxrss: a new process inherits its parent's
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    queries = int(sys.argv[1])
    settings = Settings(
        scenario="server", target_qps=1000, min_duration_ms=0, min_query_count=queries
    )
    counts = SampleCounts(1024, 1024)
    small = settings.model_copy(update={"min_query_count": 1000})
    Pacer(small, plan_series(small, counts, series_specs(small, counts)[0]), 0, 1)
    before = peak_bytes()
    pacer = Pacer(settings, plan_series(settings, counts, series_specs(settings, counts)[0]), 0, 1)
    print((peak_bytes() - before) / queries)

"""Which responses of its rows a worker keeps: all, none, or those that LoadGen would log."""

from __future__ import annotations

import numpy as np

from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan
from loadgen_service.core.settings import Settings
from loadgen_service.mlperf.logs.accuracy_log import logged_requests


def kept_responses(
    settings: Settings, counts: SampleCounts, plan: SeriesPlan, rows: range | np.ndarray
) -> bool | bytes:
    """All or none; else one byte a position of ``rows``, not 0 where the response is kept.

    Performance series keep the samples that LoadGen's accuracy log would hold, on every worker the
    same ones, whatever the number of workers.
    """
    if settings.log_responses or plan.spec.kind == "accuracy":
        return True
    if plan.spec.kind != "performance" or plan.unbounded or not settings.samples_responses:
        return False
    logged = logged_requests(settings, counts, plan)
    own = logged[rows.start : rows.stop : rows.step] if isinstance(rows, range) else logged[rows]
    return own.tobytes()

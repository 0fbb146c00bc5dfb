"""The plan of a series that plays sequences: an endless list of them, drawn from the file's.

Sequence n goes to worker n mod k, as queries do elsewhere; its requests to one SUT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from loadgen_service.core.plan.effective_settings import Effective
from loadgen_service.core.plan.sequences import (
    SequencePlay,
    SequenceSet,
    drawn_sequences,
    rows_of_sequences,
)
from loadgen_service.core.plan.series import Int16Array, SeriesPlan, SeriesSpec, frozen
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError


def plan_sequences(
    settings: Settings,
    sequences: SequenceSet,
    wanted: Effective,
    spec: SeriesSpec,
    row_count: int,
    sut_sequence: Callable[[Settings, int], Int16Array],
) -> SeriesPlan:
    """The plan of one series: some ``row_count`` rows, after which it repeats.

    ``sut_sequence(settings, n)``: SUTs of n things in turn, here of sequences. Ids of a run's
    series interleave, so that none occurs twice. Raises SettingsError if a limit leaves none.
    """
    drawn = drawn_sequences(sequences, settings.seeds.sample_index, row_count)
    samples, first_row = rows_of_sequences(sequences, drawn)
    series_count = len(settings.series_kinds) + bool(settings.warmup_duration_ms)
    play = SequencePlay(
        frozen(first_row), settings.sequence_id_start + spec.index, max(1, series_count)
    )
    if wanted.max_query_count and not play.count_within(wanted.max_query_count):
        raise SettingsError(
            f"max_query_count: the first sequence has {first_row[1]} requests, and only whole "
            f"ones are played; {wanted.max_query_count} are too few"
        )
    suts = sut_sequence(settings, len(drawn))
    return SeriesPlan(
        spec=spec,
        scenario=settings.scenario,
        effective=replace(wanted, samples_per_query=1),
        query_count=len(samples),
        samples_per_query=1,
        samples_per_request=1,
        requests_per_query=1,
        request_count=len(samples),
        samples=frozen(samples),
        loaded_position=frozen(np.searchsorted(spec.loaded, samples).astype(np.int32)),
        scheduled_ns=frozen(np.zeros(len(samples), dtype=np.int64)),
        sut_index=frozen(np.repeat(suts, np.diff(first_row))),
        generated_query_count=len(samples),
        generated_duration_ns=0,
        unbounded=True,
        sequences=play,
    )

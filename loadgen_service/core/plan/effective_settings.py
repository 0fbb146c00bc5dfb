"""From what the user asked for to what holds in one series (LoadGen, specification 1.2).

Decides counts, durations and rates; draws nothing and plans nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import MS_PER_S, NS_PER_MS, NS_PER_S
from loadgen_service.errors import SettingsError

SeriesKind = Literal["warmup", "performance", "accuracy"]

# Offline: a SUT that meets its expected rate runs a little longer than the minimum.
OFFLINE_SLACK: Final = 1.1
# Streams: a SUT up to twice as fast as promised still fills the minimum duration.
STREAM_SLACK: Final = 2
# 2**28 queries are 5 GB of plan columns; a slip of a unit should not take the host down.
LARGEST_PLAN: Final = 1 << 28
LARGEST_SAMPLE_COUNT: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """What the query sample library reports: samples in all, and samples that fit in memory.

    ``sequences``: how they form sequences, where a file of those is played.
    """

    total: int
    performance: int
    sequences: SequenceSet | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds in one series. ``generate_ns``: generated due times must reach it.

    ``target_qps``: queries a second (offline: samples). Limits of 0 mean "none".
    """

    kind: SeriesKind
    samples_per_query: int
    target_qps: float
    min_query_count: int
    target_duration_ns: int
    generate_ns: int
    max_query_count: int
    max_duration_ns: int
    max_async_queries: int
    unique: bool
    same: bool
    same_index: int
    equal_issue: bool

    @property
    def listed(self) -> bool:
        """Each sample once, from a list: its length, not the schedule, ends the series."""
        return self.kind == "accuracy" or self.unique

    @property
    def min_sample_count(self) -> int:
        """Fewest samples of a valid run."""
        return self.min_query_count * self.samples_per_query


def performance_sample_count(settings: Settings, counts: SampleCounts) -> int:
    """Samples loaded at once: the user's number, else the library's."""
    return settings.performance_sample_count or counts.performance


def accuracy_sample_count(settings: Settings, counts: SampleCounts) -> int:
    """Samples of an accuracy series over all its sets: the user's number, else the whole set."""
    return min(settings.accuracy_sample_count or counts.total, counts.total)


def check_counts(settings: Settings, counts: SampleCounts) -> None:
    """Refuse what LoadGen would only log, or read past the end for (1.2)."""
    loaded = performance_sample_count(settings, counts)
    if not 1 <= counts.total <= LARGEST_SAMPLE_COUNT:
        raise SettingsError(
            f"total_sample_count: {counts.total} samples; a plan needs 1 to {LARGEST_SAMPLE_COUNT}"
        )
    if loaded < 1:
        raise SettingsError("performance_sample_count: 0 samples; a plan needs at least 1")
    smallest = _smallest_set(settings, counts)
    if settings.performance_issue_same and settings.performance_issue_same_index >= smallest:
        raise SettingsError(
            f"performance_issue_same_index: {settings.performance_issue_same_index} is beyond "
            f"{smallest} loaded samples; give a smaller one"
        )


def _smallest_set(settings: Settings, counts: SampleCounts) -> int:
    loaded = min(performance_sample_count(settings, counts), counts.total)
    if "accuracy" not in settings.series_kinds:
        return loaded
    wanted = accuracy_sample_count(settings, counts)
    return min(loaded, wanted % loaded or loaded)


def check_fields(settings: Settings) -> None:
    """Refuse settings that no plan can follow."""
    row = SCENARIOS[settings.scenario]
    if (
        settings.performance_issue_unique
        and settings.sample_concatenate_permutation
        and row.splits_queries
        and not row.pulled
    ):
        raise SettingsError(
            "performance_issue_unique, sample_concatenate_permutation: multi_stream cannot pad "
            "queries whose samples occur once; give one of them"
        )
    if settings.min_query_count > LARGEST_PLAN:
        raise SettingsError(
            f"min_query_count: {settings.min_query_count} is more than {LARGEST_PLAN}; lower it"
        )


def target_qps(settings: Settings) -> float:
    """Rate that the scenario counts with: set, or derived from the expected latency."""
    if SCENARIOS[settings.scenario].one_worker:
        return NS_PER_S / (settings.expected_latency_ms * NS_PER_MS)
    return settings.target_qps


def effective(settings: Settings, counts: SampleCounts, kind: SeriesKind) -> Effective:
    """Settings that hold in a series of ``kind``.

    Accuracy ignores every limit. A warm-up follows ``warmup_duration_ms`` and no other count.
    """
    check_counts(settings, counts)
    check_fields(settings)
    duration_ms = settings.warmup_duration_ms if kind == "warmup" else settings.min_duration_ms
    performance = kind == "performance"
    samples = _samples_per_query(settings, counts, kind, duration_ms)
    target_ns, generate_ns = _durations(settings, kind, duration_ms)
    return Effective(
        kind=kind,
        samples_per_query=samples,
        target_qps=target_qps(settings),
        min_query_count=1 if kind == "warmup" else _min_query_count(settings, counts),
        target_duration_ns=target_ns,
        generate_ns=generate_ns,
        max_query_count=settings.max_query_count if performance else 0,
        max_duration_ns=settings.max_duration_ms * NS_PER_MS if performance else 0,
        max_async_queries=settings.max_async_queries if performance else 0,
        unique=settings.performance_issue_unique and kind != "warmup",
        same=settings.performance_issue_same,
        same_index=settings.performance_issue_same_index,
        equal_issue=settings.sample_concatenate_permutation and kind != "warmup",
    )


def _durations(settings: Settings, kind: SeriesKind, duration_ms: int) -> tuple[int, int]:
    """(target duration, span that the generated due times must reach), ns."""
    row = SCENARIOS[settings.scenario]
    if row.pulled:
        return 0, 0
    target_ns = duration_ms * NS_PER_MS
    if kind == "accuracy" or (kind == "performance" and settings.performance_issue_unique):
        return target_ns, 0
    return target_ns, target_ns * (STREAM_SLACK if row.due == "completion" else 1)


def _samples_per_query(
    settings: Settings, counts: SampleCounts, kind: SeriesKind, duration_ms: int
) -> int:
    row = SCENARIOS[settings.scenario]
    if row.one_worker and row.splits_queries:
        return settings.samples_per_query
    if not row.pulled:
        return 1
    if settings.performance_issue_unique and kind != "warmup":
        return performance_sample_count(settings, counts)
    expected = OFFLINE_SLACK * (duration_ms / MS_PER_S) * settings.target_qps
    if expected > LARGEST_PLAN:
        raise SettingsError(
            f"target_qps, min_duration_ms: {expected:.0f} samples to plan, more than "
            f"{LARGEST_PLAN}; lower one of them"
        )
    return max(1 if kind == "warmup" else settings.min_query_count, int(expected))


def _min_query_count(settings: Settings, counts: SampleCounts) -> int:
    row = SCENARIOS[settings.scenario]
    if row.pulled:
        return 1
    if settings.sample_concatenate_permutation and row.one_worker and not row.splits_queries:
        return _whole_permutations(settings, counts)
    return settings.min_query_count


def _whole_permutations(settings: Settings, counts: SampleCounts) -> int:
    """Equal issue in single_stream: pad to the library's own count, a whole one if it fits."""
    seconds = settings.min_duration_ms / MS_PER_S
    fewest = max(settings.min_query_count, int(STREAM_SLACK * seconds * target_qps(settings)))
    whole = counts.performance or performance_sample_count(settings, counts)
    return fewest + whole - fewest % whole

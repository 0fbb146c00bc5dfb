"""The pass rules of the compliance tests, on logs that were already read (specification 7).

Every rule gives one Part: the lines of its verify file, and why it failed. Measures nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from loadgen_service.mlperf.audit.logs import STREAMS, DetailLog, LoggedAnswer

TypeName = Literal["byte", "float32", "int32", "int64", "int16"]

DTYPES: Final[Mapping[str, str]] = {
    "byte": "<i1",
    "float32": "<f4",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
}

TOLERANCE: Final = 0.10
SHORT_TOLERANCE: Final = 0.20
SEEDS_TOLERANCE: Final = 0.05
"""TEST05 allowed half of what the others allow."""
SHORT_STREAM_NS: Final[Mapping[str, int]] = {"SingleStream": 200_000, "MultiStream": 1_600_000}
"""Up to such scores LoadGen's scripts take the wider tolerance. TEST04's compares rates with it."""

PASS, FAIL = "TEST PASS", "TEST FAIL"


@dataclass(frozen=True, slots=True)
class Part:
    """One half of a test: ``name`` of its verify file, what that says, why it failed (if so)."""

    name: Literal["accuracy", "performance"]
    lines: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def equal_performance(reference: DetailLog, test: DetailLog) -> Part:
    """TEST01 and custom data: the scores differ by no more than the tolerance, either way."""
    shared = _comparable(reference, test)
    if shared:
        return _performance(reference, test, shared)
    wanted, found = reference.score or 0.0, test.score or 0.0
    tolerance = _tolerance(reference.scenario, wanted, TOLERANCE)
    if wanted * (1 - tolerance) <= found <= wanted * (1 + tolerance):
        return _performance(reference, test, ())
    reason = (
        f"the score is {_change(wanted, found)} from that of the reference run, "
        f"{tolerance:.0%} are allowed either way"
    )
    return _performance(reference, test, (reason,))


def no_caching(reference: DetailLog, test: DetailLog) -> Part:
    """TEST04: repeating one sample must not be faster than the tolerance; slower is no matter."""
    shared = _comparable(reference, test)
    wanted, found = _rate(reference), _rate(test)
    limit = SHORT_STREAM_NS.get(reference.scenario, 0)
    tolerance = SHORT_TOLERANCE if wanted <= limit else TOLERANCE
    if not wanted or not found or found < wanted * (1 + tolerance):
        return _performance(reference, test, shared, _rate)
    # Said of an INVALID run too: a cache is what makes a run end before its time.
    reason = (
        f"one sample over and over is served {found / wanted:.2f} times as fast as many, "
        f"{1 + tolerance:.2f} are allowed: answers are cached"
    )
    return _performance(reference, test, (reason, *shared), _rate)


def no_worse(reference: DetailLog, test: DetailLog) -> Part:
    """TEST05: with other seeds the score is not worse by more than the tolerance."""
    shared = _comparable(reference, test)
    if shared:
        return _performance(reference, test, shared)
    wanted, found = reference.score or 0.0, test.score or 0.0
    tolerance = _tolerance(reference.scenario, wanted, SEEDS_TOLERANCE)
    if reference.scenario in STREAMS:
        kept = found < wanted * (1 + tolerance)
    else:
        kept = found > wanted * (1 - tolerance)
    reason = (
        f"the score is {_change(wanted, found)} from that of the reference run, "
        f"{tolerance:.0%} worse are allowed"
    )
    return _performance(reference, test, () if kept else (reason,))


def equal_answers(
    reference: Sequence[LoggedAnswer], logged: Sequence[LoggedAnswer], dtype: str = "byte"
) -> Part:
    """TEST01: first element (of ``dtype``) of each logged response against the accuracy run's.

    As the official script: of several entries the accuracy log's first holds, and each compared
    response takes the place of the one before it. We also compare whole responses, which that
    script does not; they are a reason of their own.
    """
    known: dict[int, bytes] = {}
    for one in reference:
        known.setdefault(one.sample_index, one.data)
    whole = dict(known)
    missing: set[int] = set()
    matched = mismatched = differing = 0
    for one in logged:
        if one.sample_index not in known:
            missing.add(one.sample_index)
            continue
        matched += 1
        mismatched += _first(known[one.sample_index], dtype) != _first(one.data, dtype)
        differing += whole[one.sample_index] != one.data
        known[one.sample_index] = one.data
    reasons = list(_answer_reasons(matched, mismatched, differing, len(logged)))
    lines = (
        "Verifying accuracy.",
        f"num_acc_log_entries = {len(reference)}",
        f"num_acc_log_duplicate_keys = {len(reference) - len(whole)}",
        f"num_perf_log_entries = {len(logged)}",
        f"num_perf_log_qsl_idx_match = {matched}",
        f"num_perf_log_data_mismatch = {mismatched}",
        f"num_perf_log_whole_data_mismatch = {differing}",
        f"num_missing_qsl_idxs = {len(missing)}",
        FAIL if reasons else PASS,
    )
    return Part("accuracy", lines, tuple(reasons))


def baseline_of(
    reference: Sequence[LoggedAnswer], logged: Sequence[LoggedAnswer]
) -> list[LoggedAnswer]:
    """The accuracy run's answers to the samples that the audited run logged, one a sample."""
    wanted = {one.sample_index for one in logged}
    first: dict[int, LoggedAnswer] = {}
    for one in reference:
        if one.sample_index in wanted:
            first.setdefault(one.sample_index, one)
    return list(first.values())


def within_delta(baseline: float, found: float, delta_percent: float) -> bool:
    """The checker's rule where answers may differ: the two accuracies differ by no more."""
    if not baseline or not found:
        return False
    return abs(1 - baseline / found) * 100 <= delta_percent


def token_rules(
    logged: Sequence[LoggedAnswer], dtype: str = "int32", eos_id: int = 2, first: bool = True
) -> Part:
    """TEST06: the first token as streamed, at most one EOS at the end, and the count reported.

    ``first`` is False in Offline, whose logs have no first token.
    """
    wrong: dict[str, list[int]] = defaultdict(list)
    for one in logged:
        tokens = _elements(one.data, dtype)
        if first and not _starts_with(tokens, _elements(one.token_data or b"", dtype)):
            wrong["first token"].append(one.sample_index)
        if _trailing(tokens, eos_id) > 1:
            wrong["EOS"].append(one.sample_index)
        if len(tokens) != one.token_count:
            wrong["sample length"].append(one.sample_index)
    reasons = [
        f"{name} check: {len(samples)} of {len(logged)} responses, first at sample {samples[0]}"
        for name, samples in wrong.items()
    ]
    if not logged:
        reasons = ["no response was logged, so nothing was checked"]
    lines = (
        f"First token check pass: {not wrong['first token'] if first else 'Skipped'}",
        f"EOS check pass: {not wrong['EOS']}",
        f"Sample length check pass: {not wrong['sample length']}",
        "TEST06 verification complete",
    )
    return Part("accuracy", lines, tuple(reasons))


def _comparable(reference: DetailLog, test: DetailLog) -> tuple[str, ...]:
    """Why the two runs cannot be compared at all."""
    found = []
    for name, log in (("reference", reference), ("audit", test)):
        if log.text("result_validity") != "VALID":
            why = log.text("result_invalid_reason") or "its log says no VALID"
            found.append(f"the {name} run is INVALID: {' '.join(why.split())}")
        if log.errors:
            found.append(f"the {name} run has {len(log.errors)} errors: {log.errors[0]}")
        if log.score is None:
            found.append(f"the {name} run has no score; was it long enough?")
    if reference.scenario != test.scenario:
        found.append(f"the runs are of two scenarios: {reference.scenario} and {test.scenario}")
    limit = "effective_target_latency_ns"
    if reference.scenario == "Server" and reference.number(limit) != test.number(limit):
        found.append("the runs have different latency limits")
    return tuple(found)


def _score(log: DetailLog) -> float:
    return log.score or 0.0


def _rate(log: DetailLog) -> float:
    """More is better, whatever the scenario."""
    score = log.score or 0.0
    return 1e9 / score if score and log.scenario in STREAMS else score


def _performance(
    reference: DetailLog,
    test: DetailLog,
    reasons: tuple[str, ...],
    measure: Callable[[DetailLog], float] = _score,
) -> Part:
    lines = (
        "Verifying performance.",
        f"reference score = {measure(reference):.10g}",
        f"test score = {measure(test):.10g}",
        f"{FAIL}: {reasons[0]}" if reasons else PASS,
    )
    return Part("performance", lines, reasons)


def _tolerance(scenario: str, reference: float, ordinary: float) -> float:
    short = reference <= SHORT_STREAM_NS.get(scenario, -1)
    return SHORT_TOLERANCE if short else ordinary


def _change(wanted: float, found: float) -> str:
    return f"{(found / wanted - 1) * 100:+.1f} %" if wanted else "far"


def _answer_reasons(matched: int, mismatched: int, differing: int, logged: int) -> Sequence[str]:
    if not logged:
        return ["the audit run logged no response, so nothing was compared"]
    if not matched:
        return ["no logged response is of a sample that the accuracy run answered"]
    if mismatched:
        return [f"{mismatched} of {matched} responses differ from the accuracy run's"]
    if differing:
        return [
            f"{differing} of {matched} responses differ from the accuracy run's beyond their first "
            "element (MLPerf's script looks no further)"
        ]
    return []


def _first(data: bytes, dtype: str) -> object:
    elements = _elements(data, dtype)
    # as bytes: not-a-number equals itself here
    return elements[:1].tobytes() if len(elements) else data[:0]


def _elements(data: bytes, dtype: str) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    kind = np.dtype(DTYPES[dtype])
    return np.frombuffer(data[: len(data) - len(data) % kind.itemsize], kind)


def _starts_with(
    tokens: np.ndarray[tuple[int], np.dtype[np.generic]],
    first: np.ndarray[tuple[int], np.dtype[np.generic]],
) -> bool:
    """As many as the shorter has; but an empty one proves nothing."""
    shared = min(len(tokens), len(first))
    return bool(shared) and bool((tokens[:shared] == first[:shared]).all())


def _trailing(tokens: np.ndarray[tuple[int], np.dtype[np.generic]], eos_id: int) -> int:
    """How many EOS stand at the end; the first token is not looked at."""
    others = np.flatnonzero(tokens[1:] != eos_id)
    last = int(others[-1]) + 1 if len(others) else 0
    return max(0, len(tokens) - 1 - last)

"""Which loaded positions each query carries (LoadGen, specification 1.6).

Decides places in the loaded list and the order in which the sample engine is consumed; refuses to
know due times, which come from another engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen_service.core.plan.effective_settings import Effective
from loadgen_service.core.plan.mt19937 import Int64Array, RandomWords, apply_swaps
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings

# Shuffles whose result nobody reads are skipped in pieces, to bound memory.
_SKIPPED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class QueryShape:
    """``loaded_count``: padded length of the set; ``loaded_end``: its length without padding.

    ``first_query_count``: queries asked for before any padding or growth. ``neighbours``: a query
    is several neighbours in loaded order (multi_stream).
    """

    loaded_count: int
    loaded_end: int
    first_query_count: int
    neighbours: bool


def sample_positions(
    seed: int, wanted: Effective, shape: QueryShape, query_count: int
) -> Int64Array:
    """Loaded positions of queries 0 .. query_count - 1, shape (query_count, samples_per_query).

    Offline (one query of everything) has its own rule: ``offline_positions``.
    """
    words = RandomWords(seed)
    stride = wanted.samples_per_query if shape.neighbours else 1
    accuracy = wanted.kind == "accuracy"
    once = _permutation(words, shape.loaded_end, stride) if accuracy else None
    unique = _permutation(words, shape.loaded_end, stride)
    concatenated = _concatenated(words, wanted, shape)
    if wanted.unique:
        starts = np.resize(unique, query_count)
    elif wanted.same:
        starts = np.full(query_count, wanted.same_index, dtype=np.int64)
    elif concatenated is not None:
        starts = np.resize(concatenated, query_count)
    elif once is not None:
        starts = np.resize(once, query_count)
    else:
        starts = words.below_many(shape.loaded_end, query_count)
    if not shape.neighbours:
        return starts.reshape(query_count, 1)
    return starts[:, None] + np.arange(wanted.samples_per_query, dtype=np.int64)


def follows_trace(settings: Settings, wanted: Effective) -> bool:
    """Whether queries carry the samples in the data set's order: line n of a trace is the arrival
    of sample n. What the user says of samples otherwise (always the same one) holds."""
    is_trace = settings.arrivals == "trace" and SCENARIOS[settings.scenario].due == "arrivals"
    return is_trace and wanted.kind == "performance" and not wanted.same


def positions_in_order(loaded: Int64Array, query_count: int) -> Int64Array:
    """Loaded positions by ascending sample number, over and over; shape (query_count, 1)."""
    return np.resize(np.argsort(loaded, kind="stable"), query_count).reshape(query_count, 1)


def offline_positions(seed: int, wanted: Effective, shape: QueryShape, count: int) -> Int64Array:
    """Loaded positions of the one query of ``count`` samples: the set over and over, in order.

    Equal issue shuffles each whole copy, always from the loaded order.
    """
    if wanted.same:
        return np.full(count, wanted.same_index, dtype=np.int64)
    whole = np.arange(shape.loaded_count, dtype=np.int64)
    if not wanted.equal_issue:
        return np.resize(whole, count)
    words = RandomWords(seed)
    if wanted.kind == "accuracy":
        _permutation(words, shape.loaded_end, 1)
    _permutation(words, shape.loaded_end, 1)
    _skip_shuffles(words, shape.loaded_count, -(-shape.first_query_count // shape.loaded_count))
    copies = [_shuffled(words, shape.loaded_count) for _ in range(count // shape.loaded_count)]
    return np.concatenate([*copies, whole[: count % shape.loaded_count]])


def _permutation(words: RandomWords, end: int, stride: int) -> Int64Array:
    order = list(range(0, end, stride))
    words.shuffle(order)
    return np.array(order, dtype=np.int64)


def _shuffled(words: RandomWords, count: int) -> Int64Array:
    return _permutation(words, count, 1)


def _concatenated(words: RandomWords, wanted: Effective, shape: QueryShape) -> Int64Array | None:
    """Whole permutations, one after another; the engine is consumed whether they are used or not.

    The list is not put back in order between rounds.
    """
    rounds = -(-shape.first_query_count // shape.loaded_count)
    if not wanted.equal_issue or shape.neighbours:
        _skip_shuffles(words, shape.loaded_count, rounds)
        return None
    order = list(range(shape.loaded_count))
    permutations = np.empty((rounds, shape.loaded_count), dtype=np.int64)
    for index in range(rounds):
        apply_swaps(order, words.swaps(shape.loaded_count))
        permutations[index] = order
    return permutations.reshape(-1)


def _skip_shuffles(words: RandomWords, length: int, rounds: int) -> None:
    at_once = max(1, _SKIPPED_AT_ONCE // length)
    for start in range(0, rounds, at_once):
        words.swaps(length, min(at_once, rounds - start))

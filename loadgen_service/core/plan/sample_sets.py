"""Which samples are loaded together, and in which order (LoadGen, specification 1.5)."""

from __future__ import annotations

import numpy as np

from loadgen_service.core.plan.mt19937 import Int64Array, RandomWords


def loaded_sets(seed: int, wanted: int, total: int, per_set: int) -> list[Int64Array]:
    """Shuffle samples 0 .. min(wanted, total) - 1 and cut them into sets of ``per_set``.

    A performance run wants ``per_set`` samples and uses the first set; accuracy wants them all.
    """
    order = list(range(min(wanted, total)))
    RandomWords(seed).shuffle(order)
    shuffled = np.array(order, dtype=np.int64)
    return [shuffled[start : start + per_set] for start in range(0, len(shuffled), per_set)]


def pad_for_neighbours(loaded: Int64Array, samples_per_query: int) -> Int64Array:
    """Append the first samples again, so that a query may start at any place of the set.

    multi_stream only; a set smaller than a query wraps more than once.
    """
    return np.resize(loaded, len(loaded) + samples_per_query - 1)

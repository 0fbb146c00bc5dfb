"""Words, integers, doubles, gaps and permutations against LoadGen's own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen_service.core.plan.mt19937 import RandomWords, apply_swaps

GOLDEN = json.loads((Path(__file__).parent / "golden_vectors.json").read_text())
QSL_SEED = 2085463073848966840
SEEDS = st.integers(0, 2**64 - 1)


def words_one_by_one(seed: int, count: int) -> list[int]:
    """The engine by numpy's bit generator, another road to the same words."""
    source = np.random.MT19937()
    source._legacy_seeding(seed & 0xFFFFFFFF)
    return [int(word) for word in source.random_raw(count)]


class PlainWords:
    """The rules of the specification, word by word."""

    def __init__(self, seed: int, word_count: int = 2_000) -> None:
        self.words = iter(words_one_by_one(seed, word_count))

    def below(self, bound: int) -> int:
        while True:
            product = next(self.words) * bound
            low = product & 0xFFFFFFFF
            if low >= bound or low >= (2**32 - bound) % bound:
                return product >> 32

    def canonical(self) -> float:
        low, high = next(self.words), next(self.words)
        return min((low + high * 2**32) / 2**64, math.nextafter(1, 0))

    def shuffle(self, values: list[int]) -> None:
        count, i = len(values), 1
        if (2**32 - 1) // max(count, 1) < count:
            for i in range(1, count):
                j = self.below(i + 1)
                values[i], values[j] = values[j], values[i]
            return
        if count and count % 2 == 0:
            j = self.below(2)
            values[1], values[j] = values[j], values[1]
            i = 2
        while i < count:
            first, second = divmod(self.below((i + 1) * (i + 2)), i + 2)
            values[i], values[first] = values[first], values[i]
            values[i + 1], values[second] = values[second], values[i + 1]
            i += 2


def test_words_are_the_golden_ones() -> None:
    golden = GOLDEN["mt19937"]
    assert RandomWords(golden["seed"]).words(8).tolist() == golden["first8_raw"]
    assert RandomWords(5489).words(4).tolist() == golden["default_5489_first4"]


def test_canonical_doubles_are_the_golden_ones() -> None:
    golden = GOLDEN["canonical_double"]
    drawn = RandomWords(golden["seed"]).canonical_many(4)
    assert [float(value).hex() for value in drawn] == golden["hex"]


@pytest.mark.parametrize("length", sorted(map(int, GOLDEN["shuffle"])))
def test_shuffle_is_the_golden_one(length: int) -> None:
    values = list(range(length))
    RandomWords(QSL_SEED).shuffle(values)
    assert values[:32] == GOLDEN["shuffle"][str(length)]


@given(seed=SEEDS, bound=st.integers(1, 2**32 - 1))
def test_many_draws_below_a_bound_are_single_ones(seed: int, bound: int) -> None:
    plain, many = PlainWords(seed), RandomWords(seed)
    assert many.below_many(bound, 50).tolist() == [plain.below(bound) for _ in range(50)]
    # The engine stands at the same word afterwards.
    assert many.below(bound) == plain.below(bound)


@given(seed=SEEDS, bounds=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=80))
def test_draws_below_each_bound_are_single_ones(seed: int, bounds: list[int]) -> None:
    plain, many = PlainWords(seed), RandomWords(seed)
    drawn = many.below_each(np.array(bounds, dtype=np.uint64)).tolist()
    assert drawn == [plain.below(bound) for bound in bounds]
    assert many.below(7) == plain.below(7)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, length=st.one_of(st.integers(0, 90), st.sampled_from([40_001, 65_535, 65_536])))
def test_shuffle_follows_the_specification(seed: int, length: int) -> None:
    ours, plain = list(range(length)), list(range(length))
    engine, judge = RandomWords(seed), PlainWords(seed, 3 * length + 100)
    engine.shuffle(ours)
    judge.shuffle(plain)
    assert ours == plain
    assert engine.below(9) == judge.below(9)


@given(seed=SEEDS, length=st.integers(0, 40), rounds=st.integers(0, 5))
def test_several_rounds_of_swaps_are_several_shuffles(seed: int, length: int, rounds: int) -> None:
    at_once, one_by_one = list(range(length)), list(range(length))
    engine = RandomWords(seed)
    apply_swaps(at_once, RandomWords(seed).swaps(length, rounds))
    for _ in range(rounds):
        engine.shuffle(one_by_one)
    assert at_once == one_by_one


@pytest.mark.parametrize("rate", [0.001, 1.0, 1000.0, 3e6, 1e9])
def test_gaps_are_those_of_the_exact_logarithm(rate: float) -> None:
    units = RandomWords(11).canonical_many(50_000).tolist()
    exact = [int(1e9 * (-math.log(1 - unit) / rate)) for unit in units]
    assert RandomWords(11).exponential_ns(rate, 50_000).tolist() == exact


def test_only_the_low_word_of_a_seed_counts() -> None:
    assert RandomWords(5).words(3).tolist() == RandomWords(5 + (7 << 32)).words(3).tolist()

"""Which of several SUTs is named as the odd one."""

from __future__ import annotations

from loadgen_service.core.stats.outliers import Sibling, outliers

MS = 1_000_000


def sut(name: str, p99_ms: float | None, issued: int = 1000, completed: int = 1000) -> Sibling:
    return Sibling(name, issued, completed, None if p99_ms is None else int(p99_ms * MS))


def test_alike_suts_are_not_named() -> None:
    assert outliers([sut("a", 10), sut("b", 12), sut("c", 14.9)]) == []
    assert outliers([sut("a", 10)]) == []
    assert outliers([]) == []


def test_the_slow_one_is_named_with_how_much() -> None:
    (said,) = outliers([sut("a", 10), sut("b", 10), sut("c", 31)])
    assert said == "outlier: c: p99 31 ms, 3.1 times its siblings' 10 ms"


def test_of_two_the_slower_is_named() -> None:
    (said,) = outliers([sut("a", 40), sut("b", 10)])
    assert said.startswith("outlier: a: p99 40 ms, 4 times")


def test_the_failing_one_is_named() -> None:
    (said,) = outliers([sut("a", 10), sut("b", 10, completed=900), sut("c", 10)])
    assert said == "outlier: b: 0.1 of its requests without a good answer, its siblings 0"


def test_a_tail_of_few_requests_says_nothing() -> None:
    few = sut("c", 90, issued=99, completed=99)
    assert outliers([sut("a", 10), sut("b", 10), few]) == []
    assert outliers([sut("a", None, 0, 0), sut("b", 10)]) == []

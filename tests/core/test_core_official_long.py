"""The plan against the official LoadGen over thousands of drawn settings: make test-long.

``-s`` shows how many were compared. The quick tier compares fifty a scenario.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_loadgen import OfficialLoadGen
from official_plans import OFFICIAL_SCENARIO, compare_plans, drawn_settings

from loadgen_service.core.scenarios import ScenarioName

COUNT = int(os.environ.get("LOADGEN_DRAWN_SETTINGS", "2000"))
"""Of each scenario."""

compared: Counter[str] = Counter()


@pytest.fixture(scope="module")
def judge() -> Iterator[OfficialLoadGen]:
    official = OfficialLoadGen()
    yield official
    official.close()


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", sorted(OFFICIAL_SCENARIO))
def test_no_drawn_setting_differs(
    judge: OfficialLoadGen, scenario: ScenarioName, record_property
) -> None:
    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), total=st.integers(4, 70), performance=st.integers(4, 40))
    def compare(data: st.DataObject, total: int, performance: int) -> None:
        compare_plans(judge, data.draw(drawn_settings(scenario)), total, performance, trace=True)
        compared[scenario] += 1

    compare()
    record_property("compared", compared[scenario])
    print(f"\n{scenario}: {compared[scenario]} settings compared, none differed")
    assert compared[scenario] >= COUNT

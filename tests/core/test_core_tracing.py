"""Which queries are traced, and under which ids."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from loadgen_service.core.plan.plan import SampleCounts, plan_series, series_specs
from loadgen_service.core.settings import Settings
from loadgen_service.core.tracing.spans import TraceIds


def a_plan(**given):
    settings = Settings(min_duration_ms=0, **{"min_query_count": 50, **given})
    counts = SampleCounts(64, 64)
    return plan_series(settings, counts, series_specs(settings, counts)[0])


NUMBERS = np.arange(200_000)


def test_the_share_of_traced_queries_is_the_rate():
    for rate in (0.001, 0.1, 0.5):
        share = TraceIds("run", a_plan(), rate).is_sampled(NUMBERS).mean()
        assert share == pytest.approx(rate, abs=5 * (rate / len(NUMBERS)) ** 0.5)


def test_rate_one_traces_all():
    assert TraceIds("run", a_plan(), 1.0).is_sampled(NUMBERS).all()


def test_a_higher_rate_traces_what_a_lower_one_did():
    few, many = (TraceIds("run", a_plan(), rate).is_sampled(NUMBERS) for rate in (0.01, 0.2))
    assert not (few & ~many).any()


def test_ids_are_the_same_on_every_host_and_others_in_another_run():
    first, again, other = (TraceIds(run, a_plan(), 0.5) for run in ("a", "a", "b"))
    assert [first.trace_id(n) for n in range(9)] == [again.trace_id(n) for n in range(9)]
    assert not {first.trace_id(n) for n in range(999)} & {other.trace_id(n) for n in range(999)}


def test_no_two_queries_share_a_trace_and_no_two_spans_an_id():
    ids = TraceIds("run", a_plan(), 1.0)
    assert len({ids.trace_id(n) for n in range(5000)}) == 5000
    spans = {ids.query_span_id(n) for n in range(5000)}
    spans |= {ids.request_span_id(n) for n in range(5000)}
    assert len(spans) == 10_000


def test_a_trace_context_is_w3c_s_version_00_with_the_sampled_flag():
    ids = TraceIds("run", a_plan(), 1.0)
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", ids.traceparent(7))
    assert found
    assert int(found[1], 16) == ids.trace_id(7)
    assert int(found[2], 16) == ids.request_span_id(7)


def test_requests_of_one_query_share_its_trace_and_those_of_offline_do_not():
    rows = np.arange(16)
    multi = TraceIds("run", a_plan(scenario="multi_stream"), 1.0)
    assert multi.unit_of(rows).tolist() == [0] * 8 + [1] * 8
    offline = TraceIds("run", a_plan(scenario="offline"), 1.0)
    assert offline.unit_of(rows).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"trace_sample_rate": 0.1}, "both or neither"),
        ({"otlp_endpoint": "http://host:4318"}, "both or neither"),
        ({"trace_sample_rate": 0.1, "otlp_endpoint": "host:4318"}, "is none; give http"),
        ({"trace_sample_rate": 0.1, "otlp_endpoint": "http://me:pw@host"}, "is none; give http"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, word):
    with pytest.raises(ValidationError, match=word):
        Settings(**given)

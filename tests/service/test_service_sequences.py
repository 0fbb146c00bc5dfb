"""Sequences outlive the service: the journal holds them, and records.parquet names them."""

from __future__ import annotations

import json

from loadgen_service.core.plan.plan import SampleCounts, hash_plans, plan_series, series_specs
from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.settings import Settings
from loadgen_service.service.results.writer import RECORD_SCHEMA, record_schema
from loadgen_service.service.run.conductor import prepared_entry
from loadgen_service.service.run.preparation import DataFacts, Prepared
from loadgen_service.service.run.recovery import counts_from_journal

PLAYED = SampleCounts(9, 4, SequenceSet.of([[0, 1, 8], [2]]))
SETTINGS = Settings(scenario="concurrency", sequences="file.jsonl")


def prepared(counts: SampleCounts) -> Prepared:
    return Prepared(
        descriptions=(),
        suts=(),
        data=DataFacts("file.jsonl", "dataset-v1:0", None, (), True),
        arena=None,
        counts=counts,
        trace_ns=None,
        specs=tuple(series_specs(SETTINGS, counts)),
        plan_hash="plan-v1:0",
        workload_hash="workload-v1:0",
        has_sut_proto=False,
    )


def plan_hash_of(counts: SampleCounts) -> str:
    return hash_plans([plan_series(SETTINGS, counts, series_specs(SETTINGS, counts)[0])])


def test_the_journal_gives_back_the_same_plan() -> None:
    line = json.dumps(prepared_entry(prepared(PLAYED), 2))
    found = counts_from_journal(json.loads(line))
    assert found.sequences is not None
    assert plan_hash_of(found) == plan_hash_of(PLAYED)


def test_a_journal_without_sequences_has_none() -> None:
    entry = prepared_entry(prepared(SampleCounts(9, 4)), 1)
    del entry["sequences"]  # as an earlier version wrote it
    assert counts_from_journal(entry) == SampleCounts(9, 4)


def test_only_records_of_sequences_name_them() -> None:
    ordinary = SampleCounts(9, 4)
    asked = Settings(scenario="concurrency")
    plans = {
        "played": plan_series(SETTINGS, PLAYED, series_specs(SETTINGS, PLAYED)[0]),
        "ordinary": plan_series(asked, ordinary, series_specs(asked, ordinary)[0]),
    }
    assert record_schema([plans["ordinary"]]) == RECORD_SCHEMA
    added = record_schema([plans["ordinary"], plans["played"]]).keys() - RECORD_SCHEMA.keys()
    assert added == {"sequence_id", "sequence_step"}

"""mlperf_log_trace.json: Chrome's trace events of every completed sample (specification 5.5).

Only what was measured: LoadGen's scopes of its own threads have no counterpart here. Always valid
JSON, which LoadGen's usually is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from loadgen_service.core.plan.series import SeriesPlan
from loadgen_service.core.records.columns import Status
from loadgen_service.core.records.request_table import RequestTable, sample_table
from loadgen_service.core.units import NS_PER_US
from loadgen_service.mlperf.logs.inputs import LogInputs
from loadgen_service.mlperf.logs.values import fraction_text

_ROWS_AT_ONCE: Final = 1 << 15
TracedSeries = tuple[SeriesPlan, RequestTable, int]
"""Plan, table and start (Unix ns) of one series."""


def trace_lines(inputs: LogInputs, series: Iterable[TracedSeries]) -> Iterator[str]:
    """Lines of the file, without their newlines."""
    yield '{"traceEvents":['
    for plan, table, start_unix_ns in series:
        begin_ns = start_unix_ns - inputs.began_unix_ns
        for start in range(0, len(table), _ROWS_AT_ONCE):
            stop = min(len(table), start + _ROWS_AT_ONCE)
            yield from _samples(inputs, plan, table, start, stop, begin_ns)
    yield '{"name":"LastTrace"}'
    yield "],"
    yield '"displayTimeUnit":"ns",'
    yield '"otherData":{'
    yield f'"ts":{fraction_text(inputs.began_unix_ns, NS_PER_US)},'
    version = "MLPerf LoadGen v1.0" if inputs.strict else "loadgen-service"
    yield f'"version":"{version}"'
    yield "}"
    yield "}"


def _samples(
    inputs: LogInputs,
    plan: SeriesPlan,
    table: RequestTable,
    start: int,
    stop: int,
    begin_ns: int,
) -> Iterator[str]:
    columns = sample_table(plan, table, start, stop)
    done = columns["status"] == Status.COMPLETED
    names = ("seq_id", "query_index", "sample_index", "scheduled_ns", "issued_ns", "completed_ns")
    counter = plan.scenario == "server"
    for number, query, sample, scheduled, issued, completed in zip(
        *(columns[name][done].tolist() for name in names), strict=True
    ):
        begin = fraction_text(begin_ns + scheduled, NS_PER_US)
        end = fraction_text(begin_ns + completed, NS_PER_US)
        delay = issued - scheduled
        if counter:
            yield (
                f'{{"name":"Latency","ph": "C","pid":{inputs.pid},"ts":{begin},"args":{{ '
                f'"issue_delay":{delay},"issue_to_done":{completed - issued}}}}},'
            )
        yield (
            f'{{"name":"Sample","cat":"default","ph":"b","pid":{inputs.pid},"id":{number},'
            f'"ts":{begin},"args":{{"sample_seq":{number},"query_seq":{query},'
            f'"sample_idx":{sample},"issue_start_ns":{delay},'
            f'"complete_ns":{completed - scheduled}}}}},'
        )
        yield (
            f'{{"name":"Sample","cat":"default","ph":"e", "pid":{inputs.pid},'
            f'"id":{number},"ts":{end}}},'
        )

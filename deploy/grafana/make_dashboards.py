"""Writes dashboards/*.json, which Grafana loads, from the panel lists below.

Usage: python deploy/grafana/make_dashboards.py. A test compares the files with these lists.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 38
"""Grafana 10; newer ones migrate it on loading."""

# every query is narrowed to the chosen services; warm-up is left out
ON = 'instance=~"$instance"'
KIND = f'{ON},kind!="warmup"'
RATE = "[$__rate_interval]"

Query = tuple[str, str]


@dataclass(frozen=True)
class Panel:
    """One panel: its queries as (PromQL, legend), and what a person should read from it."""

    title: str
    words: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    log: bool = False


def quantiles(metric: str, by: str, *ps: float, legend: str = "") -> list[Query]:
    """histogram_quantile of a rate, summed over everything but ``by``."""
    labels = ", ".join(name for name in ("le", by) if name)
    inner = f"sum by ({labels}) (rate({metric}_bucket{{{KIND}}}{RATE}))"
    return [(f"histogram_quantile({p:g}, {inner})", f"{legend} p{p * 100:g}".strip()) for p in ps]


def rate(metric: str, by: str = "", more: str = "") -> str:
    """Sum of a counter's rate."""
    labels = f" by ({by})" if by else ""
    return f"sum{labels} (rate({metric}{{{KIND}{more}}}{RATE}))"


OVERVIEW = (
    Panel("State", "Where the run stands, or how it ended.",
          [(f"max by (state) (last_over_time(loadgen_run_state{{{ON}}}[$__range])) == 1",
            "{{state}}")],
          kind="stat", width=4),
    Panel("Verdict", "Of the last run; empty while one goes on.",
          [(f"max by (verdict) (last_over_time(loadgen_run_verdict{{{ON}}}[$__range])) == 1",
            "{{verdict}}")],
          kind="stat", width=4),
    Panel("Progress", "Time since the start, by the plan's length.",
          [(f"clamp_max(loadgen_run_elapsed_seconds{{{ON}}} / "
            f"(loadgen_run_planned_seconds{{{ON}}} > 0), 1)", "{{instance}}")],
          unit="percentunit", kind="stat", width=4),
    Panel("Run", "Its id, scenario, mode and model.",
          [(f"loadgen_run_info{{{ON}}}", "{{run_id}} {{scenario}} {{mode}} {{model}}")],
          kind="stat", width=6),
    Panel("Runs so far", "By outcome, over the life of the service.",
          [(f"sum by (outcome) (loadgen_runs_total{{{ON}}})", "{{outcome}}")],
          kind="stat", width=6),
    Panel("Rates", "Scheduled by the plan, issued, completed: three lines that should be one.",
          [(rate("loadgen_requests_scheduled_total"), "scheduled"),
           (rate("loadgen_requests_issued_total"), "issued"),
           (rate("loadgen_requests_total", more=',status="completed"'), "completed"),
           (f"max(loadgen_run_target_qps{{{ON}}})", "target")], unit="reqps"),
    Panel("Latency", "From the scheduled instant to the answer; the limit is what is judged.",
          [*quantiles("loadgen_latency_seconds", "", 0.5, 0.9, 0.99, 0.999),
           (f"max(loadgen_run_latency_limit_seconds{{{ON}}})", "limit")], unit="s", log=True),
    Panel("Latency, all of it", "Where the answers lie; a second band is a second population.",
          [(rate("loadgen_latency_seconds_bucket", "le"), "{{le}}")], unit="s", kind="heatmap"),
    Panel("Outstanding", "Issued and not answered. A line that climbs: the SUT falls behind.",
          [(f"sum(loadgen_outstanding_requests{{{ON}}})", "outstanding")]),
    Panel("Not completed", "Failed or timed out a second.",
          [(rate("loadgen_requests_total", "status", ',status!="completed"'), "{{status}}")],
          unit="reqps"),
    Panel("Issue delay", "How late requests left; above the budget the run is not valid.",
          [*quantiles("loadgen_issue_delay_seconds", "", 0.5, 0.99),
           (f"max(loadgen_run_issue_delay_budget_seconds{{{ON}}})", "budget")],
          unit="s", log=True),
    Panel("Latency against service time", "Apart: queries wait before they leave.",
          [*quantiles("loadgen_latency_seconds", "", 0.99, legend="latency"),
           *quantiles("loadgen_service_time_seconds", "", 0.99, legend="service time")],
          unit="s", log=True),
    Panel("Lost", "Issued and never recorded, of runs that are over. It must stay 0.",
          [(f"sum by (kind) (loadgen_requests_lost_total{{{ON}}})", "{{kind}}")]),
)  # fmt: skip

SUT_ON = 'job="sut-server"'
FLEET = (
    Panel("Completed by SUT", "Each SUT's share of the load.",
          [(rate("loadgen_requests_total", "sut", ',status="completed"'), "{{sut}}")],
          unit="reqps"),
    Panel("Latency p99 by SUT", "A line apart from its siblings is the SUT to look at.",
          quantiles("loadgen_latency_seconds", "sut", 0.99, legend="{{sut}}"), unit="s", log=True),
    Panel("Latency p50 by SUT", "The usual answer.",
          quantiles("loadgen_latency_seconds", "sut", 0.5, legend="{{sut}}"), unit="s", log=True),
    Panel("p99 by the fleet's median", "1 is like the others; the alert is at 1.5.",
          [("instance_stream_sut:loadgen_latency_seconds:p99_rate15s" f"{{{ON}}} "
            "/ on (instance, stream) group_left () quantile by (instance, stream) (0.5, "
            f"instance_stream_sut:loadgen_latency_seconds:p99_rate15s{{{ON}}})", "{{sut}}")]),
    Panel("Service time p99 by SUT", "From the issue: without what the generator added.",
          quantiles("loadgen_service_time_seconds", "sut", 0.99, legend="{{sut}}"),
          unit="s", log=True),
    Panel("Not completed by SUT", "Failed or timed out a second.",
          [(rate("loadgen_requests_total", "sut, status", ',status!="completed"'),
            "{{sut}} {{status}}")], unit="reqps"),
    Panel("sut-server: waiting for a batch, p99", "The server's own queue.",
          [("histogram_quantile(0.99, sum by (le, instance, model) "
            f"(rate(sut_server_queue_seconds_bucket{{{SUT_ON}}}{RATE})))",
            "{{instance}} {{model}}")], unit="s", log=True),
    Panel("sut-server: computing, p99", "The model's own time, of a whole batch.",
          [("histogram_quantile(0.99, sum by (le, instance, model) "
            f"(rate(sut_server_compute_seconds_bucket{{{SUT_ON}}}{RATE})))",
            "{{instance}} {{model}}")], unit="s", log=True),
    Panel("sut-server: mean batch", "Samples a batch.",
          [(f"sum by (instance) (rate(sut_server_batch_size_sum{{{SUT_ON}}}{RATE})) / "
            f"sum by (instance) (rate(sut_server_batch_size_count{{{SUT_ON}}}{RATE}))",
            "{{instance}}")]),
    Panel("sut-server: outstanding", "Received and not settled.",
          [(f"sum by (instance) (sut_server_outstanding_requests{{{SUT_ON}}})", "{{instance}}")]),
    Panel("sut-server: requests by status", "What the server says of itself.",
          [(f"sum by (instance, status) (rate(sut_server_requests_total{{{SUT_ON}}}{RATE}))",
            "{{instance}} {{status}}")], unit="reqps"),
)  # fmt: skip

GENERATOR = (
    Panel("Workers", "Those that speak to the service.",
          [(f"sum by (state) (loadgen_workers{{{ON}}})", "{{state}}")], kind="stat", width=8),
    Panel("Up", "0: lost.",
          [(f"loadgen_worker_up{{{ON}}}", "worker {{worker}}")], kind="stat", width=8),
    Panel("Scrapes", "1 while Prometheus reaches the service.",
          [(f'up{{job="loadgen",{ON}}}', "{{instance}}")], kind="stat", width=8),
    Panel("Issue delay p99 by worker", "One worker above the others sits on a busy host.",
          quantiles("loadgen_issue_delay_seconds", "worker", 0.99, legend="worker {{worker}}"),
          unit="s", log=True),
    Panel("Issued by worker", "Each has its share of the plan.",
          [(rate("loadgen_requests_issued_total", "worker"), "worker {{worker}}")], unit="reqps"),
    Panel("Loop lag", "Worst of a second. A starved process is late at everything.",
          [(f"loadgen_worker_loop_lag_seconds{{{ON}}}", "worker {{worker}}")], unit="s"),
    Panel("Processor", "Cores used; a worker can use one.",
          [(f"loadgen_worker_cpu_cores{{{ON}}}", "worker {{worker}}"),
           (f'rate(process_cpu_seconds_total{{job="loadgen",{ON}}}{RATE})', "service")]),
    Panel("Taken by others", "The hypervisor's share of its processors; its own waits for one.",
          [(f"loadgen_worker_cpu_stolen_ratio{{{ON}}}", "worker {{worker}} stolen"),
           (f"loadgen_worker_cpu_waited_ratio{{{ON}}}", "worker {{worker}} waited")],
          unit="percentunit"),
    Panel("Memory", "Resident.",
          [(f"loadgen_worker_resident_memory_bytes{{{ON}}}", "worker {{worker}}"),
           (f'process_resident_memory_bytes{{job="loadgen",{ON}}}', "service")], unit="bytes"),
    Panel("Batches unacknowledged", "Records that wait for the collector's disk.",
          [(f"loadgen_worker_unacknowledged_batches{{{ON}}}", "worker {{worker}}")]),
    Panel("Clock error", "How well the common start is known.",
          [(f"loadgen_worker_clock_error_seconds{{{ON}}}", "worker {{worker}}")], unit="s"),
    Panel("Scrape duration", "What a scrape costs the service.",
          [(f'scrape_duration_seconds{{job="loadgen",{ON}}}', "{{instance}}")], unit="s"),
    Panel("Runs that wait", "In the service's queue.",
          [(f"loadgen_queued_runs{{{ON}}}", "{{instance}}")]),
)  # fmt: skip

BOARDS = {
    "run-overview": ("LoadGen: run overview", OVERVIEW),
    "sut-fleet": ("LoadGen: SUT fleet comparison", FLEET),
    "generator-health": ("LoadGen: generator health", GENERATOR),
}


def board(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, object]:
    """One dashboard as Grafana's JSON."""
    x = y = last_height = 0
    placed = []
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > 24:
            x, y = 0, y + last_height
        placed.append(panel_json(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, last_height = x + panel.width, height
    return {
        "uid": f"loadgen-{uid}",
        "title": title,
        "tags": ["loadgen"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {"refresh_intervals": ["2s", "5s", "10s", "30s", "1m"]},
        "links": [
            {"type": "dashboards", "tags": ["loadgen"], "title": "LoadGen", "asDropdown": False}
        ],
        "templating": {"list": [variable_datasource(), variable_instance()]},
        "panels": placed,
    }


def panel_json(number: int, panel: Panel, place: dict[str, int]) -> dict[str, object]:
    """One panel as Grafana's JSON."""
    custom = {"scaleDistribution": {"type": "log", "log": 10}} if panel.log else {}
    targets = [
        {
            "refId": chr(ord("A") + index),
            "expr": expression,
            "legendFormat": legend,
            "datasource": DATASOURCE,
            "format": "heatmap" if panel.kind == "heatmap" else "time_series",
            "instant": panel.kind == "stat",
            "range": panel.kind != "stat",
        }
        for index, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.words,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": options(panel),
        "targets": targets,
    }


def options(panel: Panel) -> dict[str, object]:
    """What a kind of panel wants beside its queries."""
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if panel.title in ("State", "Verdict", "Run") else "auto",
        }
    if panel.kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": panel.unit}}
    return {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def variable_datasource() -> dict[str, object]:
    """Which Prometheus."""
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
        "current": {"text": "Prometheus", "value": "loadgen-prometheus"},
    }


def variable_instance() -> dict[str, object]:
    """Which LoadGen services; their histograms merge."""
    return {
        "name": "instance",
        "type": "query",
        "label": "Service",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(loadgen_build_info, instance)", "refId": "instance"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def texts() -> dict[str, str]:
    """File name -> content, of every board."""
    return {
        f"{uid}.json": json.dumps(board(uid, title, panels), indent=1) + "\n"
        for uid, (title, panels) in BOARDS.items()
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / "dashboards" / name).write_text(text, encoding="utf-8")

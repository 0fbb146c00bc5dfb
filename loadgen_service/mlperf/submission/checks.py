"""Checks a whole submission folder: every miss at once, of every result (specification 8).

The tree, its descriptions and its compliance tests are judged here, one result's logs in
submission_results. Reads only.

Checks of one result's logs: what MLPerf's checker demands, and what it should (8.3, 9.3).

Reads the files of one scenario folder and names every miss; knows nothing of the tree around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from loadgen_service.errors import UserError
from loadgen_service.mlperf.audit.logs import SCORE_KEYS, DetailLog, read_detail_log
from loadgen_service.mlperf.audit.rules import PASS, within_delta
from loadgen_service.mlperf.benchmarks import ROUNDS, RoundSeeds
from loadgen_service.mlperf.logs.writer import ACCURACY_FILE, DETAIL_FILE, SUMMARY_FILE
from loadgen_service.mlperf.submission.layout import (
    MEASUREMENT_FIELDS,
    SCENARIO_FOLDERS,
    Miss,
    ResultFolder,
    read_json,
    read_text,
)
from loadgen_service.mlperf.submission.rules import (
    ACCURACY_LOG_BYTES_MAX,
    ACCURACY_PATTERNS,
    MIN_DURATION_MS,
    RULES,
    AccuracyRule,
    directory_name,
)
from loadgen_service.mlperf.submission.system_description import DIVISIONS, system_misses

NEEDED_KEYS: Final = (
    "effective_scenario",
    "effective_qsl_rng_seed",
    "effective_sample_index_rng_seed",
    "effective_schedule_rng_seed",
    "effective_performance_sample_count",
    "effective_min_query_count",
    "effective_samples_per_query",
    "effective_min_duration_ms",
)
OFFICIAL_VERSION: Final = re.compile(r"\d+\.\d+(\.\d+)* @ [0-9a-f]{10}")
"""``6.0.17 @ d6147c7e12``: only the official LoadGen calls itself so."""

LOOPBACK: Final = re.compile(r"(^|//)(127\.|localhost\b|\[::1\])|^unix:")
"""Addresses that no fabric lies before."""

INFERRED: Final = {
    ("SingleStream", "MultiStream"),
    ("SingleStream", "Offline"),
    ("MultiStream", "Offline"),
}
"""(measured, submitted): an edge system may submit the one for the other."""

_SEEDS: Final = ("qsl", "sample_index", "schedule")
_AUDIT_KEYS: Final = ("performance_issue_unique", "performance_issue_same")


def performance_misses(result: ResultFolder, seeds: RoundSeeds, system_type: str) -> list[Miss]:
    """Of the performance run, and of what our own summary says of it."""
    return [
        *run_misses(result, result.performance, seeds, system_type),
        *_fact_misses(result),
    ]


def run_misses(
    result: ResultFolder,
    folder: Path,
    seeds: RoundSeeds,
    system_type: str,
    audited: bool = False,
) -> Iterator[Miss]:
    """Of the logs of one performance run; ``audited``: a compliance test's."""
    if not (folder / SUMMARY_FILE).is_file():
        yield Miss(result.name(folder / SUMMARY_FILE), "missing")
    log = _log(folder)
    if isinstance(log, str):
        yield Miss(result.name(folder / DETAIL_FILE), log)
        return
    at = result.name(log.path)
    score_key = SCORE_KEYS.get(result.official_scenario, "")
    for key in (*NEEDED_KEYS, score_key):
        if key and key not in log.values:
            yield Miss(at, f"has no {key}")
    for text in _scenario(result, log, system_type):
        yield Miss(at, text)
    yield from (Miss(at, text) for text in _seed_texts(log, seeds))
    yield from (Miss(at, text) for text in _counts(result, log))
    yield from (Miss(at, text) for text in _latency(result, log))
    yield from (Miss(at, text) for text in _tokens(result, log))
    yield from _name(result, log, at)
    yield from (Miss(at, text, ours=True) for text in _sound(result, log, audited))


def accuracy_misses(result: ResultFolder) -> Iterator[Miss]:
    """Of the accuracy run: its files, errors, sample count and score."""
    folder = result.accuracy
    for name in (SUMMARY_FILE, ACCURACY_FILE):
        if not (folder / name).is_file():
            yield Miss(result.name(folder / name), "missing")
    log_path = folder / ACCURACY_FILE
    if log_path.is_file() and log_path.stat().st_size > ACCURACY_LOG_BYTES_MAX:
        yield Miss(
            result.name(log_path), f"larger than {ACCURACY_LOG_BYTES_MAX} bytes: truncate it"
        )
    log = _log(folder)
    if isinstance(log, str):
        yield Miss(result.name(folder / DETAIL_FILE), log)
    else:
        at = result.name(log.path)
        yield from (Miss(at, f"error in the log: {text}") for text in log.errors)
        yield from (Miss(at, text) for text in _accuracy_count(result, log))
        mode = log.text("effective_test_mode")
        if mode and mode not in ("AccuracyOnly", "SubmissionRun"):
            yield Miss(at, f"is of mode {mode}, not of an accuracy run", ours=True)
    yield from _score_misses(result)


def score_texts(rules: tuple[AccuracyRule, ...], text: str) -> Iterator[str]:
    """Which metrics of an accuracy.txt are missing or out of their limits."""
    for rule in rules:
        found = metric_of(rule.name, text)
        if found is None:
            yield f"has no line of {rule.name}"
        elif found < rule.at_least:
            yield f"{rule.name} is {found:g}, must be at least {rule.at_least:.6g}"
        elif rule.at_most is not None and found > rule.at_most:
            yield f"{rule.name} is {found:g}, must be at most {rule.at_most:.6g}"


def metric_of(name: str, text: str) -> float | None:
    """Value of a metric in an accuracy.txt; None where no line has it."""
    for line in text.splitlines():
        match = re.match(ACCURACY_PATTERNS[name], line)
        if match:
            return float(match[1])
    return None


def _log(folder: Path) -> DetailLog | str:
    if not (folder / DETAIL_FILE).is_file():
        return "missing"
    try:
        return read_detail_log(folder)
    except UserError as error:
        return str(error).partition(": ")[2] or str(error)


def _scenario(result: ResultFolder, log: DetailLog, system_type: str) -> Iterator[str]:
    measured, wanted = log.scenario, result.official_scenario
    if not measured or measured == wanted:
        return
    if (measured, wanted) not in INFERRED:
        yield f"is of scenario {measured}, which cannot stand for {result.scenario}"
    elif "edge" not in system_type.lower():
        yield f"is of scenario {measured}: only edge systems may infer {wanted} from it"


def _seed_texts(log: DetailLog, seeds: RoundSeeds) -> Iterator[str]:
    for name in _SEEDS:
        key, wanted = f"effective_{name}_rng_seed", getattr(seeds, name)
        if key in log.values and log.values[key] != wanted:
            yield f"{key} is {log.values[key]}, the round's is {wanted}"


def _counts(result: ResultFolder, log: DetailLog) -> Iterator[str]:
    rule = result.rule
    least = {"effective_min_duration_ms": MIN_DURATION_MS, "effective_min_query_count": 1}
    if rule is not None:
        least["effective_performance_sample_count"] = rule.loaded_count
        if log.scenario == "Offline" and not result.is_open:
            least["effective_samples_per_query"] = rule.offline_samples
    for key, wanted in least.items():
        found = log.number(key)
        if found is not None and found < wanted:
            yield f"{key} is {found:.0f}, must be at least {wanted}"


def _latency(result: ResultFolder, log: DetailLog) -> Iterator[str]:
    if log.scenario == "Offline":
        return
    if log.values.get("early_stopping_met") is not True:
        said = " ".join(log.text("early_stopping_result").split())
        yield "early stopping is not met" + (f": {said}" if said else "; run longer")
    limit_ms = result.rule.server_limit_ms if result.rule else 0
    found = log.number("effective_target_latency_ns")
    if log.scenario == "Server" and limit_ms:
        if found is None:
            yield "has no effective_target_latency_ns"
        elif found > limit_ms * 1e6:
            yield f"the latency limit is {found / 1e6:g} ms, the benchmark's is {limit_ms} ms"


def _tokens(result: ResultFolder, log: DetailLog) -> Iterator[str]:
    limits = result.rule.tokens_ms if result.rule else None
    if limits is None:
        return
    if log.values.get("requested_use_token_latencies") is not True:
        yield "token latencies are off; the benchmark needs --use-token-latencies"
        return
    pair = limits.get(result.scenario.lower())
    if pair is None or log.scenario != "Server":
        return
    keys = (
        "result_first_token_99.00_percentile_latency_ns",
        "result_time_per_output_token_99.00_percentile_ns",
    )
    for key, limit_ms in zip(keys, pair, strict=True):
        found = log.number(key)
        if found is None:
            yield f"has no {key}"
        elif found >= limit_ms * 1e6:
            yield f"{key} is {found / 1e6:g} ms, must be below {limit_ms} ms"


def _name(result: ResultFolder, log: DetailLog, at: str) -> Iterator[Miss]:
    if result.division == "network" and "Network SUT" not in log.text("sut_name"):
        name = log.text("sut_name")
        yield Miss(at, f"sut_name is {name!r}, must contain 'Network SUT'")


def _sound(result: ResultFolder, log: DetailLog, audited: bool) -> Iterator[str]:
    """What makes a result wrong although MLPerf's checker passes it."""
    validity = log.text("result_validity")
    if validity != "VALID":
        why = " ".join(log.text("result_invalid_reason").split())
        yield f"the result is {validity or 'not judged'}" + (f": {why}" if why else "")
    yield from (f"error in the log: {text}" for text in log.errors)
    mode = log.text("effective_test_mode")
    if mode and mode not in ("PerformanceOnly", "SubmissionRun"):
        yield f"is of mode {mode}, not of a performance run"
    if not audited:
        for key in _AUDIT_KEYS:
            if log.values.get(f"effective_{key}") is True:
                yield f"{key} is on: that is an audit's run, no result"
    version = log.text("loadgen_version")
    if not result.is_open and not OFFICIAL_VERSION.match(version):
        yield (
            f"was issued by {version or 'an unnamed generator'}; the {result.division} division "
            "demands the official LoadGen: --engine mlcommons"
        )


def _fact_misses(result: ResultFolder) -> Iterator[Miss]:
    """Of our own summaries of the runs: our verdict, and what crossed the network."""
    for kind in ("performance", "accuracy"):
        path = result.facts / f"{kind}.summary.json"
        facts, at = read_json(path), result.name(path)
        if facts is None:
            if result.division == "network":
                yield Miss(at, "missing: nothing says whether the data crossed the network", True)
            continue
        if facts.get("valid") is False:
            yield Miss(at, f"our verdict is INVALID: {facts.get('invalid_reason') or '?'}", True)
        if result.division != "network":
            continue
        if facts.get("data_crossed_network") is not True:
            word = "false" if facts.get("data_crossed_network") is False else "not said"
            yield Miss(at, f"data_crossed_network is {word}, must be true", True)
        settings = facts.get("settings") or {}
        near = [one for one in settings.get("sut") or [] if LOOPBACK.search(str(one))]
        if near:
            yield Miss(at, f"{near[0]} is this host: the SUT must be a system of its own", True)
        if int(settings.get("samples_per_request") or 1) > 1:
            yield Miss(at, "several samples in a request: batching is the SUT's own business", True)


def _accuracy_count(result: ResultFolder, log: DetailLog) -> Iterator[str]:
    rule = result.rule
    key = "effective_accuracy_sample_count"
    found = log.number(key if key in log.values else "qsl_reported_total_count")
    if found is None:
        yield f"has no {key}"
    elif rule is not None and found != rule.accuracy_samples:
        yield f"{found:.0f} samples were answered, the data set has {rule.accuracy_samples}"


def _score_misses(result: ResultFolder) -> Iterator[Miss]:
    path = result.accuracy / "accuracy.txt"
    at, text = result.name(path), read_text(path)
    if not text:
        yield Miss(at, "missing: score the accuracy run with its benchmark's script")
        return
    if not re.search(r"^hash=\w+$", text, re.MULTILINE):
        yield Miss(at, "has no hash=SHA256 line of the whole accuracy log")
    if result.rule is None or result.is_open:
        return
    yield from (Miss(at, text) for text in score_texts(result.rule.accuracy, text))


DELTAS_PERCENT: Final = {"CLIP_SCORE": 1.0, "FID_SCORE": 2.0}
VERIFY_LINES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "TEST01": {"performance": (PASS,)},
    "TEST04": {"performance": (PASS,)},
    "TEST06": {
        "accuracy": (
            "First token check pass: True|First token check pass: Skipped",
            "EOS check pass: True",
            "Sample length check pass: True",
        )
    },
    "TEST07": {"accuracy": (PASS,)},
    "TEST08": {"accuracy": (PASS,)},
    "TEST09": {"output_len": (PASS,)},
}
"""Verify file of a test -> lines that it must hold; ``|`` parts what is as good."""


def check_submission(root: Path, round_name: str, category: str = "") -> list[Miss]:
    """Everything that keeps ``root`` from being a valid submission; empty if nothing does.

    ``category``: available, preview or rdi, where every system must be of that one.
    """
    misses: list[Miss] = []
    results: list[ResultFolder] = []
    for organisation in _organisations(root):
        if not (organisation / "src").is_dir():
            misses.append(
                Miss(_relative(root, organisation / "src"), "missing: the submitted code")
            )
        found = list(_results(root, organisation))
        results += found
        for system in sorted({one.system for one in found}):
            own = [one for one in found if one.system == system]
            misses += _system(own, ROUNDS[round_name], category)
    if not results:
        misses.append(Miss(".", f"holds no result below {'|'.join(DIVISIONS)}/SUBMITTER/results"))
    return misses


def _organisations(root: Path) -> Iterator[Path]:
    for division in DIVISIONS:
        yield from sorted(path for path in (root / division).glob("*") if path.is_dir())


def _results(root: Path, organisation: Path) -> Iterator[ResultFolder]:
    mapping = read_json(organisation / "model_mapping.json") or {}
    for folder in sorted((organisation / "results").glob("*/*/*")):
        if not folder.is_dir():
            continue
        system, benchmark, scenario = folder.parts[-3:]
        task = str(mapping.get(benchmark) or directory_name(benchmark))
        yield ResultFolder(
            root, organisation.parent.name, organisation.name, system, benchmark, task, scenario
        )


def _system(results: Sequence[ResultFolder], seeds: RoundSeeds, category: str) -> Iterator[Miss]:
    first = results[0]
    path = first.organisation / "systems" / f"{first.system}.json"
    system = read_json(path)
    if system is None:
        yield Miss(first.name(path), "missing, or no JSON object; see --template")
    else:
        for text in system_misses(system, first.division, first.submitter, category):
            yield Miss(first.name(path), text)
    kind = str((system or {}).get("system_type") or "")
    for benchmark in sorted({one.benchmark for one in results}):
        own = [one for one in results if one.benchmark == benchmark]
        yield from _benchmark(own, kind)
    for result in results:
        yield from _result(result, seeds, kind)


def _benchmark(results: Sequence[ResultFolder], system_type: str) -> Iterator[Miss]:
    """The set of scenarios, and whether MLPerf knows the benchmark at all."""
    result = results[0]
    at = result.name(result.folder.parent)
    rule = result.rule
    if rule is None:
        where = "model_mapping.json must map it to one of" if result.is_open else "must be one of"
        yield Miss(at, f"no benchmark {result.task}: {where} {', '.join(RULES)}")
        return
    if result.is_open:
        return
    there = {one.scenario.lower() for one in results}
    suites = {"datacenter": rule.datacenter, "edge": rule.edge}
    asked = [suite for suite in suites if suite in system_type.lower()]
    if asked and not any(suites[suite] for suite in asked):
        yield Miss(at, f"is no benchmark of the {' or '.join(asked)} suite")
    for suite in asked:
        for scenario in suites[suite]:
            if scenario not in there:
                yield Miss(at, f"the {suite} suite demands scenario {scenario}")
    if "datacenter" in asked and rule.either and not there & set(rule.either):
        yield Miss(at, f"the datacenter suite demands one of {' or '.join(rule.either)}")
    if result.division == "network" and asked != ["datacenter"]:
        yield Miss(at, "the network division is of the datacenter suite alone", ours=True)


def _result(result: ResultFolder, seeds: RoundSeeds, system_type: str) -> Iterator[Miss]:
    if result.scenario.lower() not in SCENARIO_FOLDERS:
        yield Miss(result.name(result.folder), f"no scenario; use {', '.join(SCENARIO_FOLDERS)}")
        return
    if result.division == "network" and result.official_scenario not in ("Server", "Offline"):
        yield Miss(result.name(result.folder), "the network division has server and offline", True)
    yield from _texts(result)
    yield from performance_misses(result, seeds, system_type)
    yield from accuracy_misses(result)
    if not result.is_open and result.rule is not None:
        for test in result.rule.tests:
            yield from _audit(result, test, seeds, system_type)


def _texts(result: ResultFolder) -> Iterator[Miss]:
    for name in ("user.conf", "README.md"):
        path = result.folder / name
        if not read_text(path).strip():
            yield Miss(result.name(path), "empty" if path.exists() else "missing")
    path = result.folder / "measurements.json"
    found = read_json(path)
    if found is None:
        yield Miss(result.name(path), "missing, or no JSON object")
        return
    for field, hint in MEASUREMENT_FIELDS.items():
        if not found.get(field):
            yield Miss(result.name(path), f"{field}: {'empty' if field in found else 'missing'} "
                       f"({hint})")  # fmt: skip


def _audit(result: ResultFolder, test: str, seeds: RoundSeeds, system_type: str) -> Iterator[Miss]:
    folder = result.folder / test
    if not folder.is_dir():
        yield Miss(result.name(folder), f"missing: the division demands {test}")
        return
    for name, wanted in VERIFY_LINES[test].items():
        path = folder / f"verify_{name}.txt"
        lines = [line.strip() for line in read_text(path).splitlines()]
        if not lines:
            yield Miss(result.name(path), "missing")
        for line in wanted if lines else ():
            if not set(line.split("|")) & set(lines):
                yield Miss(result.name(path), f"has no line {line.split('|')[0]!r}")
    if test == "TEST01":
        yield from _test01_accuracy(result, folder)
    if test in ("TEST01", "TEST04"):
        run = folder / "performance" / "run_1"
        yield from run_misses(result, run, seeds, system_type, audited=True)


def _test01_accuracy(result: ResultFolder, folder: Path) -> Iterator[Miss]:
    """Answers that are equal, or two accuracies that hardly differ."""
    path = folder / "verify_accuracy.txt"
    lines = [line.strip() for line in read_text(path).splitlines()]
    if not lines:
        yield Miss(result.name(path), "missing")
    if not lines or PASS in lines or result.rule is None:
        return
    texts = [
        read_text(folder / "accuracy" / f"{name}_accuracy.txt")
        for name in ("baseline", "compliance")
    ]
    for rule in result.rule.accuracy:
        baseline, found = (metric_of(rule.name, text) or 0.0 for text in texts)
        default = 0.1 if result.task.endswith("99.9") else 1.0
        if not within_delta(baseline, found, DELTAS_PERCENT.get(rule.name, default)):
            yield Miss(
                result.name(path),
                f"answers differ, and so does {rule.name}: baseline {baseline:g}, audit {found:g}",
            )


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()

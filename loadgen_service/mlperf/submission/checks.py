"""Checks a whole submission folder: every miss at once, of every result (specification 8).

The tree, its descriptions and its compliance tests are judged here, one result's logs in
submission_results. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from loadgen_service.mlperf.audit.rules import PASS, within_delta
from loadgen_service.mlperf.benchmarks import ROUNDS, RoundSeeds
from loadgen_service.mlperf.submission.paths import (
    MEASUREMENT_FIELDS,
    SCENARIO_FOLDERS,
    Miss,
    ResultFolder,
    read_json,
    read_text,
)
from loadgen_service.mlperf.submission.result_checks import (
    accuracy_misses,
    metric_of,
    performance_misses,
    run_misses,
)
from loadgen_service.mlperf.submission.rules import RULES, directory_name
from loadgen_service.mlperf.submission.system_description import DIVISIONS, system_misses

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
            misses.append(Miss(_name(root, organisation / "src"), "missing: the submitted code"))
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


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()

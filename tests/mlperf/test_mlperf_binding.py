"""Our binding against the official one: names, defaults, FromConfig's fields and return codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlperf_loadgen
import pytest

import loadgen_service.binding as ours
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import official_fields
from loadgen_service.errors import UserError

FILES = {
    "plain.conf": "resnet50.Server.target_qps = 123.5\n*.Server.target_latency = 20\n",
    "every.conf": "*.*.min_duration = 1234\n*.SingleStream.target_latency = 0.5\n"
    "*.MultiStream.samples_per_query = 4\n*.Offline.target_qps = 77\n*.*.mode = 1\n"
    "*.Server.coalesce_queries = 1\n*.Server.max_async_queries = 9\n"
    "*.Server.target_latency_percentile = 95\n*.*.use_token_latencies = 1\n"
    "*.Server.ttft_latency = 321\n*.*.performance_issue_same = 1\n"
    "*.*.performance_issue_same_index = 3\n*.*.sample_concatenate_permutation = 1\n",
    "odd.conf": "# text\n*.*.min_query_count = 010\n*.Server.target_latency = 0.5\na.b.c=5\n",
    "refused.conf": "*.*.min_query_count = 7 # note\n",
}
ASKED = [
    ("refused.conf", "resnet50", "Server"),
    ("missing.conf", "resnet50", "Server"),
] + [
    (name, model, scenario)
    for name in ("plain.conf", "every.conf", "odd.conf")
    for model, scenario in (
        ("resnet50", "Server"),
        ("llama2-70b", "Offline"),
        ("3d-unet", "SingleStream"),
        ("nobody", "MultiStream"),
    )
]
ASK = """
import importlib, json, sys
lg = importlib.import_module(sys.argv[1])
path, model, scenario, kind = sys.argv[2:]
settings = lg.TestSettings()
settings.token_latency_scaling_factor = 0
code = settings.FromConfig(path, model, scenario, int(kind))
names = json.loads(sys.stdin.read())
values = {n: getattr(settings, n) for n in names}
print(json.dumps([code, {n: getattr(v, "name", v) for n, v in values.items()}]))
"""


def fields_of(settings: Any) -> list[str]:
    return [n for n in dir(settings) if not n.startswith("__") and n != "FromConfig"]


OFFICIAL_FIELDS = fields_of(mlperf_loadgen.TestSettings())


def test_every_name_of_the_official_binding_is_here():
    official = {name for name in dir(mlperf_loadgen) if not name.startswith("__")}
    assert official <= set(dir(ours))
    for name in official:
        theirs = getattr(mlperf_loadgen, name)
        if isinstance(theirs, type):
            wanted = {one for one in dir(theirs) if not one.startswith("__")}
            wanted -= {"name", "value"}  # of an enumeration's members, not of itself
            assert wanted <= set(dir(getattr(ours, name))), name


@pytest.mark.parametrize("name", ["TestScenario", "TestMode", "LoggingMode"])
def test_enumerations_have_the_same_numbers(name):
    official = {key: int(v) for key, v in getattr(mlperf_loadgen, name).__members__.items()}
    assert {key: int(v) for key, v in getattr(ours, name).__members__.items()} == official


@pytest.mark.parametrize("name", ["TestSettings", "LogSettings", "LogOutputSettings"])
def test_defaults_are_the_official_ones(name):
    theirs, own = getattr(mlperf_loadgen, name)(), getattr(ours, name)()
    for field in fields_of(theirs):
        if field in ("log_output", "token_latency_scaling_factor"):
            continue  # an object of its own; uninitialised in LoadGen
        value, wanted = getattr(own, field), getattr(theirs, field)
        assert (
            (int(value), value.name) == (int(wanted), wanted.name)
            if hasattr(wanted, "name")
            else value == wanted
        ), field


def test_an_unknown_setting_is_refused_as_there():
    for module in (mlperf_loadgen, ours):
        with pytest.raises(AttributeError):
            module.TestSettings().server_qps = 3


def ask(module: str, path: Path, model: str, scenario: str, kind: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", ASK, module, str(path), model, scenario, str(kind)],
        input=json.dumps(OFFICIAL_FIELDS), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def relevant(fields: dict[str, Any], scenario: str) -> dict[str, Any]:
    """Without the other scenarios' own fields: the built-in file is applied for the named one."""
    kinds = {"SingleStream": "single_", "MultiStream": "multi_", "Server": "server_"}
    others = tuple(prefix for name, prefix in kinds.items() if name != scenario)
    others += ("offline_",) if scenario != "Offline" else ()
    return {name: value for name, value in fields.items() if not name.startswith(others)}


@pytest.mark.parametrize(("name", "model", "scenario"), ASKED)
def test_from_config_reads_what_the_official_one_reads(tmp_path, name, model, scenario):
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    official = ask("mlperf_loadgen", tmp_path / name, model, scenario, 1)
    own = ask("loadgen_service.binding", tmp_path / name, model, scenario, 1)
    assert own[0] == official[0]
    assert relevant(own[1], scenario) == relevant(official[1], scenario)


def test_settings_cross_to_loadgen_and_back():
    settings = Settings(
        scenario="server", mode="submission", target_qps=321.5, target_latency_ms=17,
        target_latency_percentile=97, max_async_queries=3, use_token_latencies=True,
        ttft_latency_ms=5, min_query_count=17, test05=True, performance_sample_count=12,
    )  # fmt: skip
    official = ours.TestSettings()
    for name, value in official_fields(settings).items():
        kind = {"scenario": ours.TestScenario, "mode": ours.TestMode}.get(name)
        setattr(official, name, kind[str(value)] if kind else value)
    back = official.to_settings()
    differing = {
        name for name in Settings.model_fields if getattr(back, name) != getattr(settings, name)
    }
    assert differing == set()


def test_a_wrong_choice_is_one_line():
    with pytest.raises(UserError, match="configure: no wya"):
        ours.configure(wya="serve")
    with pytest.raises(UserError, match="StartTest: 77 is no SUT"):
        ours.StartTest(77, 78, ours.TestSettings())


def test_an_answer_copies_the_bytes_at_its_address():
    import array

    data = array.array("B", [1, 2, 3, 4])
    response = ours.QuerySampleResponse(5, data.buffer_info()[0] + 1, 2)
    assert response.content() == b"\x02\x03"
    assert ours.QuerySampleResponse(5, 0, 0).content() == b""

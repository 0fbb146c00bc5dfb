"""Which layer wins: built-in values, user.conf, what the user gave, audit.config, TEST05."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.mlperf.benchmarks import BENCHMARKS, ROUNDS
from loadgen_service.mlperf.conf.keys import OFFICIAL_SCENARIO
from loadgen_service.mlperf.conf.settings import mlperf_layers


def write(folder: pathlib.Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def read(flags: dict[str, object], environment: dict[str, str] | None = None) -> Settings:
    return read_settings(Settings, flags, environment or {}, None)


def refused(flags: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        read(flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_an_mlperf_setting_nothing_changes() -> None:
    assert read({"scenario": "offline"}) == Settings(scenario="offline")


def test_a_benchmark_brings_its_built_in_values() -> None:
    settings = read({"mlperf_model": "resnet50", "scenario": "server"})
    assert settings.performance_sample_count == 1024
    assert settings.min_duration_ms == 600_000
    assert settings.target_latency_ms == 15
    assert settings.percentile == 99.0 * 0.01
    offline = read({"mlperf_model": "resnet50", "scenario": "offline"})
    assert offline.min_query_count == 24576


@pytest.mark.parametrize("scenario", OFFICIAL_SCENARIO)
@pytest.mark.parametrize("model", BENCHMARKS)
def test_every_benchmark_makes_settings_in_every_scenario(model: str, scenario: str) -> None:
    settings = read({"mlperf_model": model, "scenario": scenario})
    assert settings.mlperf_model == model
    assert settings.use_token_latencies == BENCHMARKS[model].uses_tokens


def test_layers_win_in_order(tmp_path: pathlib.Path) -> None:
    user = write(
        tmp_path,
        "user.conf",
        "resnet50.Server.target_qps = 500",
        "*.Server.min_duration = 1000",
        "*.*.min_query_count = 70",
        "*.*.max_duration = 9000",
    )
    audit = write(tmp_path, "audit.config", "*.*.min_duration = 3000", "*.*.mode = 1")
    flags: dict[str, object] = {
        "scenario": "server",
        "mlperf_model": "resnet50",
        "user_conf": user,
        "min_duration_ms": "2000",
    }
    settings = read(flags, {"LOADGEN_MIN_QUERY_COUNT": "80"})
    assert settings.performance_sample_count == 1024  # built-in
    assert settings.target_qps == 500.0  # user.conf over built-in
    assert settings.max_duration_ms == 9000
    assert settings.min_query_count == 80  # environment over user.conf
    assert settings.min_duration_ms == 2000  # flag over user.conf
    audited = read({**flags, "audit_config": audit})
    assert audited.min_duration_ms == 3000  # audit over flag
    assert audited.mode == "accuracy"
    reviewed = read({**flags, "audit_config": audit, "test05": True})
    assert reviewed.series_kinds == ("performance",)  # TEST05 over audit
    assert reviewed.seeds == ROUNDS["v6.1"].test05


def test_yaml_is_explicit_too(tmp_path: pathlib.Path) -> None:
    user = write(tmp_path, "user.conf", "*.*.min_duration = 1000", "*.Server.target_qps = 7")
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"user_conf": user, "min_duration_ms": 5}))
    settings = read_settings(Settings, {}, {}, str(config))
    assert (settings.min_duration_ms, settings.target_qps) == (5, 7.0)


def test_settings_of_a_run_read_again_are_the_same(tmp_path: pathlib.Path) -> None:
    user = write(tmp_path, "user.conf", "bert.Server.target_qps = 7")
    settings = read({"user_conf": user, "mlperf_model": "bert", "round": "v5.1"})
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert read_settings(Settings, {}, {}, str(config)) == settings


@pytest.mark.parametrize("name", ROUNDS)
def test_a_round_brings_its_seeds(name: str) -> None:
    seeds, row = read({"round": name}).seeds, ROUNDS[name]
    assert seeds == (row.qsl, row.sample_index, row.schedule)
    assert read({"round": name}).min_duration_ms == 10_000  # and nothing else


def test_seeds_in_a_user_file_are_ignored_as_officially(tmp_path: pathlib.Path) -> None:
    user = write(tmp_path, "user.conf", "*.*.qsl_rng_seed = 5")
    assert read({"user_conf": user}).qsl_rng_seed == ROUNDS["v6.1"].qsl
    assert read({"user_conf": user, "qsl_rng_seed": "5"}).qsl_rng_seed == 5


def test_audit_entries_of_a_named_model_never_match(tmp_path: pathlib.Path) -> None:
    audit = write(tmp_path, "audit.config", "bert.*.min_query_count = 9", "*.*.max_duration = 8")
    settings = read({"audit_config": audit, "mlperf_model": "bert"})
    assert (settings.min_query_count, settings.max_duration_ms) == (100, 8)


def test_audit_alone_brings_no_built_in_values(tmp_path: pathlib.Path) -> None:
    audit = write(tmp_path, "audit.config", "*.*.performance_issue_unique = 1")
    settings = read({"audit_config": audit})
    assert settings == Settings(audit_config=audit, performance_issue_unique=True)


def test_a_mode_is_read_by_its_number(tmp_path: pathlib.Path) -> None:
    for number, mode in (("0", "submission"), ("1", "accuracy"), ("2", "performance")):
        user = write(tmp_path, "user.conf", f"*.*.mode = {number}")
        assert read({"user_conf": user}).mode == mode


def test_token_limits_are_read_where_tokens_are_judged(tmp_path: pathlib.Path) -> None:
    audit = write(tmp_path, "audit.config", "*.Server.ttft_latency = 7")
    assert read({"audit_config": audit}).ttft_latency_ms == 100
    assert read({"audit_config": audit, "use_token_latencies": True}).ttft_latency_ms == 7
    assert read({"audit_config": audit, "mlperf_model": "llama2-70b"}).ttft_latency_ms == 7


def test_an_unknown_benchmark_is_named_with_its_neighbours() -> None:
    message = refused({"mlperf_model": "resnet5"})
    assert message.startswith("mlperf_model: no benchmark 'resnet5'; did you mean resnet50")


def test_a_benchmark_of_ones_own_is_known_once_the_file_speaks_of_it(
    tmp_path: pathlib.Path,
) -> None:
    user = write(tmp_path, "user.conf", "my.model.Server.target_qps = 5")
    assert read({"user_conf": user, "mlperf_model": "my.model"}).target_qps == 5.0
    assert "did you mean my.model" in refused({"user_conf": user, "mlperf_model": "my.mode"})


def test_values_of_a_benchmark_need_its_name(tmp_path: pathlib.Path) -> None:
    user = write(tmp_path, "user.conf", "bert.Server.target_qps = 5", "*.*.max_duration = 5")
    assert "--mlperf-model bert" in refused({"user_conf": user})


def test_a_missing_file_and_a_bad_line_are_one_line(tmp_path: pathlib.Path) -> None:
    assert "user_conf nowhere.conf: No such file" in refused({"user_conf": "nowhere.conf"})
    user = write(tmp_path, "user.conf", "*.*.min_duration = 5", "*.*.max_duration = 5 # note")
    message = refused({"user_conf": user})
    assert message.startswith(f"{user}:2: ")
    assert "comment on a line of its own" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("*.Server.target_latency = 0.5", "target_latency_ms is 0 as LoadGen reads it"),
        ("*.Server.target_qps = nan", "target_qps is nan"),
        ("*.Server.target_qps = -4", "target_qps: must be greater than or equal to"),
        ("*.*.min_duration = -1", "none below 0"),
        ("*.*.min_query_count = 0", "min_query_count: must be greater than or equal to 1"),
    ],
)
def test_what_no_run_can_follow_is_refused_with_its_line(
    tmp_path: pathlib.Path, line: str, said: str
) -> None:
    user = write(tmp_path, "user.conf", "# values", line)
    message = refused({"user_conf": user})
    assert said in message
    assert f"{user}:2 ({line.split()[0]})" in message


def test_scenarios_that_loadgen_lacks_take_none_of_its_files() -> None:
    assert "LoadGen has no burst scenario" in refused({"scenario": "burst", "round": "v6.1"})


def test_an_unknown_round_and_a_round_without_test05_seeds_are_refused() -> None:
    assert "no seeds of v4.0; use one of v6.1" in refused({"round": "v4.0"})
    assert "published no seeds" in refused({"round": "v5.1", "test05": True})
    seeds: dict[str, object] = {
        f"test05_{name}_rng_seed": 3 for name in ("qsl", "sample_index", "schedule")
    }
    assert read({"round": "v5.1", "test05": True, **seeds}).seeds == (3, 3, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Server.target_qps = 5", r"write \*\.Server\.target_qps"),
        ("target_qps = 5", r"write \*\.\*\.target_qps"),
        ("*.Server.target_latencyy = 5", "did you mean target_latency"),
        ("*.Sever.target_qps = 5", "did you mean Server"),
        ("*.Server.frobnication = 5", "has no key 'frobnication'"),
    ],
)
def test_a_name_that_loadgen_would_ignore_is_one_line(tmp_path, line: str, said: str) -> None:
    path = tmp_path / "user.conf"
    path.write_text(f"*.Server.min_duration = 1000\n{line}\n", encoding="utf-8")
    asked = {"scenario": "server", "user_conf": str(path)}
    with pytest.raises(SettingsError, match=said) as caught:
        mlperf_layers(asked)
    assert f"{path}:2: " in str(caught.value)
    below, _ = mlperf_layers({**asked, "lenient_user_conf": True})
    assert below.values["min_duration_ms"] == 1000


@pytest.mark.parametrize("name", ["performance_sample_count", "expected_qps", "target_duration"])
def test_names_of_published_files_that_loadgen_does_not_read_are_taken(tmp_path, name: str) -> None:
    path = tmp_path / "user.conf"
    path.write_text(f"*.Server.{name} = 5\n*.SingleStream.target_qps = 8\n", encoding="utf-8")
    assert mlperf_layers({"scenario": "server", "user_conf": str(path)})

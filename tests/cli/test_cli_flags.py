"""Flags, environment and YAML are one set of settings, and a mistake in any of them is one line."""

from __future__ import annotations

import re

import pytest

from loadgen_service.cli.flags import FIRST_SCREEN, flag_of, given_flags, model_parser, sections
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.cli.verbs.run import run_parser
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError


def flags(*argv: str) -> dict[str, object]:
    parser = model_parser("loadgen run", "", Settings)
    return given_flags(parser.parse_strictly(argv), Settings)


def settings(*argv: str, environment: dict[str, str] | None = None, config: str = "") -> Settings:
    return read_settings(Settings, flags(*argv), environment or {}, config)


def test_every_field_has_a_flag_in_a_section():
    named = [name for names in sections(Settings).values() for name in names]
    assert sorted(named) == sorted(Settings.model_fields)
    text = model_parser("loadgen run", "", Settings).format_help()
    assert all(flag_of(name) in text for name in named)
    assert all(Settings.model_fields[name].description for name in named)


def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("target_qps: 3\nmin_query_count: 7\nmodel: from-file\n")
    environment = {"LOADGEN_TARGET_QPS": "4", "LOADGEN_MIN_QUERY_COUNT": "8"}
    read = settings("--target-qps", "5", environment=environment, config=str(config))
    assert (read.target_qps, read.min_query_count, read.model) == (5.0, 8, "from-file")
    assert read.min_duration_ms == 10_000


def test_lists_split_at_commas_and_repeated_flags_add_up():
    read = settings("--sut", "grpc://a:1,grpc://b:2", "--sut", "grpc://c:3")
    assert read.sut == ["grpc://a:1", "grpc://b:2", "grpc://c:3"]


def test_header_and_shape_values_keep_their_commas():
    read = settings("--header", "accept=a,b", "--shape", "input:FP32:3,224,224")
    assert (read.header, read.shape) == (["accept=a,b"], ["input:FP32:3,224,224"])


def test_booleans_have_a_yes_and_a_no(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("coalesce_queries: true\n")
    assert settings("--coalesce-queries").coalesce_queries is True
    assert settings("--no-coalesce-queries", config=str(config)).coalesce_queries is False


def test_one_text_in_a_file_is_a_list_of_one(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("sut: grpc://a:1\n")
    assert settings(config=str(config)).sut == ["grpc://a:1"]


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--target-qps", "-1"], ["target_qps", "'-1'", "--target-qps"]),
        (["--target-qps", "fast"], ["target_qps", "'fast'", "number"]),
        (["--scenario", "sever"], ["scenario", "did you mean server?"]),
        (["--scenario", "single_stream", "--workers", "4"], ["exactly one worker", "--workers 1"]),
        (["--tls-cert", "a.pem"], ["tls_cert, tls_key"]),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(argv, parts):
    with pytest.raises(SettingsError) as caught:
        settings(*argv)
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("target_qsp: 3\n", ["unknown setting target_qsp", "did you mean target_qps?"]),
        ("- 3\n", ["must be a mapping"]),
        ("a: [\n", ["not valid YAML"]),
        ("target_qps: soon\n", ["target_qps", "'soon'", "run.yaml"]),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, content, parts):
    config = tmp_path / "run.yaml"
    config.write_text(content)
    with pytest.raises(SettingsError) as caught:
        settings(config=str(config))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        settings(config=str(tmp_path / "none.yaml"))


def test_the_environment_is_named_when_it_is_wrong():
    with pytest.raises(SettingsError, match="LOADGEN_WORKERS"):
        settings(environment={"LOADGEN_WORKERS": "many"})


def test_an_unknown_flag_ends_with_2_and_a_suggestion(capsys):
    with pytest.raises(SystemExit) as caught:
        flags("--target-qsp", "3")
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "did you mean --target-qps?" in text


def test_a_dump_of_settings_is_a_config_file(tmp_path):
    import yaml

    first = settings("--sut", "grpc://a:1", "--scenario", "burst", "--header", "k=a,b")
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(first.model_dump(mode="json")))
    assert settings(config=str(config)) == first


FLAG = re.compile(r"^  (?:-h, )?(--[a-z0-9-]+)", re.MULTILINE)


def printed(flag: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as left:
        run_parser("loadgen run", "").parse_strictly([flag])
    assert left.value.code == 0
    return FLAG.findall(capsys.readouterr().out)


def test_help_shows_the_first_screen_and_no_other_flag(capsys):
    shown = printed("--help", capsys)
    assert shown == [flag for flags in FIRST_SCREEN.values() for flag in flags]
    assert len(shown) == 30


def test_help_all_shows_every_setting_and_every_flag_of_the_first_screen(capsys):
    shown = set(printed("--help-all", capsys))
    assert {flag_of(name) for name in Settings.model_fields} <= shown
    assert {flag for flags in FIRST_SCREEN.values() for flag in flags} <= shown


def test_help_names_the_way_to_the_rest(capsys):
    with pytest.raises(SystemExit):
        run_parser("loadgen run", "").parse_strictly(["--help"])
    assert "--help-all" in capsys.readouterr().out

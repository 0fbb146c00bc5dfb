"""Who may listen where, with which token, and what a run from elsewhere may name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.authority import authority_of
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.service.auth.certificates import server_credentials
from loadgen_service.service.auth.policy import (
    PATH_FIELDS,
    is_loopback,
    require_allowed,
    require_safe_bind,
)
from loadgen_service.sut.net.addresses import parse_address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    require_safe_bind(ServeSettings(host=host), has_token=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_beyond_loopback_needs_tls_and_token(host: str) -> None:
    tls = {"tls_cert": "c.pem", "tls_key": "k.pem"}
    for settings, has_token in (
        (ServeSettings(host=host), False),
        (ServeSettings(host=host), True),
        (ServeSettings(host=host, **tls), False),
    ):
        with pytest.raises(SettingsError, match="reachable from other hosts"):
            require_safe_bind(settings, has_token)
    require_safe_bind(ServeSettings(host=host, **tls), has_token=True)
    require_safe_bind(ServeSettings(host=host, insecure=True), has_token=False)


def test_a_file_that_is_no_pem_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no")
    both = str(tmp_path / "x")
    with pytest.raises(SettingsError, match="not a PEM file"):
        server_credentials(ServeSettings(tls_cert=both, tls_key=both))
    assert server_credentials(ServeSettings()) is None


def settings(**changes: object) -> Settings:
    return Settings(**{"sut": ["grpc://inside:8001"], "model": "m", **changes})


def test_without_patterns_any_sut_may_be_named() -> None:
    require_allowed(settings(), ServeSettings())


def test_only_allowed_suts_may_be_named() -> None:
    serve = ServeSettings(allow_sut=["inside:*", "10.0.*:8001"])
    require_allowed(settings(sut=["grpc://inside:1", "grpcs://10.0.3.4:8001"]), serve)
    for wrong in ("grpc://outside:8001", "grpc://inside.evil.org:1", "grpc://10.0.3.4:22"):
        with pytest.raises(UserError, match="--allow-sut"):
            require_allowed(settings(sut=["grpc://inside:1", wrong]), serve)


def test_metrics_are_read_only_of_allowed_addresses() -> None:
    serve = ServeSettings(allow_sut=["inside:*", "?::1?:8002"])
    allowed = ["http://inside:8002/metrics", "http://[::1]:8002"]
    sut = ["grpc://inside:1"]
    require_allowed(settings(sut=sut, sut_metrics=allowed), serve)
    for wrong in ("http://outside:8002/metrics", "http://169.254.169.254:80/inside:8002"):
        with pytest.raises(UserError, match=r"sut_metrics .*--allow-sut"):
            require_allowed(settings(sut=sut, sut_metrics=[*allowed, wrong]), serve)
    require_allowed(settings(sut_metrics=["http://outside:8002"]), ServeSettings())


def test_traces_may_go_nowhere_but_where_the_operator_allows() -> None:
    asked = settings(trace_sample_rate=0.5, otlp_endpoint="http://collector:4318/v1/traces")
    with pytest.raises(UserError, match="--allow-otlp"):
        require_allowed(asked, ServeSettings())
    with pytest.raises(UserError, match="--allow-otlp"):
        require_allowed(asked, ServeSettings(allow_otlp=["other:*"]))
    require_allowed(asked, ServeSettings(allow_otlp=["collector:4318"]))


TWO_READINGS = [
    "EVIL:4318?.internal:4318",
    "EVIL:4318#.internal:4318",
    "EVIL:4318\\.internal:4318",
    "EVIL:4318;.internal:4318",
    "EVIL%3A4318?.internal:4318",
    "EVIL%3A4318.internal:4318",
    "EVIL,x.internal:4318",
    "EVIL\t.internal:4318",
    "user@x.internal:4318",
    "EVIL/.internal:4318",
    "[::1].internal:4318",
    "x.internal:4318:4318",
    "x.internal:04318x",
    "\u2024internal:4318",
]
"""Authorities that a pattern and a client's parser could read differently."""


@pytest.mark.parametrize("authority", TWO_READINGS)
@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
def test_a_collector_that_two_parsers_read_differently_is_refused(
    authority: str, scheme: str
) -> None:
    with pytest.raises((UserError, ValueError), match="otlp_endpoint"):
        require_allowed(
            settings(trace_sample_rate=0.5, otlp_endpoint=f"{scheme}://{authority}"),
            ServeSettings(allow_otlp=["*.internal:4318", "*internal:4318"]),
        )


@pytest.mark.parametrize("authority", TWO_READINGS)
@pytest.mark.parametrize("scheme", ["grpc", "http", "openai"])
def test_a_sut_that_two_parsers_read_differently_is_refused(authority: str, scheme: str) -> None:
    serve = ServeSettings(allow_sut=["*.internal:4318", "*internal:4318"])
    with pytest.raises(UserError, match="--allow-sut"):
        require_allowed(settings(sut=[f"{scheme}://{authority}"]), serve)


def test_a_pattern_of_addresses_admits_no_name() -> None:
    serve = ServeSettings(allow_sut=["10.0.0.*", "192.168.?.1:8001"])
    require_allowed(settings(sut=["grpc://10.0.0.7:1", "grpc://192.168.3.1:8001"]), serve)
    for wrong in (
        "grpc://10.0.0.attacker.example:1",
        "grpc://10.0.0.1.attacker.example:1",
        "grpc://10.0.0.:1",
        "grpc://192.168.x.1:8001",
    ):
        with pytest.raises(UserError, match="--allow-sut"):
            require_allowed(settings(sut=[wrong]), serve)


def test_an_allowed_address_is_the_one_that_the_client_dials() -> None:
    for text in ("grpc://a-b_c.internal:8001", "grpc://[::1]:8001", "http://10.0.0.7:80/v2"):
        dialled, checked = parse_address(text), authority_of(text)
        assert (dialled.host, dialled.port) == (checked.host, checked.port)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "/etc/passwd"},
        {"dataset": "data/../../etc"},
        {"labels": "/etc/passwd"},
        {"task": "/etc/passwd"},
        {"task": "imagenet-sample/../x"},
        {"preprocess": "/etc/passwd"},
        {"user_conf": "/etc/passwd"},
        {"audit_config": "/etc/passwd"},
        {"trace_file": "/etc/passwd"},
        {"scenario": "concurrency", "sequences": "/etc/passwd"},
        {"tls_ca": "/etc/passwd"},
        {"header": ["x=file:/etc/passwd"]},
    ],
)
def test_paths_of_this_host_must_be_allowed(changes: dict[str, object]) -> None:
    with pytest.raises(UserError, match="--allow-path"):
        require_allowed(settings(**changes), ServeSettings(allow_path=["/data/*"]))


def test_every_setting_that_names_a_file_is_held_to_the_allowed_paths() -> None:
    """A new one must be added to PATH_FIELDS, or here with its reason."""
    elsewhere = {
        "dataset",  # a built-in name, or a path that is checked beside
        "task",  # so is this
        "header",  # file: is checked beside
        "api_key",  # so is this
        "out",  # not taken from elsewhere at all
    }
    words = re.compile(r"\b(file|PEM|JSONL|tokenizer\.json)\b")
    named = {
        name
        for name, field in Settings.model_fields.items()
        if field.annotation is str and words.search(field.description or "")
    }
    named |= {"user_conf", "audit_config"}  # LoadGen's, by their names
    assert named - elsewhere == set(PATH_FIELDS)


def test_an_address_in_brackets_is_allowed_as_it_is_written() -> None:
    serve = ServeSettings(allow_sut=["[::1]:8001"])
    require_allowed(settings(sut=["grpc://[::1]:8001"]), serve)
    with pytest.raises(UserError, match="--allow-sut"):
        require_allowed(settings(sut=["grpc://[::2]:8001"]), serve)


def test_allowed_paths_pass_and_dots_do_not_step_out() -> None:
    serve = ServeSettings(allow_path=["/data/*"])
    require_allowed(settings(dataset="/data/images"), serve)
    with pytest.raises(UserError, match="--allow-path"):
        require_allowed(settings(dataset="/data/../etc/passwd"), serve)


def test_a_link_does_not_step_out_of_an_allowed_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    serve = ServeSettings(allow_path=[f"{tmp_path}/*"])
    with pytest.raises(UserError, match="--allow-path"):
        require_allowed(settings(dataset=str(tmp_path / "link" / "passwd")), serve)


def test_built_in_data_and_literal_headers_need_no_permission() -> None:
    require_allowed(settings(dataset="digits", header=["x-api=1"]), ServeSettings())
    require_allowed(settings(task="digits", preprocess="raw"), ServeSettings())


def test_environment_variables_must_be_allowed() -> None:
    require_allowed(settings(header=["a=env:LOADGEN_HEADER_A"]), ServeSettings())
    with pytest.raises(UserError, match="--allow-env"):
        require_allowed(settings(header=["a=env:AWS_SECRET"]), ServeSettings())


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="give both or neither"):
        ServeSettings(tls_cert="c.pem")

"""Headers and TLS files: read from where the user keeps them, or named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.net.credentials import read_headers, read_text_headers, tls_context


def test_headers_come_from_text_environment_and_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    found = read_headers(
        ["A=plain", "b=env:SECRET", f"C-bin=file:{secret}", "d=x=y:z"], {"SECRET": "from-env"}
    )
    assert found == (("a", "plain"), ("b", "from-env"), ("c-bin", b"from-file\n"), ("d", "x=y:z"))


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("novalue", "NAME=VALUE"),
        ("bad name=x", "NAME=VALUE"),
        ("a=env:UNSET_VARIABLE", "UNSET_VARIABLE"),
        ("a=file:/no/such/file", "/no/such/file"),
        ("grpc-timeout=1S", "grpc-timeout"),
        ("te=trailers", "te"),
        ("proxy-authorization=Basic eA==", "set by the protocol"),
        ("content-length=3", "set by the protocol"),
        ("a=line\nbreak", "characters"),
    ],
)
def test_a_wrong_header_is_named(header: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        read_headers([header], {})


def test_a_secret_is_not_repeated_in_an_error() -> None:
    with pytest.raises(UserError) as caught:
        read_headers(["a=env:KEY"], {"KEY": "s3cret\n"})
    assert "s3cret" not in str(caught.value)


def test_a_wrong_name_is_told_without_its_value() -> None:
    for header in ("bad name=s3cret", "s3cret"):
        with pytest.raises(UserError) as caught:
            read_headers([header], {})
        assert "s3cret" not in str(caught.value)


def test_binary_metadata_is_any_bytes_over_grpc_and_text_over_http(tmp_path: Path) -> None:
    raw = bytes(range(256))
    (tmp_path / "raw").write_bytes(raw)
    header = f"trace-bin=file:{tmp_path / 'raw'}"
    assert read_headers([header]) == (("trace-bin", raw),)
    with pytest.raises(UserError, match="the value of trace-bin"):
        read_text_headers([header])
    assert read_text_headers(["trace-bin=plain"]) == (("trace-bin", "plain"),)


def test_tls_files_that_are_missing_or_no_pem_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tls_ca: cannot read"):
        tls_context(Settings(tls_ca=str(tmp_path / "none")))
    no_pem = tmp_path / "text"
    no_pem.write_text("hello")
    with pytest.raises(UserError, match="is no PEM file"):
        tls_context(Settings(tls_ca=str(no_pem)))
    with pytest.raises(UserError, match="no matching PEM"):
        tls_context(Settings(tls_cert=str(no_pem), tls_key=str(no_pem)))

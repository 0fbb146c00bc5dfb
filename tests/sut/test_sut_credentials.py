"""Headers and TLS files: read from where the user keeps them, or named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.credentials import read_headers, tls_context


def test_headers_come_from_text_environment_and_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    found = read_headers(
        ["A=plain", "b=env:SECRET", f"C-bin=file:{secret}", "d=x=y:z"], {"SECRET": "from-env"}
    )
    assert found == (("a", "plain"), ("b", "from-env"), ("c-bin", "from-file"), ("d", "x=y:z"))


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("novalue", "NAME=VALUE"),
        ("bad name=x", "NAME=VALUE"),
        ("a=env:UNSET_VARIABLE", "UNSET_VARIABLE"),
        ("a=file:/no/such/file", "/no/such/file"),
        ("grpc-timeout=1S", "grpc-timeout"),
        ("te=trailers", "te"),
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


def test_tls_files_that_are_missing_or_no_pem_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tls_ca: cannot read"):
        tls_context(Settings(tls_ca=str(tmp_path / "none")))
    no_pem = tmp_path / "text"
    no_pem.write_text("hello")
    with pytest.raises(UserError, match="is no PEM file"):
        tls_context(Settings(tls_ca=str(no_pem)))
    with pytest.raises(UserError, match="no matching PEM"):
        tls_context(Settings(tls_cert=str(no_pem), tls_key=str(no_pem)))

"""What a worker is told, and what it refuses to do in plain text."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen_service.errors import UserError
from loadgen_service.worker.process import parse_options
from loadgen_service.worker.session.options import WorkerOptions, is_loopback, open_coordinator


def test_the_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_TOKEN", "from-environment")
    assert parse_options(["--coordinator", "a:1"]).token == "from-environment"
    path = tmp_path / "token"
    path.write_text("from-file\n")
    given = parse_options(["--coordinator", "a:1", "--token-file", str(path)])
    assert given.metadata == (("authorization", "Bearer from-file"),)
    with pytest.raises(UserError, match="token_file: cannot read"):
        parse_options(["--coordinator", "a:1", "--token-file", str(tmp_path / "none")])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:80", True),
        ("localhost:80", True),
        ("[::1]:80", True),
        ("10.0.0.1:80", False),
        ("127.example.com:80", False),
        ("host:80", False),
    ],
)
def test_loopback_is_known(target: str, expected: bool) -> None:
    assert is_loopback(target) is expected


def test_plain_text_to_another_host_is_refused() -> None:
    with pytest.raises(UserError, match="--tls-ca"):
        open_coordinator(WorkerOptions("10.0.0.1:80", token="secret"))


def test_a_missing_certificate_is_named() -> None:
    with pytest.raises(UserError, match="tls_ca: cannot read /no/such"):
        open_coordinator(WorkerOptions("10.0.0.1:80", tls_ca="/no/such"))

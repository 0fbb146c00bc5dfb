"""Tokens with names and rights: their file, its changes, and every method's right over gRPC."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError
from loadgen_service.service.auth.policy import RIGHT_OF_METHOD
from loadgen_service.service.auth.token_book import (
    NO_SECRET,
    RIGHTS,
    UNKNOWN,
    WANTED,
    TokenBook,
    bearer_secret,
    digest_of,
    open_tokens,
    parse_tokens,
)

TOKEN = "0123456789abcdef"
OLD, NEW = "o" * 20, "n" * 20
FILE = f"""# who may what
alice  run,read  {"a" * 20}
dash   read      {"d" * 20}

fleet  work      {OLD}  until=2030-01-01T00:00+00:00
fleet  work      {NEW}
"""
CHANGE_S = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def book(text: str = FILE, now_s: float = 0.0, path: Path | None = None) -> TokenBook:
    return TokenBook(parse_tokens(text, "tokens"), path, lambda: now_s)


def denial(held: TokenBook, secret: str, right: str) -> str:
    found = held.denial(digest_of(secret), right)
    return found.reason if found else ""


def test_a_bare_token_gives_every_right() -> None:
    held = book(f"{TOKEN}\n")
    assert [denial(held, TOKEN, right) for right in RIGHTS] == ["", "", ""]
    assert denial(held, "", "run") == WANTED
    assert denial(held, TOKEN + "x", "run") == UNKNOWN
    assert denial(held, TOKEN[:-1], "run") == UNKNOWN


def test_each_line_gives_its_own_rights() -> None:
    held = book()
    can = {
        name: [right for right in RIGHTS if not denial(held, name[0] * 20, right)]
        for name in ("alice", "dash", "new")
    }
    assert can == {"alice": ["run", "read"], "dash": ["read"], "new": ["work"]}
    assert denial(held, "d" * 20, "run") == (
        "token dash: may not start or stop runs; its rights are read"
    )


def test_an_old_token_is_good_until_its_stated_end() -> None:
    assert denial(book(now_s=CHANGE_S - 1), OLD, "work") == ""
    assert "ended at 2030-01-01" in denial(book(now_s=CHANGE_S), OLD, "work")
    assert denial(book(now_s=CHANGE_S), NEW, "work") == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("name run", "line 2: give NAME RIGHTS TOKEN"),
        ("name fly ffffffffffffffffffff", "line 2: rights are run, read, work"),
        (f"name run {TOKEN} until=tomorrow", "line 2: give until=TIME"),
        (f"name run {TOKEN} 2030-01-01", "line 2: give until=TIME"),
        ("name run short", "line 2: give at least 16"),
        (f"name run {'ü' * 20}", "line 2: give at least 16"),
        (f"again read {'a' * 20}", "stands there twice"),
    ],
)
def test_a_bad_line_is_named_and_not_shown(line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as raised:
        parse_tokens(f"first run {'a' * 20}\n{line}", "token_file f")
    assert not any(word in str(raised.value) for word in line.split() if len(word) >= 16)


def test_the_file_is_read_again_when_it_changes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens"
    path.write_text(OLD)
    held = open_tokens(ServeSettings(token_file=str(path)))
    assert not denial(held, OLD, "run")
    path.write_text(f"new all {NEW}\nold all {OLD}")
    assert not denial(held, OLD, "run")
    assert not denial(held, NEW, "run")
    path.write_text(f"new all {NEW}")
    assert denial(held, OLD, "run") == UNKNOWN
    for bad in ("short", f"new fly {OLD}"):
        path.write_text(bad)
        assert not denial(held, NEW, "run")
        assert not denial(held, NEW, "run")
        said = capfd.readouterr().err
        assert said.count("tokens from before hold") == 1
        assert OLD not in said
    path.unlink()
    assert not denial(held, NEW, "run")


def test_the_token_file_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_TOKEN", NEW)
    assert not denial(open_tokens(ServeSettings()), NEW, "run")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert denial(open_tokens(ServeSettings(token_file=str(tmp_path / "token"))), NEW, "run")
    monkeypatch.delenv("LOADGEN_TOKEN")
    assert not open_tokens(ServeSettings())


@pytest.mark.parametrize("content", ["", "# none", "short", "ü" * 20])
def test_weak_tokens_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(SettingsError, match="token"):
        open_tokens(ServeSettings(token_file=str(tmp_path / "token")))


def test_files_that_cannot_be_tokens_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        open_tokens(ServeSettings(token_file=str(tmp_path / "none")))
    with open(tmp_path / "large", "wb") as file:
        os.truncate(file.fileno(), 2 << 20)
    with pytest.raises(SettingsError, match="larger than"):
        open_tokens(ServeSettings(token_file=str(tmp_path / "large")))


def test_only_a_bearer_is_read() -> None:
    assert bearer_secret(f"Bearer {TOKEN}") == TOKEN.encode()
    assert bearer_secret(f"bearer {TOKEN}") == bearer_secret(TOKEN) == bearer_secret("") == b""
    assert digest_of(b"") == NO_SECRET
    assert math.isinf(parse_tokens(TOKEN, "f")[0].until_s)


def test_every_method_has_a_right() -> None:
    services: Any = pb.DESCRIPTOR.services_by_name.values()
    methods = {f"/{one.full_name}/{method.name}" for one in services for method in one.methods}
    assert methods == set(RIGHT_OF_METHOD)
    assert set(RIGHT_OF_METHOD.values()) == set(RIGHTS)

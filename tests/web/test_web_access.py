"""Who may use the HTTP port, rule by rule."""

from __future__ import annotations

import pytest

from loadgen_service.service.auth.token_book import TokenBook, parse_tokens
from loadgen_service.web.access import SESSIONS_MAX, Access

TOKEN = "0123456789abcdef"
BOOK = TokenBook.of_secret(TOKEN)
JSON = {"content-type": "application/json"}


def status(access, method="GET", path="/metrics", cookie="", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    refused = access.refusal(method, path, given, cookie)
    return refused.status_code if refused else 200


def test_loopback_without_a_token_is_open_to_its_own_names_only():
    access = Access(TokenBook(), "127.0.0.1")
    for host in ("127.0.0.1:7441", "localhost:7441", "[::1]:7441"):
        assert status(access, host=host) == 200
    assert status(access, host="evil.example:7441") == 421
    assert status(access) == 421


def test_a_token_is_wanted_wherever_there_is_one():
    access = Access(BOOK, "127.0.0.1")
    assert status(access, host="h") == 401
    assert status(access, host="h", authorization=f"Bearer {TOKEN}x") == 401
    assert status(access, host="h", authorization=f"Bearer {TOKEN}") == 200


def test_a_login_is_a_session_and_not_the_token():
    access = Access(BOOK, "0.0.0.0")
    session = access.open_session(TOKEN)
    assert session
    assert not access.open_session("")
    assert status(access, host="h", cookie=session) == 200
    assert status(access, host="h", cookie=TOKEN) == 401
    assert status(Access(BOOK, "0.0.0.0"), host="h", cookie=session) == 401


def test_rights_hold_for_tokens_and_sessions():
    reading, running = "r" * 20, "s" * 20
    book = TokenBook(parse_tokens(f"dash read {reading}\nci run {running}", "f"))
    access = Access(book, "0.0.0.0")
    for name, secret, get, post in (("dash", reading, 200, 403), ("ci", running, 403, 200)):
        sent = {"authorization": f"Bearer {secret}"}
        session = access.open_session(secret)
        for given, cookie in ((sent, ""), ({}, session)):
            assert status(access, path="/api/runs/x", host="h", cookie=cookie, **given) == get
            given = {**given, "content_type": "application/json"}
            assert status(access, "POST", "/api/runs", cookie, host="h", **given) == post
            assert access.may("run", given, cookie) == (name == "ci")


def test_sessions_are_limited_and_end_with_their_token(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    book = TokenBook(parse_tokens(TOKEN, "f"), path)
    access = Access(book, "0.0.0.0")
    first = access.open_session(TOKEN)
    last = [access.open_session(TOKEN) for _ in range(SESSIONS_MAX)][-1]
    assert status(access, host="h", cookie=first) == 401
    assert status(access, host="h", cookie=last) == 200
    path.write_text("another-token-of-this-service")
    assert status(access, host="h", cookie=last) == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/login", "/assets/live.js"])
def test_the_empty_page_and_the_way_in_are_open(path):
    assert status(Access(BOOK, "0.0.0.0"), path=path, host="h") == 200


@pytest.mark.parametrize("path", ["/metrics", "/api/runs/x", "/runs/x/summary.json", "/assets"])
def test_everything_else_is_not(path):
    assert status(Access(BOOK, "0.0.0.0"), path=path, host="h") == 401


def test_another_site_cannot_start_or_stop():
    access, path = Access(TokenBook(), "127.0.0.1"), "/api/runs"
    here = {"host": "127.0.0.1:1", "content_type": "application/json"}
    assert status(access, "POST", path, **here) == 200
    assert status(access, "POST", path, **here, origin="http://127.0.0.1:1") == 200
    assert status(access, "POST", path, **here, origin="http://evil.example") == 403
    assert status(access, "POST", path, **here, origin="null") == 403
    assert status(access, "POST", path, host="127.0.0.1:1", content_type="text/plain") == 415

"""Who may use the HTTP port, rule by rule."""

from __future__ import annotations

import pytest

from loadgen_service.web.access import Access

TOKEN = "0123456789abcdef"
JSON = {"content-type": "application/json"}


def status(access, method="GET", path="/metrics", cookie="", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    refused = access.refusal(method, path, given, cookie)
    return refused.status_code if refused else 200


def test_loopback_without_a_token_is_open_to_its_own_names_only():
    access = Access("", "127.0.0.1")
    for host in ("127.0.0.1:7441", "localhost:7441", "[::1]:7441"):
        assert status(access, host=host) == 200
    assert status(access, host="evil.example:7441") == 421
    assert status(access) == 421


def test_a_token_is_wanted_wherever_there_is_one():
    access = Access(TOKEN, "127.0.0.1")
    assert status(access, host="h") == 401
    assert status(access, host="h", authorization=f"Bearer {TOKEN}x") == 401
    assert status(access, host="h", authorization=f"Bearer {TOKEN}") == 200


def test_a_login_is_a_session_and_not_the_token():
    access = Access(TOKEN, "0.0.0.0")
    assert access.opens(TOKEN)
    assert not access.opens("")
    assert status(access, host="h", cookie=access.session) == 200
    assert status(access, host="h", cookie=TOKEN) == 401
    assert status(Access(TOKEN, "0.0.0.0"), host="h", cookie=access.session) == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/login", "/assets/live.js"])
def test_the_empty_page_and_the_way_in_are_open(path):
    assert status(Access(TOKEN, "0.0.0.0"), path=path, host="h") == 200


@pytest.mark.parametrize("path", ["/metrics", "/api/runs/x", "/runs/x/summary.json", "/assets"])
def test_everything_else_is_not(path):
    assert status(Access(TOKEN, "0.0.0.0"), path=path, host="h") == 401


def test_another_site_cannot_start_or_stop():
    access, path = Access("", "127.0.0.1"), "/api/runs"
    here = {"host": "127.0.0.1:1", "content_type": "application/json"}
    assert status(access, "POST", path, **here) == 200
    assert status(access, "POST", path, **here, origin="http://127.0.0.1:1") == 200
    assert status(access, "POST", path, **here, origin="http://evil.example") == 403
    assert status(access, "POST", path, **here, origin="null") == 403
    assert status(access, "POST", path, host="127.0.0.1:1", content_type="text/plain") == 415

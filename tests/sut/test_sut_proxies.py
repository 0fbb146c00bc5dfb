"""Which proxy stands before which SUT, and that its password is never told."""

from __future__ import annotations

import pytest

from loadgen_service.errors import UserError
from loadgen_service.sut.net.addresses import parse_address
from loadgen_service.sut.net.connect_tunnel import tunnel_fault
from loadgen_service.sut.net.proxy_env import Proxy, is_excepted, proxy_of, read_proxy

ALL = {
    "grpc_proxy": "http://grpc:1",
    "https_proxy": "http://https:2",
    "http_proxy": "http://http:3",
    "all_proxy": "http://all:4",
}


@pytest.mark.parametrize(
    ("sut", "without", "proxy"),
    [
        ("grpc://h:1", (), "grpc"),
        ("grpcs://h:1", ("grpc_proxy",), "https"),
        ("grpc://h:1", ("grpc_proxy", "https_proxy"), "http"),
        ("grpc://h:1", ("grpc_proxy", "https_proxy", "http_proxy"), ""),
        ("https://h:1", (), "https"),
        ("openais://h:1", ("https_proxy",), "all"),
        ("http://h:1", (), "http"),
        ("openai://h:1", ("http_proxy",), "all"),
    ],
)
def test_each_protocol_has_its_variables_in_order(
    sut: str, without: tuple[str, ...], proxy: str
) -> None:
    environment = {name: url for name, url in ALL.items() if name not in without}
    found = proxy_of(parse_address(sut), environment)
    assert (found.host if found else "") == proxy


def test_upper_case_is_read_as_curl_reads_it() -> None:
    environment = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}
    assert proxy_of(parse_address("http://h:1"), environment) is None
    found = proxy_of(parse_address("https://h:1"), environment)
    assert found == Proxy("q", 2, "HTTPS_PROXY")
    assert proxy_of(parse_address("https://h:1"), environment | {"NO_PROXY": "h"}) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost", "a.localhost"])
def test_loopback_is_never_proxied_whatever_the_variables_say(host: str) -> None:
    for scheme in ("grpc", "grpcs", "http", "https", "openai"):
        environment = dict.fromkeys(ALL, "socks5://user:secret@nowhere")
        assert proxy_of(parse_address(f"{scheme}://{host}:80"), environment) is None


@pytest.mark.parametrize(
    ("entry", "sut", "expected"),
    [
        ("*", "grpc://h:1", True),
        ("example.org", "grpc://example.org:1", True),
        ("example.org", "grpc://a.EXAMPLE.org:1", True),
        (".example.org", "grpc://a.example.org:1", True),
        ("*.example.org", "grpc://a.example.org:1", True),
        ("example.org", "grpc://badexample.org:1", False),
        ("example.org:2", "grpc://example.org:1", False),
        ("example.org:1", "grpc://example.org:1", True),
        ("10.0.0.0/8", "grpc://10.200.3.4:1", True),
        ("10.0.0.0/8", "grpc://11.0.0.1:1", False),
        ("fd00::/8", "grpc://[fd00::1]:1", True),
        ("[fd00::1]:1", "grpc://[fd00::1]:1", True),
        ("fd00::1", "grpc://[fd00::2]:1", False),
        ("", "grpc://h:1", False),
        ("10.0.0.0/99", "grpc://10.0.0.1:1", False),
    ],
)
def test_entries_of_no_proxy(entry: str, sut: str, expected: bool) -> None:
    assert is_excepted(parse_address(sut), [" other ", entry]) is expected


def test_a_proxy_is_read_with_and_without_its_parts() -> None:
    assert read_proxy("http_proxy", "p") == Proxy("p", 80, "http_proxy")
    assert read_proxy("http_proxy", " http://[fd00::1]:8080/ ").host == "fd00::1"
    found = read_proxy("http_proxy", "http://me%40home:s%3Acret@p:3128")
    assert found.credentials == "me@home:s:cret"
    assert found.headers == (("Proxy-Authorization", "Basic bWVAaG9tZTpzOmNyZXQ="),)
    assert read_proxy("x", found.url).credentials == found.credentials
    assert "cret" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("socks5://me:s3cret@p:1", "of the kind socks5"),
        ("https://me:s3cret@p:1", "of the kind https"),
        ("http://me:s3cret@p:port", "is no proxy"),
        ("http://me:s3cret@", "names no host"),
        ("http://me:s3cret%0d%0a@p:1", "no header can carry"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(text: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        read_proxy("https_proxy", text)
    assert str(caught.value).startswith("https_proxy: ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", ""),
        (b"HTTP/1.0 200\r\nVia: x\r\n\r\n", ""),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "user:password@"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "ask its operator"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "is that running"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is it one?"),
        (b"HTTP/1.1 200 OK\r\n", "is it one?"),
        (b"", "is it one?"),
    ],
)
def test_what_an_answer_to_connect_means(head: bytes, fault: str) -> None:
    assert fault in tunnel_fault(head)
    assert bool(tunnel_fault(head)) == bool(fault)

"""SUT addresses as users write them, right and wrong."""

from __future__ import annotations

import asyncio

import pytest

from loadgen_service.core.protocols import PROTOCOLS
from loadgen_service.errors import SutError, UserError
from loadgen_service.sut.net.addresses import SutAddress, parse_address, parse_addresses, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grpc://host:8001", SutAddress("host", 8001, tls=False)),
        ("grpcs://host.example:443/", SutAddress("host.example", 443, tls=True)),
        ("grpc://[::1]:9", SutAddress("::1", 9, tls=False)),
        (" grpc://10.0.0.1:65535 ", SutAddress("10.0.0.1", 65535, tls=False)),
        ("openai://h:80", SutAddress("h", 80, False, PROTOCOLS["openai"], path="/v1")),
        (
            "openais://h:443/api/v2/",
            SutAddress("h", 443, True, PROTOCOLS["openai"], path="/api/v2"),
        ),
    ],
)
def test_addresses_are_read(text: str, expected: SutAddress) -> None:
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host:8001", "grpc://HOST:PORT"),
        ("ftp://host:8001", "'ftp'"),
        ("grpc://host", "no port"),
        ("grpc://host:1/v1", "has a path"),
        ("grpc://:80", "no host"),
        ("grpc://host:port", "'port'"),
        ("grpc://host:0", "1 to 65535"),
        ("grpc://host:65536", "1 to 65535"),
        ("grpc://::1:80", "brackets"),
        ("grpc://[fe80::1%eth0]:80", "zone"),
        ("http://[host]:80", "no IPv6 address"),
        ("", "no address"),
    ],
)
def test_a_wrong_address_is_named_in_one_line(text: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_address(text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_sut_twice_is_refused() -> None:
    with pytest.raises(UserError, match="named twice"):
        parse_addresses(["grpc://a:1", "grpc://b:1", "grpc://a:1"])


def test_suts_of_one_run_speak_one_protocol() -> None:
    with pytest.raises(UserError, match="different protocols"):
        parse_addresses(["grpc://a:1", "openai://a:2/v1"])


def test_an_address_of_ipv6_has_brackets_in_its_authority() -> None:
    assert SutAddress("::1", 80, tls=False).authority == "[::1]:80"


def test_a_number_resolves_to_itself() -> None:
    address = SutAddress("127.0.0.1", 80, tls=False)
    for policy in ("first", "all"):
        found = asyncio.run(resolve(address, policy, 5_000_000_000))  # type: ignore[arg-type]
        assert found == [("127.0.0.1", 80)]


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(SutError, match=r"no-such-host\.invalid"):
        asyncio.run(resolve(SutAddress("no-such-host.invalid", 1, tls=False), "first", 9 * 10**9))

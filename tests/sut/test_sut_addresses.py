"""SUT addresses as users write them, right and wrong."""

from __future__ import annotations

import asyncio

import pytest

from loadgen_service.core.protocols import PROTOCOLS
from loadgen_service.errors import SutError, UserError
from loadgen_service.sut.net.addresses import (
    SutAddress,
    first_connecting,
    moved_address,
    parse_address,
    parse_addresses,
    resolve,
)


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


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("openai://h:1/v1/chat/completions", "openai://h:1/v1"),
        ("openai://h:1/api/v1/completions/", "openai://h:1/api/v1"),
        ("openai://h:1/v1/models", "openai://h:1/v1"),
        ("openai://h:1/chat/completions", "openai://h:1/v1"),
        ("http://h:1/v2/models/resnet/infer", "http://h:1"),
        ("http://h:1/seldon/v2", "http://h:1/seldon"),
        ("http://h:1/v1", "http://h:1/v1"),
    ],
)
def test_a_pasted_endpoint_becomes_its_base_address(pasted: str, meant: str) -> None:
    assert str(parse_address(pasted)) == meant


@pytest.mark.parametrize(
    ("location", "meant"),
    [
        ("/v1/models", "openai://h:80/v1"),
        ("https://other.example/v1/models", "openais://other.example:443/v1"),
        ("http://h:8080/api/v1/models", "openai://h:8080/api/v1"),
    ],
)
def test_a_redirect_names_an_address(location: str, meant: str) -> None:
    address = parse_address("openai://h:80/moved/v1")
    assert moved_address(address, "/moved/v1/models", location) == meant


V6, V4, THIRD = ("::1", 80), ("127.0.0.1", 80), ("192.0.2.1", 80)


@pytest.mark.parametrize(
    ("refusing", "silent", "found"),
    [
        ({V6}, set(), V4),
        (set(), {V6}, V4),
        ({V6}, {V4}, THIRD),
        (set(), set(), V6),
        ({V6, V4, THIRD}, set(), None),
    ],
)
def test_every_address_of_a_name_is_tried(
    refusing: set[tuple[str, int]],
    silent: set[tuple[str, int]],
    found: tuple[str, int] | None,
) -> None:
    async def connects(host: str, port: int) -> None:
        if (host, port) in refusing:
            raise ConnectionRefusedError
        if (host, port) in silent:
            await asyncio.Event().wait()

    assert asyncio.run(first_connecting([V6, V4, THIRD], 60, connects)) == found


def test_a_name_whose_addresses_are_all_silent_ends_at_the_deadline() -> None:
    async def connects(host: str, port: int) -> None:
        await asyncio.Event().wait()

    assert asyncio.run(first_connecting([V6, V4], 0.01, connects)) is None


def test_a_name_of_two_families_resolves_to_the_one_that_is_served() -> None:
    async def work() -> list[tuple[str, int]]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(0, 0, 0, "", ("::1", port, 0, 0)), (0, 0, 0, "", ("127.0.0.1", port))]

        asyncio.get_running_loop().getaddrinfo = both  # type: ignore[method-assign,assignment]
        found = await resolve(SutAddress("both.test", port, tls=False), "first", 10**10)
        server.close()
        return [(host, found_port - port) for host, found_port in found]

    assert asyncio.run(work()) == [("127.0.0.1", 0)]

"""The table of protocols, and the descriptors that belong to its rows."""

from __future__ import annotations

import pytest

from loadgen_service.core.protocols import (
    ADDRESS_FORMS,
    DEFAULT_PROTOCOL,
    PROTOCOLS,
    SCHEMES,
    TracedCall,
    protocol_of,
    schemes_with,
)
from loadgen_service.core.settings import Settings
from loadgen_service.sut.factory import DESCRIPTORS


def test_every_row_has_a_descriptor_that_keeps_its_promises() -> None:
    assert set(DESCRIPTORS) == set(PROTOCOLS)
    for name, row in PROTOCOLS.items():
        assert (DESCRIPTORS[name].mark is not None) == row.sequences


def test_every_scheme_leads_to_one_row() -> None:
    assert len(SCHEMES) == 2 * len(PROTOCOLS)
    for scheme, (row, tls) in SCHEMES.items():
        assert protocol_of(f"{scheme}://h:1") is row
        assert scheme == (row.tls_scheme if tls else row.scheme)
        assert scheme in ADDRESS_FORMS


def test_an_unknown_scheme_is_read_as_the_default() -> None:
    assert protocol_of("ftp://h:1") is DEFAULT_PROTOCOL
    assert Settings().protocol is DEFAULT_PROTOCOL
    assert Settings(sut=["openais://h:1/v1"]).protocol is PROTOCOLS["openai"]


def test_schemes_with_a_capability() -> None:
    assert schemes_with("sequences") == "grpc:// or http://"
    assert schemes_with("json_tensors") == "http://"


@pytest.mark.parametrize(
    ("name", "call", "expected"),
    [
        ("grpc", TracedCall("m", "chat", 0, 0), ("ModelInfer", 4)),
        ("grpc", TracedCall("m", "chat", 3, None), ("ModelStreamInfer", 3)),
        ("http", TracedCall("m", "chat", 0, 0), ("POST", 1)),
        ("openai", TracedCall("m", "completions", 2, 0), ("text_completion m", 4)),
        ("openai", TracedCall("m", "chat", 0, 0), ("chat m", 3)),
    ],
)
def test_spans_are_named_by_the_protocol(
    name: str, call: TracedCall, expected: tuple[str, int]
) -> None:
    said, attributes = PROTOCOLS[name].trace(call)
    assert (said.rpartition("/")[2], len(attributes)) == expected

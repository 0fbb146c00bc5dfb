"""Header blocks made and read."""

from __future__ import annotations

import base64
import contextlib

import pytest
from grpc_wire.errors import (
    RESOURCE_EXHAUSTED,
    ConnectionFault,
    HeaderError,
    grpc_of_http,
    grpc_of_reset,
)
from grpc_wire.header_cache import KnownBlocks, RequestReader, ResponseReader, is_grpc
from grpc_wire.headers import (
    encode_block,
    request_headers,
    status_fields,
    timeout_text,
)
from grpc_wire.limits import REMEMBERED_BLOCK_BYTES, REMEMBERED_BLOCKS
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st


def decoded(block: bytes) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in Decoder().decode(block, raw=True)]


def test_request_block_holds_what_grpc_asks() -> None:
    block = request_headers(path="/s/m", authority="h:1", timeout_ns=5_000_000_000).block
    assert decoded(block) == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/s/m"),
        (":authority", "h:1"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-python-loadgen/1"),
        ("grpc-timeout", "5000000u"),
    ]


def test_one_more_field_is_for_one_request_and_leaves_the_table_empty() -> None:
    headers = request_headers(path="/s/m", authority="h:1", timeout_ns=5_000_000_000)
    more = headers.with_field(b"traceparent", b"00-" + b"a" * 52)
    assert decoded(more.block) == [*decoded(headers.block), ("traceparent", "00-" + "a" * 52)]
    decoder = Decoder()
    decoder.decode(more.block, raw=True)
    assert not decoder.header_table.dynamic_entries


def test_block_leaves_the_table_empty_so_it_repeats() -> None:
    block = request_headers(path="/s/m", authority="h:1", metadata=[("x-token", "secret")]).block
    decoder = Decoder()
    first = decoder.decode(block)
    assert not decoder.header_table.dynamic_entries
    assert decoder.decode(block) == first


def test_metadata_is_lower_case_and_binary_values_are_base64() -> None:
    metadata = [("X-Name", "a b"), ("trace-bin", "\x00é"), ("user-agent", "mine")]
    fields = dict(decoded(request_headers(path="/a", authority="h", metadata=metadata).block))
    assert fields["x-name"] == "a b"
    assert base64.b64decode(fields["trace-bin"] + "==") == "\x00é".encode()
    assert fields["user-agent"] == "mine"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("a b", "v", "may hold only"),
        (":path", "v", "may hold only"),
        ("", "v", "may hold only"),
        ("grpc-timeout", "1S", "set by gRPC itself"),
        ("te", "v", "set by gRPC itself"),
        ("x", "a\nb", "printable ASCII"),
        ("x", " a", "printable ASCII"),
        ("x", "é", "printable ASCII"),
    ],
)
def test_bad_metadata_is_refused_by_name(name: str, value: str, said: str) -> None:
    with pytest.raises(HeaderError, match=said):
        request_headers(path="/a", authority="h", metadata=[(name, value)])


def test_too_many_header_bytes_are_refused() -> None:
    with pytest.raises(HeaderError, match="more than the 16000"):
        request_headers(path="/a", authority="h", metadata=[("x", "~" * 20_000)])
    with pytest.raises(HeaderError, match="must start with"):
        request_headers(path="a", authority="h")


@pytest.mark.parametrize(
    ("timeout_ns", "text"),
    [
        (1, "1n"),
        (0, "1n"),
        (99_999_999, "99999999n"),
        (100_000_000, "100000u"),
        (100_000_001, "100001u"),
        (30_000_000_000, "30000000u"),
        (200_000_000_000, "200000m"),
        (10**18, "16666667M"),
        (10**30, "99999999H"),
    ],
)
def test_timeout_has_at_most_eight_digits_and_never_ends_early(timeout_ns: int, text: str) -> None:
    assert timeout_text(timeout_ns) == text


@given(st.integers(1, 10**17))
def test_timeout_is_never_shorter_than_asked(timeout_ns: int) -> None:
    text = timeout_text(timeout_ns)
    unit = {"n": 1, "u": 10**3, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}
    assert int(text[:-1]) * unit[text[-1]] >= timeout_ns
    assert len(text) <= 9


@given(st.text(max_size=200))
def test_status_text_survives_percent_encoding(text: str) -> None:
    reader = ResponseReader(64 << 10)
    sent = text.encode("utf-8", "replace").decode()
    response = reader.read(encode_block(status_fields(3, text)))
    assert (response.code, response.text, response.fault) == (3, sent, "")


def test_long_status_text_is_cut() -> None:
    assert len(encode_block(status_fields(3, "é" * 100_000))) < 16_384


def test_answer_blocks_say_status_code_and_fault() -> None:
    reader = ResponseReader(64 << 10)
    assert reader.read(encode_block([(":status", "200")])).status == 200
    assert reader.read(encode_block([("grpc-status", "x")])).fault
    assert reader.read(encode_block([("grpc-status", "-1")])).fault
    assert "out of place" in reader.read(encode_block([("a", "b"), (":status", "200")])).fault
    assert "no place in HTTP/2" in reader.read(encode_block([("connection", "x")])).fault
    assert "header name" in reader.read(encode_block([("Upper", "x")])).fault


def test_answer_block_that_uses_a_table_ends_the_connection() -> None:
    reader = ResponseReader(64 << 10)
    encoder = Encoder()
    encoder.encode([("x", "y")])
    with pytest.raises(ConnectionFault):
        reader.read(encoder.encode([("x", "y")]))


def test_too_large_a_header_list_fails_its_call_and_a_huge_one_the_connection() -> None:
    reader = ResponseReader(1_000)
    found = reader.read(encode_block([("x", "y" * 2_000)]))
    assert found.fault == "headers of 2033 bytes are over the limit of 1000"
    assert found.fault_code == RESOURCE_EXHAUSTED
    with pytest.raises(ConnectionFault, match="more than 8000 bytes"):
        reader.read(encode_block([("x", "y" * 9_000)]))


def test_remembered_blocks_are_bounded_in_number_and_in_bytes() -> None:
    known: KnownBlocks[int] = KnownBlocks()
    for number in range(3 * REMEMBERED_BLOCKS):
        known.add(b"x%d" % number, number)
        assert known.by_block[b"x%d" % number] == number
    assert len(known.by_block) <= REMEMBERED_BLOCKS
    for number in range(100):
        known.add(b"x%d" % number + bytes(20_000), number)
        assert sum(map(len, known.by_block)) <= REMEMBERED_BLOCK_BYTES
    known.clear()
    known.add(bytes(REMEMBERED_BLOCK_BYTES + 1), 1)
    known.add(b"\x20", 1)  # a table size update
    known.add(b"", 1)
    assert not known.by_block


FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/a")]
TYPE = ("content-type", "application/grpc")


def test_request_block_is_remembered_while_the_table_is_empty() -> None:
    reader = RequestReader(16 << 10)
    block = encode_block([*FIELDS, TYPE])
    first, lasting = reader.read(block)
    assert lasting
    assert reader.read(block)[0] is first


def test_request_blocks_of_a_stateful_encoder_are_read_in_order() -> None:
    reader = RequestReader(16 << 10)
    encoder = Encoder()
    blocks = [encoder.encode([*FIELDS, TYPE, ("x", str(index // 3))]) for index in range(9)]
    assert len(set(blocks)) < 9
    for index, block in enumerate(blocks):
        head, lasting = reader.read(block)
        assert not lasting
        assert head.metadata == {"x": str(index // 3)}


def test_table_is_forgotten_once_our_settings_are_acknowledged() -> None:
    reader = RequestReader(16 << 10)
    encoder = Encoder()
    reader.read(encoder.encode([*FIELDS, TYPE, ("x", "1")]))
    reader.forbid_table()
    encoder.header_table_size = 0
    assert reader.read(encoder.encode([*FIELDS, TYPE, ("x", "2")]))[0].metadata == {"x": "2"}
    block = encoder.encode([*FIELDS, TYPE, ("x", "3")])
    first, lasting = reader.read(block)
    assert lasting
    assert first.metadata == {"x": "3"}


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ([(":method", "GET"), *FIELDS[1:], TYPE], 405),
        (FIELDS, 415),
        ([*FIELDS, ("content-type", "application/grpc-web")], 415),
        ([*FIELDS, ("content-type", "application/grpc+proto")], 0),
    ],
)
def test_request_that_is_not_grpc_is_refused(fields: list[tuple[str, str]], refused: int) -> None:
    assert RequestReader(16 << 10).read(encode_block(fields))[0].refused == refused


@pytest.mark.parametrize("missing", range(3))
def test_request_without_a_pseudo_header_is_malformed(missing: int) -> None:
    fields = [*FIELDS[:missing], *FIELDS[missing + 1 :], TYPE]
    assert RequestReader(16 << 10).read(encode_block(fields))[0].fault


def test_codes_map_as_grpc_says() -> None:
    assert grpc_of_http(404) == 12
    assert grpc_of_http(503) == 14
    assert grpc_of_http(418) == 2
    assert grpc_of_reset(7) == 14
    assert grpc_of_reset(8) == 1
    assert grpc_of_reset(99) == 2
    assert is_grpc("application/grpc;charset=utf-8")
    assert not is_grpc("text/html")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(block: bytes) -> None:
    for reader in (ResponseReader(1_000), RequestReader(1_000)):
        with contextlib.suppress(ConnectionFault):
            reader.read(block)

"""Compression in settings and in the verdict: what does not go together, and the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError
from series_builder import Series, fail_rows, server

from loadgen_service.core.facts.run import ErrorFacts
from loadgen_service.core.records.columns import Status
from loadgen_service.core.settings import Settings

ASK = "--accept-compression gzip"
REMEDY = "--request-compression none"


def test_compressed_requests_do_not_go_with_shared_memory() -> None:
    target = {"sut": ["grpc://h:1"], "shared_memory": "system"}
    with pytest.raises(ValidationError, match="request_compression: with --shared-memory system"):
        Settings(**target, request_compression="gzip")
    assert Settings(**target, accept_compression="gzip").accept_compression == "gzip"


def test_requests_of_sequences_are_compressed_by_grpcio_only() -> None:
    played = {
        "sut": ["grpc://h:1"],
        "scenario": "concurrency",
        "sequences": "s.jsonl",
        "request_compression": "gzip",
    }
    with pytest.raises(ValidationError, match="request_compression: with --sequences"):
        Settings(**played)
    assert Settings(**played, adapter="grpc_aio").request_compression == "gzip"


def advice_of(made: Series) -> str:
    return next(one.advice for one in made.verdict().findings if one.name == "error_budget")


def failed(rows: slice, code: int, text: str, **given: str) -> Series:
    made = server(**given)
    fail_rows(made.records, rows, Status.FAILED)
    made.facts = replace(made.facts, errors=[ErrorFacts(code, text, 20)])
    return made


@pytest.mark.parametrize(
    ("code", "text"),
    [(12, "message is compressed; no compression was offered"), (2, "HTTP 415: not taken here")],
)
def test_a_refusal_of_compression_names_its_remedy(code: int, text: str) -> None:
    some = slice(0, 20)
    assert REMEDY in advice_of(failed(some, code, text, request_compression="gzip"))
    assert REMEDY not in advice_of(failed(some, code, text))
    assert REMEDY not in advice_of(failed(some, 3, "wrong", request_compression="gzip"))


@pytest.mark.parametrize("asked", ["none", "gzip"])
def test_answers_compressed_unasked_name_their_remedy(asked: str) -> None:
    text = "message is compressed; no compression was offered"
    every = slice(None)
    assert ASK in advice_of(failed(every, 13, text, request_compression=asked))
    assert ASK not in advice_of(failed(every, 13, text, accept_compression="gzip"))
    assert ASK not in advice_of(failed(every, 13, "the model raised"))


def test_a_server_that_answers_no_compressed_request_is_suspected() -> None:
    every = slice(None)
    made = failed(every, 3, "HTTP 400: Expecting value", request_compression="gzip")
    assert REMEDY in advice_of(made)
    assert REMEDY not in advice_of(failed(every, 3, "HTTP 400: Expecting value"))

"""The protocols that SUTs speak, as rows of one table: schemes, capabilities, trace attributes.

Nothing here connects. How each is opened, asked and built for is one descriptor a protocol under
``loadgen_service.sut`` (``sut/descriptor.py``). No other file branches on a protocol's name or
scheme: it asks the row what it needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TracedCall:
    """What a call's span is named by. ``code``: its gRPC status; None where none arrived.

    ``api`` is the request of an OpenAI-style server that was asked (``Settings.openai_api``).
    """

    model: str
    api: str
    token_count: int
    code: int | None


Traced = tuple[str, dict[str, Value]]
"""Name and attributes of a call's span, by OpenTelemetry's semantic conventions."""


@dataclass(frozen=True, slots=True)
class ProtocolRow:
    """One protocol. What it lacks, the settings refuse.

    ``scheme`` is plain text and ``tls_scheme`` TLS. ``address`` shows a user how to write one.
    ``takes_path``: an address may have a path; ``default_path`` stands for one that has none.
    ``inputs``: what a sample is, tensors or prompts. ``multiplexed``: one connection carries many
    calls. ``proxy_variables``: whose environment variables name the proxy. ``streams``: an answer
    may come in pieces. ``json_tensors``, ``sequences``, ``shared_memory``, ``grpc_aio``: whether
    these settings are offered over it. ``timeout_ms``: least deadline of a query where the user
    gives none; a language model's answer may take most of a minute.
    """

    name: str
    scheme: str
    tls_scheme: str
    address: str
    trace: Callable[[TracedCall], Traced]
    default_path: str = ""
    takes_path: bool = True
    inputs: Literal["tensors", "prompts"] = "tensors"
    multiplexed: bool = False
    proxy_variables: Literal["grpc", "http"] = "http"
    streams: bool = True
    json_tensors: bool = False
    sequences: bool = False
    shared_memory: bool = False
    grpc_aio: bool = False
    timeout_ms: int = 10_000


_RPC_SERVICE: Final = "inference.GRPCInferenceService"
_GEN_AI_OPERATION: Final = {"chat": "chat", "completions": "text_completion"}


def _trace_grpc(call: TracedCall) -> Traced:
    method = "ModelStreamInfer" if call.token_count > 0 else "ModelInfer"
    found: dict[str, Value] = {
        "rpc.system": "grpc",
        "rpc.service": _RPC_SERVICE,
        "rpc.method": method,
    }
    if call.code is not None:
        found["rpc.grpc.status_code"] = call.code
    return f"{_RPC_SERVICE}/{method}", found


def _trace_http(call: TracedCall) -> Traced:
    return "POST", {"http.request.method": "POST"}


def _trace_openai(call: TracedCall) -> Traced:
    operation = _GEN_AI_OPERATION[call.api]
    found: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": call.model,
    }
    if call.token_count > 0:
        found["gen_ai.usage.output_tokens"] = call.token_count
    return f"{operation} {call.model}", found


_ROWS: Final = (
    ProtocolRow(
        name="grpc",
        scheme="grpc",
        tls_scheme="grpcs",
        address="grpc://HOST:PORT",
        trace=_trace_grpc,
        takes_path=False,
        multiplexed=True,
        proxy_variables="grpc",
        sequences=True,
        shared_memory=True,
        grpc_aio=True,
    ),
    ProtocolRow(
        name="http",
        scheme="http",
        tls_scheme="https",
        address="http://HOST:PORT",
        trace=_trace_http,
        streams=False,
        json_tensors=True,
        sequences=True,
    ),
    ProtocolRow(
        name="openai",
        scheme="openai",
        tls_scheme="openais",
        address="openai://HOST:PORT/v1",
        trace=_trace_openai,
        default_path="/v1",
        inputs="prompts",
        timeout_ms=60_000,
    ),
)

PROTOCOLS: Final[Mapping[str, ProtocolRow]] = {row.name: row for row in _ROWS}
"""Protocol's name -> its row."""

SCHEMES: Final[Mapping[str, tuple[ProtocolRow, bool]]] = {
    scheme: (row, tls)
    for row in _ROWS
    for tls, scheme in ((False, row.scheme), (True, row.tls_scheme))
}
"""Scheme of an address -> its protocol, and whether it is TLS."""

DEFAULT_PROTOCOL: Final = _ROWS[0]
"""What a run without a SUT, or with an address that will be refused, is read by."""

ADDRESS_FORMS: Final = ", ".join(f"{row.address} ({row.tls_scheme}: TLS)" for row in _ROWS)
"""Every way to write a SUT's address, for help texts and complaints."""


def protocol_of(address: str) -> ProtocolRow:
    """The protocol by the scheme of ``address``; addresses are judged elsewhere."""
    return SCHEMES.get(address.partition("://")[0], (DEFAULT_PROTOCOL, False))[0]


def schemes_with(capability: str) -> str:
    """``grpc:// or http://``: plain schemes of the protocols that have a capability."""
    return " or ".join(f"{row.scheme}://" for row in _ROWS if getattr(row, capability))

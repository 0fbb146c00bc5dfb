"""What the operator asked for: one field an option, from which flags, checks and help are made.

Nothing is loaded and no port opened here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sut_server.connection_limits import ConnectionLimits
from sut_server.engines.faults import FaultPlan
from sut_server.engines.service_time import parse_service_time
from sut_server.engines.synthetic import INPUT_ELEMENTS, OUTPUT_ELEMENTS, SyntheticOptions
from sut_server.engines.token_times import TokenTimes, parse_token_times
from sut_server.errors import UsageError
from sut_server.memory_budget import DEFAULT_BYTES

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
BYTES_PER_MIB: Final = 1 << 20
DEFAULT_CONNECTION_LIMITS: Final = ConnectionLimits()
ZEROS: Final = Path()
"""``--warm-up`` without a file."""

Port = Annotated[int, Field(ge=0, le=65_535)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate and key, and the authority of its callers."""

    certificate: Path
    key: Path
    client_ca: Path | None


def _option(group: str, default: Any, text: str, metavar: str = "") -> Any:
    """A field's default, and how ``--help`` shows it."""
    return Field(default, description=text, json_schema_extra={"group": group, "metavar": metavar})


SERVING: Final = "serving"
BATCHING: Final = "batching"
SYNTHETIC: Final = "the synthetic model"
TOKENS: Final = "token streams: synthetic-stream and --openai-port"
REACH: Final = "reach"


class ServeOptions(BaseModel):
    """Everything that ``sut-server`` can be told; a field is a flag. Port 0 picks a free one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: tuple[str, ...] = _option(
        SERVING,
        ...,
        "efficientnet-lite0, digits, null, synthetic, synthetic-stream, accumulator, "
        "onnx:PATH or python:PKG.MODULE:CLASS; may be given again for several",
        "NAME",
    )
    host: str = _option(SERVING, "127.0.0.1", "address to listen on")
    port: Port = _option(SERVING, 8001, "0 picks a free one")
    openai_port: Port | None = _option(
        SERVING,
        None,
        "serve the token streams as OpenAI's completions there; 0 picks a free one",
    )
    http_port: Port | None = _option(
        SERVING, None, "serve KServe v2 over HTTP/REST there as well; 0 picks a free one"
    )
    metrics_port: Port | None = _option(
        SERVING, None, "serve Prometheus metrics there; 0 picks a free one"
    )
    otlp_endpoint: str = _option(
        SERVING,
        "",
        "send spans of calls with a sampled traceparent to http://HOST:4318, https, "
        "grpc://HOST:4317 or grpcs (extra otel)",
        "URL",
    )
    threads: Positive = _option(SERVING, 1, "threads inside one inference")
    instances: Positive = _option(SERVING, 1, "batches at the same time")
    isolate: bool = _option(
        SERVING,
        False,
        "run each loaded model in processes of its own, one an instance: it may crash or hang",
    )
    isolate_limit_s: Seconds = _option(
        SERVING, 600.0, "how long an isolated model may take over a batch"
    )
    isolate_memory_mib: Whole = _option(
        SERVING, 0, "what each process of an isolated model may allocate; 0: no limit"
    )
    drain_ms: Whole = _option(SERVING, 10_000, "wait this long at the end")

    max_batch: Positive = _option(BATCHING, 8, "samples in a batch and in a request")
    max_queue_delay_us: Whole = _option(
        BATCHING, 0, "how long a request waits for others to share its batch"
    )
    max_waiting: Positive = _option(
        BATCHING, 65_536, "requests in the queue; more are refused as UNAVAILABLE"
    )
    warm_up: Path | None = _option(
        BATCHING,
        None,
        "be ready only when each model has run the largest batch once: of zeros, or of a sample "
        "in FILE (.npy, .npz, or the bytes of one input)",
        "FILE",
    )

    service_time: str = _option(
        SYNTHETIC,
        "constant:1",
        "lognormal:MEDIAN_MS:SIGMA, bimodal:MS1:MS2:P, exponential:MEAN_MS, "
        "tokens:FIRST_MS:TOKEN_MS:MEDIAN_TOKENS:SIGMA",
    )
    seed: Whole = _option(SYNTHETIC, 0, "of service times and faults")
    concurrency_limit: Whole = _option(SYNTHETIC, 0, "served at a time; 0: all")
    error_rate: Share = _option(SYNTHETIC, 0.0, "share answered with INTERNAL")
    drop_rate: Share = _option(SYNTHETIC, 0.0, "share never answered")
    stall_at_ms: Milliseconds = _option(SYNTHETIC, 0.0, "after the first request")
    stall_ms: Milliseconds = _option(SYNTHETIC, 0.0, "how long nothing moves then")
    input_elements: Positive = _option(SYNTHETIC, INPUT_ELEMENTS, "length of its input")
    output_elements: Positive = _option(SYNTHETIC, OUTPUT_ELEMENTS, "length of its output")
    service_log: Path | None = _option(
        SYNTHETIC,
        None,
        "write the served times at the end: .npy, else a number of nanoseconds a line (any model "
        "but a lone null)",
        "FILE",
    )

    token_count: str = _option(
        TOKENS, "constant:32", "tokens of a stream, in the forms of --service-time"
    )
    first_token_time: str = _option(TOKENS, "constant:20", "in ms, likewise")
    token_time: str = _option(TOKENS, "constant:5", "of each further token")
    token_log: Path | None = _option(
        TOKENS,
        None,
        "write at the end when each stream's request came and its tokens left: JSON lines",
        "FILE",
    )

    tls_cert: Path | None = _option(REACH, None, "the server's certificate chain", "PEM")
    tls_key: Path | None = _option(REACH, None, "its key", "PEM")
    tls_client_ca: Path | None = _option(
        REACH, None, "callers must have a certificate of it", "PEM"
    )
    max_streams: Positive = _option(
        REACH, 65_536, "open calls a connection that callers are told of"
    )
    max_connections: Positive = _option(
        REACH,
        DEFAULT_CONNECTION_LIMITS.connections_max,
        "of all ports together; more are closed",
    )
    memory_mib: Positive = _option(
        REACH,
        DEFAULT_BYTES // BYTES_PER_MIB,
        "bytes of requests that are not answered yet; more are refused as RESOURCE_EXHAUSTED",
    )
    slow_limit_s: Seconds = _option(
        REACH,
        DEFAULT_CONNECTION_LIMITS.slow_s,
        "how long a request or an unread answer may move by less than 1 KiB/s",
    )
    idle_limit_s: Seconds = _option(
        REACH,
        DEFAULT_CONNECTION_LIMITS.idle_s,
        "how long a connection may be open without a call",
    )
    shared_memory: bool = _option(
        REACH,
        False,
        "take tensors from, and put them into, shared memory of this user on this host",
    )
    compression: Literal["none", "gzip"] = _option(
        REACH,
        "none",
        "gzip: take compressed requests, and compress answers to callers that read them",
    )
    insecure: bool = _option(REACH, False, "listen beyond loopback without TLS")

    @model_validator(mode="after")
    def _fit_together(self) -> ServeOptions:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key belong together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise UsageError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.error_rate + self.drop_rate > 1:
            raise UsageError("--error-rate and --drop-rate: together they may not exceed 1")
        _ = self.synthetic, self.token_times  # which refuse a form that they cannot read
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models to serve, each once."""
        return tuple(dict.fromkeys(self.model))

    @property
    def tls(self) -> TlsFiles | None:
        """The files of a server with TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    @property
    def connection_limits(self) -> ConnectionLimits:
        """How many connections, and how long each may dawdle or idle."""
        return ConnectionLimits(self.max_connections, self.slow_limit_s, self.idle_limit_s)

    @cached_property
    def token_times(self) -> TokenTimes:
        """Distributions of token streams. Raises UsageError."""
        return parse_token_times(self.token_count, self.first_token_time, self.token_time)

    @cached_property
    def synthetic(self) -> SyntheticOptions:
        """The synthetic model. Raises UsageError."""
        return SyntheticOptions(
            service_time=parse_service_time(self.service_time),
            seed=self.seed,
            concurrency_limit=self.concurrency_limit,
            faults=FaultPlan(
                error_rate=self.error_rate,
                drop_rate=self.drop_rate,
                stall_at_ns=round(self.stall_at_ms * NS_PER_MS),
                stall_ns=round(self.stall_ms * NS_PER_MS),
            ),
            input_elements=self.input_elements,
            output_elements=self.output_elements,
        )


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see sut-server --help)")


def parse_options(argv: Sequence[str]) -> ServeOptions:
    """Options of a command line; UsageError with one line for a wrong one."""
    given = vars(_parser().parse_args(argv))
    try:
        return ServeOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = _flag(str(first["loc"][0]))
        text = first["msg"].removeprefix("Input ")
        raise UsageError(f"{flag} {first['input']}: {text} (see sut-server --help)") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="sut-server",
        description="A KServe v2 inference server to be measured: real, null, synthetic or yours.",
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in ServeOptions.model_fields.items():
        shown: Any = field.json_schema_extra
        title = shown["group"]
        group = groups.get(title)
        if group is None:
            group = groups[title] = parser.add_argument_group(title)
        text = str(field.description)
        is_told = field.default is not None and field.default is not False
        if is_told and field.default != "" and not field.is_required():
            text += f" ({_shown(field.default)})".replace("%", "%%")
        group.add_argument(
            _flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            help=text,
            **_parsing(field.annotation, field.is_required(), shown["metavar"], name),
        )
    return parser


def _shown(default: Any) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _parsing(annotation: Any, is_required: bool, metavar: str, name: str) -> dict[str, Any]:
    """How argparse reads a field of this type; pydantic checks what it means."""
    if annotation is bool:
        return {"action": "store_true"}
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    kinds = {kind for kind in get_args(annotation) if kind is not NoneType} or {annotation}
    found: dict[str, Any] = {"metavar": metavar or ("N" if str not in kinds else "TEXT")}
    if get_origin(annotation) is tuple:
        found |= {"action": "append", "required": is_required}
    if name == "warm_up":
        found |= {"nargs": "?", "const": ZEROS}
    return found

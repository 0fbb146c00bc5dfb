"""What the operator asked for, read from flags and checked, before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from sut_server.connection_limits import ConnectionLimits
from sut_server.engines.faults import FaultPlan
from sut_server.engines.service_time import parse_service_time
from sut_server.engines.synthetic import INPUT_ELEMENTS, OUTPUT_ELEMENTS, SyntheticOptions
from sut_server.engines.token_times import TokenTimes, parse_token_times
from sut_server.errors import UsageError

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
DEFAULT_CONNECTION_LIMITS: Final = ConnectionLimits()
MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate and key, and the authority of its callers."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Everything that ``sut-server`` can be told. Port 0 picks a free one; no metrics if None."""

    models: tuple[str, ...]
    host: str
    port: int
    max_batch: int
    max_queue_delay_ns: int
    max_waiting: int
    max_streams: int
    instance_count: int
    thread_count: int
    metrics_port: int | None
    tls: TlsFiles | None
    insecure: bool
    drain_ns: int
    service_log: Path | None
    synthetic: SyntheticOptions
    token_times: TokenTimes
    token_log: Path | None = None
    openai_port: int | None = None
    http_port: int | None = None
    otlp_endpoint: str = ""
    shared_memory: bool = False
    warm_up: bool = False
    compression: bool = False
    """gzip is taken, and given to callers that read it."""
    connection_limits: ConnectionLimits = DEFAULT_CONNECTION_LIMITS


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see sut-server --help)")


def parse_options(argv: Sequence[str]) -> ServeOptions:
    """Options of a command line; UsageError with one line for a wrong one."""
    flags = _parser().parse_args(argv)
    return ServeOptions(
        models=tuple(dict.fromkeys(flags.model)),
        host=flags.host,
        port=flags.port,
        max_batch=flags.max_batch,
        max_queue_delay_ns=flags.max_queue_delay_us * NS_PER_US,
        max_waiting=flags.max_waiting,
        max_streams=flags.max_streams,
        instance_count=flags.instances,
        thread_count=flags.threads,
        metrics_port=flags.metrics_port,
        tls=_tls_files(flags),
        insecure=flags.insecure,
        drain_ns=flags.drain_ms * NS_PER_MS,
        service_log=flags.service_log,
        synthetic=_synthetic(flags),
        token_times=parse_token_times(flags.token_count, flags.first_token_time, flags.token_time),
        token_log=flags.token_log,
        openai_port=flags.openai_port,
        http_port=flags.http_port,
        otlp_endpoint=flags.otlp_endpoint,
        shared_memory=flags.shared_memory,
        warm_up=flags.warm_up,
        compression=flags.compression == "gzip",
        connection_limits=ConnectionLimits(
            flags.max_connections, flags.slow_limit_s, flags.idle_limit_s
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="sut-server",
        description="A KServe v2 inference server to be measured: real, null, synthetic or yours.",
        allow_abbrev=False,
    )
    _add_serving(parser.add_argument_group("serving"))
    _add_batching(parser.add_argument_group("batching"))
    _add_synthetic(parser.add_argument_group("the synthetic model"))
    _add_tokens(parser.add_argument_group("token streams: synthetic-stream and --openai-port"))
    _add_security(parser.add_argument_group("reach"))
    return parser


def _add_serving(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--model",
        action="append",
        required=True,
        metavar="NAME",
        help="efficientnet-lite0, digits, null, synthetic, synthetic-stream, accumulator, "
        "onnx:PATH or python:PKG.MODULE:CLASS; may be given again for several",
    )
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8001, help="0 picks a free one (%(default)s)")
    add(
        "--openai-port",
        type=_port,
        help="serve the token streams as OpenAI's completions there; 0 picks a free one",
    )
    add(
        "--http-port",
        type=_port,
        help="serve KServe v2 over HTTP/REST there as well; 0 picks a free one",
    )
    add("--metrics-port", type=_port, help="serve Prometheus metrics there; 0 picks a free one")
    add(
        "--otlp-endpoint",
        default="",
        metavar="URL",
        help="send spans of calls with a sampled traceparent to http://HOST:4318, https, "
        "grpc://HOST:4317 or grpcs (extra otel)",
    )
    add("--threads", type=_positive, default=1, help="threads inside one inference (%(default)s)")
    add("--instances", type=_positive, default=1, help="batches at the same time (%(default)s)")
    add("--drain-ms", type=_whole, default=10_000, help="wait this long at the end (%(default)s)")


def _add_batching(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--max-batch",
        type=_positive,
        default=8,
        help="samples in a batch and in a request (%(default)s)",
    )
    add(
        "--max-queue-delay-us",
        type=_whole,
        default=0,
        help="how long a request waits for others to share its batch (%(default)s)",
    )
    add(
        "--max-waiting",
        type=_positive,
        default=65_536,
        help="requests in the queue; more are refused as UNAVAILABLE (%(default)s)",
    )
    add(
        "--warm-up",
        action="store_true",
        help="be ready only when each model has run the largest batch once, of zeros",
    )


def _add_synthetic(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--service-time",
        default="constant:1",
        help="lognormal:MEDIAN_MS:SIGMA, bimodal:MS1:MS2:P,"
        " exponential:MEAN_MS, tokens:FIRST_MS:TOKEN_MS:MEDIAN_TOKENS:SIGMA (%(default)s)",
    )
    add("--seed", type=_whole, default=0, help="of service times and faults (%(default)s)")
    add(
        "--concurrency-limit", type=_whole, default=0, help="served at a time; 0: all (%(default)s)"
    )
    add("--error-rate", type=_share, default=0.0, help="share answered with INTERNAL")
    add("--drop-rate", type=_share, default=0.0, help="share never answered")
    add("--stall-at-ms", type=_number, default=0.0, help="after the first request")
    add("--stall-ms", type=_number, default=0.0, help="how long nothing moves then")
    add("--input-elements", type=_positive, default=INPUT_ELEMENTS, help="(%(default)s)")
    add("--output-elements", type=_positive, default=OUTPUT_ELEMENTS, help="(%(default)s)")
    add(
        "--service-log",
        type=Path,
        metavar="FILE",
        help="write the served times at the end: "
        ".npy, else a number of nanoseconds a line (any model but a lone null)",
    )


def _add_tokens(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--token-count",
        default="constant:32",
        help="tokens of a stream, in the forms of --service-time (%(default)s)",
    )
    add("--first-token-time", default="constant:20", help="in ms, likewise (%(default)s)")
    add("--token-time", default="constant:5", help="of each further token (%(default)s)")
    add(
        "--token-log",
        type=Path,
        metavar="FILE",
        help="write at the end when each stream's request came and its tokens left: JSON lines",
    )


def _add_security(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--tls-cert", type=Path, metavar="PEM", help="the server's certificate chain")
    add("--tls-key", type=Path, metavar="PEM", help="its key")
    add("--tls-client-ca", type=Path, metavar="PEM", help="callers must have a certificate of it")
    add(
        "--max-streams",
        type=_positive,
        default=65_536,
        help="open calls a connection that callers are told of (%(default)s)",
    )
    usual = DEFAULT_CONNECTION_LIMITS
    add(
        "--max-connections",
        type=_positive,
        default=usual.connections_max,
        help="of all ports together; more are closed (%(default)s)",
    )
    add(
        "--slow-limit-s",
        type=_over_zero,
        default=usual.slow_s,
        help="how long a request may trickle in, or an answer lie unread (%(default)g)",
    )
    add(
        "--idle-limit-s",
        type=_over_zero,
        default=usual.idle_s,
        help="how long a connection may be open without a call (%(default)g)",
    )
    add(
        "--shared-memory",
        action="store_true",
        help="take tensors from, and put them into, shared memory of this user on this host",
    )
    add(
        "--compression",
        choices=("none", "gzip"),
        default="none",
        help="gzip: take compressed requests, and compress answers to callers that read them",
    )
    add("--insecure", action="store_true", help="listen beyond loopback without TLS")


def _tls_files(flags: argparse.Namespace) -> TlsFiles | None:
    if (flags.tls_cert is None) != (flags.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both or neither")
    if flags.tls_cert is None:
        if flags.tls_client_ca is not None:
            raise UsageError("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    return TlsFiles(flags.tls_cert, flags.tls_key, flags.tls_client_ca)


def _synthetic(flags: argparse.Namespace) -> SyntheticOptions:
    if flags.error_rate + flags.drop_rate > 1:
        raise UsageError("--error-rate and --drop-rate: together they may not exceed 1")
    return SyntheticOptions(
        service_time=parse_service_time(flags.service_time),
        seed=flags.seed,
        concurrency_limit=flags.concurrency_limit,
        faults=FaultPlan(
            error_rate=flags.error_rate,
            drop_rate=flags.drop_rate,
            stall_at_ns=round(flags.stall_at_ms * NS_PER_MS),
            stall_ns=round(flags.stall_ms * NS_PER_MS),
        ),
        input_elements=flags.input_elements,
        output_elements=flags.output_elements,
    )


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number >= 0")
    return number


def _over_zero(text: str) -> float:
    number = _number(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return number

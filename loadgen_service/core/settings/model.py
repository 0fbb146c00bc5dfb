"""Settings: the sections joined, and the rules that tie fields together."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, model_validator

from loadgen_service.core.protocols import DEFAULT_PROTOCOL, ProtocolRow, protocol_of
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings.authority import HOST
from loadgen_service.core.settings.judging import JudgingSettings, MlperfSettings
from loadgen_service.core.settings.observing import (
    FleetSettings,
    ServerSideSettings,
    TracingSettings,
)
from loadgen_service.core.settings.target import (
    CompressionSettings,
    EndpointSettings,
    MemorySettings,
    TargetSettings,
    compression_trouble,
    http_tensors_trouble,
    memory_trouble,
)
from loadgen_service.core.settings.traffic import (
    DataSettings,
    SequenceSettings,
    TrafficSettings,
    sequence_trouble,
)
from loadgen_service.core.units import NS_PER_MS

OTLP_ENDPOINT = re.compile(rf"(?:https?|grpcs?)://{HOST}(?::[0-9]{{1,5}})?(?:/[^\s\\]*)?")
"""Without a user and a password: these belong into OTEL_EXPORTER_OTLP_HEADERS."""


class Seeds(NamedTuple):
    """What feeds loaded sets, samples of queries, and arrival times."""

    qsl: int
    sample_index: int
    schedule: int


class Settings(
    TrafficSettings,
    TargetSettings,
    EndpointSettings,
    ServerSideSettings,
    MemorySettings,
    CompressionSettings,
    DataSettings,
    SequenceSettings,
    JudgingSettings,
    MlperfSettings,
    FleetSettings,
    TracingSettings,
):
    """Everything a user may set. Frozen; fields keep LoadGen's names and units.

    Effective values (defaults that depend on the scenario) are properties, so what the user asked
    for stays readable in ``settings.yaml``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def series_kinds(self) -> tuple[Literal["performance", "accuracy"], ...]:
        """Kinds of measured series, in the order of their issue. TEST05 is a performance run."""
        if self.mode == "submission" and not self.test05:
            return ("accuracy", "performance")
        return ("accuracy",) if self.mode == "accuracy" and not self.test05 else ("performance",)

    @property
    def searches_peak(self) -> bool:
        """Whether the run is a sequence of server series, each at the rate that the last led to."""
        return self.mode == "find_peak" and not self.test05

    @property
    def seeds(self) -> Seeds:
        """The seeds that hold: those of TEST05 where that review is asked for."""
        if self.test05:
            return Seeds(
                self.test05_qsl_rng_seed,
                self.test05_sample_index_rng_seed,
                self.test05_schedule_rng_seed,
            )
        return Seeds(self.qsl_rng_seed, self.sample_index_rng_seed, self.schedule_rng_seed)

    @property
    def percentile(self) -> float:
        """Target percentile as a quantile in (0, 1), LoadGen's ``number * 0.01`` in double."""
        return (self.target_latency_percentile or SCENARIOS[self.scenario].percentile) * 0.01

    @property
    def latency_limit_ns(self) -> int:
        """Latency limit of the scenario; 0 where none is judged."""
        row = SCENARIOS[self.scenario]
        limit_ms = self.target_latency_ms or (row.default_target_latency_ms)
        return int(limit_ms * NS_PER_MS)

    @property
    def protocol(self) -> ProtocolRow:
        """What the SUTs speak, by the scheme of the first; addresses are judged elsewhere."""
        return protocol_of(self.sut[0]) if self.sut else DEFAULT_PROTOCOL

    @property
    def keeps_responses(self) -> bool:
        """Whether any series of the run keeps its responses."""
        return self.log_responses or "accuracy" in self.series_kinds or self.samples_responses

    @property
    def samples_responses(self) -> bool:
        """Whether performance series keep some samples' responses, drawn by LoadGen's rule."""
        return self.accuracy_log_probability > 0 or self.accuracy_log_sampling_target > 0

    @property
    def writes_mlperf_logs(self) -> bool:
        """Whether LoadGen's log files are wanted beside ours."""
        asked = self.mlperf_logs or self.mlperf_trace or self.strict_loadgen
        named = self.mlperf_model or self.user_conf or self.audit_config or self.test05
        return asked or bool(named) or self.mode != "performance"

    @property
    def deadline_ns(self) -> int:
        """Deadline of a query, counted from its issue; a language model's answers take longer."""
        if self.timeout_ms:
            return self.timeout_ms * NS_PER_MS
        return max(self.protocol.timeout_ms * NS_PER_MS, 2 * self.latency_limit_ns)

    @property
    def issue_delay_budget_ns(self) -> int:
        """Largest p99 of released - scheduled: 2 % of the tightest limit, at least 1 ms.

        Our lateness is part of a latency and of a time to the first token. The limit of the
        latter counts where it is judged, and where a user chose it.
        """
        if self.issue_delay_budget_ms:
            return int(self.issue_delay_budget_ms * NS_PER_MS)
        limits_ns = [self.latency_limit_ns]
        chosen = self.ttft_latency_ms != type(self).model_fields["ttft_latency_ms"].default
        if self.use_token_latencies or chosen:
            limits_ns.append(self.ttft_latency_ms * NS_PER_MS)
        return max(NS_PER_MS, min(filter(None, limits_ns), default=0) // 50)

    @model_validator(mode="before")
    @classmethod
    def _weights_ask_for_routing(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("sut_weights") and "routing" not in given:
            return {**given, "routing": "weights"}
        return given

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        row = SCENARIOS[self.scenario]
        if self.workers > 1 and row.one_worker:
            raise ValueError(
                f"workers: {self.scenario} keeps one query outstanding for the whole run, "
                "so exactly one worker issues it; use --workers 1"
            )
        if self.timeout_ms and self.timeout_ms * NS_PER_MS <= self.latency_limit_ns:
            raise ValueError(
                "timeout_ms: must exceed target_latency_ms, or late queries would look lost"
            )
        if self.routing == "weights" and len(self.sut_weights) != len(self.sut):
            raise ValueError("sut_weights: give one weight for each SUT")
        if self.sut_weights and self.routing != "weights":
            raise ValueError(
                f"sut_weights: --routing {self.routing} takes none; leave one of them out"
            )
        if any(w <= 0 for w in self.sut_weights):
            raise ValueError("sut_weights: every weight must be above 0")
        if self.samples_per_request > 1 and not row.splits_queries:
            raise ValueError(
                "samples_per_request: only offline and multi_stream queries carry several samples"
            )
        if self.concurrency < self.workers and "concurrency" in row.load_settings:
            raise ValueError("concurrency: must be at least the number of workers")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert, tls_key: give both or neither")
        if self.api_key and not self.api_key.startswith(("env:", "file:")):
            raise ValueError(
                "api_key: give env:VARIABLE or file:PATH, not the key: a command line is no secret"
            )
        self._arrivals_agree()
        self._engine_agrees()
        self._tracing_agrees()
        if trouble := memory_trouble(
            self, self.protocol, self.samples_per_request, self.streaming == "on"
        ):
            raise ValueError(trouble)
        if trouble := http_tensors_trouble(self, self.protocol, self.sequences):
            raise ValueError(trouble)
        waits = row.closed and not row.one_worker
        if trouble := sequence_trouble(self, waits):
            raise ValueError(trouble)
        if trouble := compression_trouble(self, self.shared_memory, self.sequences, self.adapter):
            raise ValueError(trouble)
        return self

    def _tracing_agrees(self) -> None:
        if self.otlp_endpoint and not OTLP_ENDPOINT.fullmatch(self.otlp_endpoint):
            raise ValueError(
                f"otlp_endpoint: {self.otlp_endpoint} is none; give http://HOST:4318, https, "
                "grpc://HOST:4317 or grpcs"
            )
        if bool(self.trace_sample_rate) != bool(self.otlp_endpoint):
            raise ValueError(
                "trace_sample_rate, otlp_endpoint: give both or neither: a share of the queries "
                "above 0, and where their spans go"
            )

    def _engine_agrees(self) -> None:
        """What the official LoadGen, or the rules for a QDL, leave no choice about."""
        if self.engine == "native":
            return
        if self.workers > 1:
            raise ValueError(
                "workers: the official LoadGen issues from one process; use --workers 1 with "
                "--engine mlcommons"
            )
        row = SCENARIOS[self.scenario]
        if row.due == "bursts" or row.duration_clock == "window":
            raise ValueError(
                f"engine: the official LoadGen has no {self.scenario} scenario; use --engine native"
            )
        if row.due == "arrivals" and self.arrivals != "poisson":
            raise ValueError(
                f"engine: the official LoadGen has no {self.arrivals} arrivals; use --engine native"
            )
        if self.searches_peak:
            raise ValueError(
                "engine: find_peak runs with --engine native, which searches in LoadGen's exact "
                "sequence; measure the peak that it finds with --engine mlcommons"
            )
        if self.samples_per_request > 1:
            raise ValueError(
                "samples_per_request: a QDL must not batch; use 1 with --engine mlcommons"
            )
        if self.coalesce_queries and self.max_query_count:
            raise ValueError(
                "max_query_count: LoadGen overshoots it where it coalesces queries; leave one of "
                "them out with --engine mlcommons"
            )

    def _arrivals_agree(self) -> None:
        follows_arrivals = SCENARIOS[self.scenario].due == "arrivals"
        searchable = follows_arrivals and self.arrivals in ("poisson", "constant", "gamma")
        if self.searches_peak and not searchable:
            raise ValueError(
                "mode: find_peak searches the rate of the server scenario; use --scenario server "
                "and --arrivals poisson, constant or gamma"
            )
        needs = {
            "ramp": ("ramp_to_qps", self.ramp_to_qps),
            "steps": ("steps", self.steps),
            "trace": ("trace_file", self.trace_file),
        }
        if follows_arrivals and self.arrivals in needs:
            name, value = needs[self.arrivals]
            if not value:
                raise ValueError(f"{name}: required by --arrivals {self.arrivals}")

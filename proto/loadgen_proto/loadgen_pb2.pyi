from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    QUEUED: _ClassVar[RunState]
    LEASING: _ClassVar[RunState]
    PREPARING: _ClassVar[RunState]
    RUNNING: _ClassVar[RunState]
    DRAINING: _ClassVar[RunState]
    WRITING: _ClassVar[RunState]
    DONE: _ClassVar[RunState]
    FAILED: _ClassVar[RunState]
    INTERRUPTED: _ClassVar[RunState]

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_UNSPECIFIED: _ClassVar[StopReason]
    MINIMA_MET: _ClassVar[StopReason]
    INTERRUPT: _ClassVar[StopReason]
    ABANDON: _ClassVar[StopReason]
RUN_STATE_UNSPECIFIED: RunState
QUEUED: RunState
LEASING: RunState
PREPARING: RunState
RUNNING: RunState
DRAINING: RunState
WRITING: RunState
DONE: RunState
FAILED: RunState
INTERRUPTED: RunState
STOP_UNSPECIFIED: StopReason
MINIMA_MET: StopReason
INTERRUPT: StopReason
ABANDON: StopReason

class StartRunRequest(_message.Message):
    __slots__ = ("settings_json", "streams")
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    settings_json: str
    streams: _containers.RepeatedCompositeFieldContainer[StreamRequest]
    def __init__(self, settings_json: _Optional[str] = ..., streams: _Optional[_Iterable[_Union[StreamRequest, _Mapping]]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("name", "settings_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings_json: str
    def __init__(self, name: _Optional[str] = ..., settings_json: _Optional[str] = ...) -> None: ...

class StartRunReply(_message.Message):
    __slots__ = ("run_id", "run_directory")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_directory: str
    def __init__(self, run_id: _Optional[str] = ..., run_directory: _Optional[str] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class StopRunReply(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: RunState
    def __init__(self, state: _Optional[_Union[RunState, str]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRunsReply(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunStatus]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunStatus, _Mapping]]] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("path", "content", "crc32", "last_of_file")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    LAST_OF_FILE_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: bytes
    crc32: int
    last_of_file: bool
    def __init__(self, path: _Optional[str] = ..., content: _Optional[bytes] = ..., crc32: _Optional[int] = ..., last_of_file: _Optional[bool] = ...) -> None: ...

class RunStatus(_message.Message):
    __slots__ = ("run_id", "state", "scenario", "mode", "series_index", "series_count", "series_name", "elapsed_ns", "planned_ns", "queries", "live", "run_directory", "error", "error_exit_code", "summary_json", "workers", "suts", "notes", "stream_name", "streams")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    SERIES_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERIES_NAME_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_NS_FIELD_NUMBER: _ClassVar[int]
    PLANNED_NS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    RUN_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SUTS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    STREAM_NAME_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: RunState
    scenario: str
    mode: str
    series_index: int
    series_count: int
    series_name: str
    elapsed_ns: int
    planned_ns: int
    queries: Counts
    live: LiveFigures
    run_directory: str
    error: str
    error_exit_code: int
    summary_json: str
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    suts: _containers.RepeatedCompositeFieldContainer[SutStatus]
    notes: _containers.RepeatedScalarFieldContainer[str]
    stream_name: str
    streams: _containers.RepeatedCompositeFieldContainer[RunStatus]
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[_Union[RunState, str]] = ..., scenario: _Optional[str] = ..., mode: _Optional[str] = ..., series_index: _Optional[int] = ..., series_count: _Optional[int] = ..., series_name: _Optional[str] = ..., elapsed_ns: _Optional[int] = ..., planned_ns: _Optional[int] = ..., queries: _Optional[_Union[Counts, _Mapping]] = ..., live: _Optional[_Union[LiveFigures, _Mapping]] = ..., run_directory: _Optional[str] = ..., error: _Optional[str] = ..., error_exit_code: _Optional[int] = ..., summary_json: _Optional[str] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., suts: _Optional[_Iterable[_Union[SutStatus, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., stream_name: _Optional[str] = ..., streams: _Optional[_Iterable[_Union[RunStatus, _Mapping]]] = ...) -> None: ...

class Counts(_message.Message):
    __slots__ = ("planned", "not_issued", "issued", "completed", "failed", "timed_out", "lost")
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    NOT_ISSUED_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    planned: int
    not_issued: int
    issued: int
    completed: int
    failed: int
    timed_out: int
    lost: int
    def __init__(self, planned: _Optional[int] = ..., not_issued: _Optional[int] = ..., issued: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., timed_out: _Optional[int] = ..., lost: _Optional[int] = ...) -> None: ...

class LiveFigures(_message.Message):
    __slots__ = ("completed_qps", "latency_ns_p50", "latency_ns_p90", "latency_ns_p99", "latency_ns_max", "issue_delay_ns_p50", "issue_delay_ns_p99", "outstanding", "ttft_ns_p50", "ttft_ns_p99", "tokens_per_second")
    COMPLETED_QPS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_NS_P50_FIELD_NUMBER: _ClassVar[int]
    LATENCY_NS_P90_FIELD_NUMBER: _ClassVar[int]
    LATENCY_NS_P99_FIELD_NUMBER: _ClassVar[int]
    LATENCY_NS_MAX_FIELD_NUMBER: _ClassVar[int]
    ISSUE_DELAY_NS_P50_FIELD_NUMBER: _ClassVar[int]
    ISSUE_DELAY_NS_P99_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    TTFT_NS_P50_FIELD_NUMBER: _ClassVar[int]
    TTFT_NS_P99_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    completed_qps: float
    latency_ns_p50: int
    latency_ns_p90: int
    latency_ns_p99: int
    latency_ns_max: int
    issue_delay_ns_p50: int
    issue_delay_ns_p99: int
    outstanding: int
    ttft_ns_p50: int
    ttft_ns_p99: int
    tokens_per_second: float
    def __init__(self, completed_qps: _Optional[float] = ..., latency_ns_p50: _Optional[int] = ..., latency_ns_p90: _Optional[int] = ..., latency_ns_p99: _Optional[int] = ..., latency_ns_max: _Optional[int] = ..., issue_delay_ns_p50: _Optional[int] = ..., issue_delay_ns_p99: _Optional[int] = ..., outstanding: _Optional[int] = ..., ttft_ns_p50: _Optional[int] = ..., ttft_ns_p99: _Optional[int] = ..., tokens_per_second: _Optional[float] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("worker_index", "host", "pid", "lost", "clock", "report")
    WORKER_INDEX_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    worker_index: int
    host: str
    pid: int
    lost: bool
    clock: ClockOffset
    report: WorkerReport
    def __init__(self, worker_index: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., lost: _Optional[bool] = ..., clock: _Optional[_Union[ClockOffset, _Mapping]] = ..., report: _Optional[_Union[WorkerReport, _Mapping]] = ...) -> None: ...

class SutStatus(_message.Message):
    __slots__ = ("sut_index", "address", "queries", "latency_ns_p99")
    SUT_INDEX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_NS_P99_FIELD_NUMBER: _ClassVar[int]
    sut_index: int
    address: str
    queries: Counts
    latency_ns_p99: int
    def __init__(self, sut_index: _Optional[int] = ..., address: _Optional[str] = ..., queries: _Optional[_Union[Counts, _Mapping]] = ..., latency_ns_p99: _Optional[int] = ...) -> None: ...

class FromWorker(_message.Message):
    __slots__ = ("hello", "heartbeat", "ping", "clock", "control", "ready", "armed", "progress", "done", "failure", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    ARMED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    ping: Ping
    clock: ClockOffset
    control: ControlReply
    ready: Ready
    armed: SeriesArmed
    progress: SeriesProgress
    done: SeriesDone
    failure: Failure
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., clock: _Optional[_Union[ClockOffset, _Mapping]] = ..., control: _Optional[_Union[ControlReply, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., armed: _Optional[_Union[SeriesArmed, _Mapping]] = ..., progress: _Optional[_Union[SeriesProgress, _Mapping]] = ..., done: _Optional[_Union[SeriesDone, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class ToWorker(_message.Message):
    __slots__ = ("welcome", "pong", "measure_clock", "control", "prepare", "arm", "start", "stop", "finish")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    MEASURE_CLOCK_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    pong: Pong
    measure_clock: MeasureClock
    control: Control
    prepare: Prepare
    arm: Arm
    start: Start
    stop: Stop
    finish: Finish
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., measure_clock: _Optional[_Union[MeasureClock, _Mapping]] = ..., control: _Optional[_Union[Control, _Mapping]] = ..., prepare: _Optional[_Union[Prepare, _Mapping]] = ..., arm: _Optional[_Union[Arm, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker_id", "host", "pid", "cpu_count", "version", "epoch", "labels", "run_id")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    host: str
    pid: int
    cpu_count: int
    version: str
    epoch: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    run_id: str
    def __init__(self, worker_id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., cpu_count: _Optional[int] = ..., version: _Optional[str] = ..., epoch: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., run_id: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session_id", "heartbeat_interval_ns")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    heartbeat_interval_ns: int
    def __init__(self, session_id: _Optional[str] = ..., heartbeat_interval_ns: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("issued", "completed", "outstanding", "report")
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    issued: int
    completed: int
    outstanding: int
    report: WorkerReport
    def __init__(self, issued: _Optional[int] = ..., completed: _Optional[int] = ..., outstanding: _Optional[int] = ..., report: _Optional[_Union[WorkerReport, _Mapping]] = ...) -> None: ...

class WorkerReport(_message.Message):
    __slots__ = ("figures",)
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    figures: _containers.ScalarMap[str, float]
    def __init__(self, figures: _Optional[_Mapping[str, float]] = ...) -> None: ...

class MeasureClock(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("index", "sent_ns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    index: int
    sent_ns: int
    def __init__(self, index: _Optional[int] = ..., sent_ns: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("index", "sent_ns", "received_ns", "replied_ns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    REPLIED_NS_FIELD_NUMBER: _ClassVar[int]
    index: int
    sent_ns: int
    received_ns: int
    replied_ns: int
    def __init__(self, index: _Optional[int] = ..., sent_ns: _Optional[int] = ..., received_ns: _Optional[int] = ..., replied_ns: _Optional[int] = ...) -> None: ...

class ClockOffset(_message.Message):
    __slots__ = ("offset_ns", "error_ns", "measured_at_ns", "peer")
    OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    ERROR_NS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    offset_ns: int
    error_ns: int
    measured_at_ns: int
    peer: str
    def __init__(self, offset_ns: _Optional[int] = ..., error_ns: _Optional[int] = ..., measured_at_ns: _Optional[int] = ..., peer: _Optional[str] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("id", "settings_json", "timeout_ns", "describe", "load", "unload", "flush", "clocks", "statistics")
    ID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NS_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    UNLOAD_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    CLOCKS_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    id: int
    settings_json: str
    timeout_ns: int
    describe: Describe
    load: LoadSamples
    unload: LoadSamples
    flush: FlushSuts
    clocks: MeasureSutClocks
    statistics: Statistics
    def __init__(self, id: _Optional[int] = ..., settings_json: _Optional[str] = ..., timeout_ns: _Optional[int] = ..., describe: _Optional[_Union[Describe, _Mapping]] = ..., load: _Optional[_Union[LoadSamples, _Mapping]] = ..., unload: _Optional[_Union[LoadSamples, _Mapping]] = ..., flush: _Optional[_Union[FlushSuts, _Mapping]] = ..., clocks: _Optional[_Union[MeasureSutClocks, _Mapping]] = ..., statistics: _Optional[_Union[Statistics, _Mapping]] = ...) -> None: ...

class Describe(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LoadSamples(_message.Message):
    __slots__ = ("sample_index",)
    SAMPLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    sample_index: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sample_index: _Optional[_Iterable[int]] = ...) -> None: ...

class FlushSuts(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MeasureSutClocks(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class Statistics(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ControlReply(_message.Message):
    __slots__ = ("id", "error", "error_exit_code", "suts", "clocks", "lacking", "statistics")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SUTS_FIELD_NUMBER: _ClassVar[int]
    CLOCKS_FIELD_NUMBER: _ClassVar[int]
    LACKING_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: str
    error_exit_code: int
    suts: _containers.RepeatedCompositeFieldContainer[SutDescription]
    clocks: _containers.RepeatedCompositeFieldContainer[ClockOffset]
    lacking: _containers.RepeatedScalarFieldContainer[str]
    statistics: _containers.RepeatedCompositeFieldContainer[SutStatistics]
    def __init__(self, id: _Optional[int] = ..., error: _Optional[str] = ..., error_exit_code: _Optional[int] = ..., suts: _Optional[_Iterable[_Union[SutDescription, _Mapping]]] = ..., clocks: _Optional[_Iterable[_Union[ClockOffset, _Mapping]]] = ..., lacking: _Optional[_Iterable[str]] = ..., statistics: _Optional[_Iterable[_Union[SutStatistics, _Mapping]]] = ...) -> None: ...

class SutStatistics(_message.Message):
    __slots__ = ("sut_index", "kserve_statistics", "missing")
    SUT_INDEX_FIELD_NUMBER: _ClassVar[int]
    KSERVE_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    sut_index: int
    kserve_statistics: bytes
    missing: str
    def __init__(self, sut_index: _Optional[int] = ..., kserve_statistics: _Optional[bytes] = ..., missing: _Optional[str] = ...) -> None: ...

class SutDescription(_message.Message):
    __slots__ = ("sut_index", "address", "name", "platform", "inputs", "outputs", "max_batch_size", "has_config", "has_sut_proto", "model_versions", "addresses", "decoupled")
    SUT_INDEX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    HAS_CONFIG_FIELD_NUMBER: _ClassVar[int]
    HAS_SUT_PROTO_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    DECOUPLED_FIELD_NUMBER: _ClassVar[int]
    sut_index: int
    address: str
    name: str
    platform: str
    inputs: _containers.RepeatedCompositeFieldContainer[TensorMetadata]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorMetadata]
    max_batch_size: int
    has_config: bool
    has_sut_proto: bool
    model_versions: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    decoupled: bool
    def __init__(self, sut_index: _Optional[int] = ..., address: _Optional[str] = ..., name: _Optional[str] = ..., platform: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[TensorMetadata, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorMetadata, _Mapping]]] = ..., max_batch_size: _Optional[int] = ..., has_config: _Optional[bool] = ..., has_sut_proto: _Optional[bool] = ..., model_versions: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., decoupled: _Optional[bool] = ...) -> None: ...

class TensorMetadata(_message.Message):
    __slots__ = ("name", "datatype", "shape", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    optional: bool
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., optional: _Optional[bool] = ...) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("run_id", "settings_json", "worker_index", "worker_count", "epoch", "suts", "arena", "total_sample_count", "performance_sample_count", "expected_plan_hash", "trace_ns", "sequences")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    WORKER_INDEX_FIELD_NUMBER: _ClassVar[int]
    WORKER_COUNT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUTS_FIELD_NUMBER: _ClassVar[int]
    ARENA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PERFORMANCE_SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    TRACE_NS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    settings_json: str
    worker_index: int
    worker_count: int
    epoch: int
    suts: _containers.RepeatedCompositeFieldContainer[SutDescription]
    arena: Arena
    total_sample_count: int
    performance_sample_count: int
    expected_plan_hash: str
    trace_ns: bytes
    sequences: bytes
    def __init__(self, run_id: _Optional[str] = ..., settings_json: _Optional[str] = ..., worker_index: _Optional[int] = ..., worker_count: _Optional[int] = ..., epoch: _Optional[int] = ..., suts: _Optional[_Iterable[_Union[SutDescription, _Mapping]]] = ..., arena: _Optional[_Union[Arena, _Mapping]] = ..., total_sample_count: _Optional[int] = ..., performance_sample_count: _Optional[int] = ..., expected_plan_hash: _Optional[str] = ..., trace_ns: _Optional[bytes] = ..., sequences: _Optional[bytes] = ...) -> None: ...

class Arena(_message.Message):
    __slots__ = ("content_hash", "size_bytes", "path", "tensors", "batched")
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    BATCHED_FIELD_NUMBER: _ClassVar[int]
    content_hash: str
    size_bytes: int
    path: str
    tensors: _containers.RepeatedCompositeFieldContainer[TensorMetadata]
    batched: bool
    def __init__(self, content_hash: _Optional[str] = ..., size_bytes: _Optional[int] = ..., path: _Optional[str] = ..., tensors: _Optional[_Iterable[_Union[TensorMetadata, _Mapping]]] = ..., batched: _Optional[bool] = ...) -> None: ...

class ArenaRequest(_message.Message):
    __slots__ = ("content_hash", "offset")
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    content_hash: str
    offset: int
    def __init__(self, content_hash: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class ArenaChunk(_message.Message):
    __slots__ = ("offset", "content", "crc32")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset: int
    content: bytes
    crc32: int
    def __init__(self, offset: _Optional[int] = ..., content: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("plan_hash", "rss_bytes")
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    plan_hash: str
    rss_bytes: int
    def __init__(self, plan_hash: _Optional[str] = ..., rss_bytes: _Optional[int] = ...) -> None: ...

class Arm(_message.Message):
    __slots__ = ("series_index", "target_qps")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    TARGET_QPS_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    target_qps: float
    def __init__(self, series_index: _Optional[int] = ..., target_qps: _Optional[float] = ...) -> None: ...

class SeriesArmed(_message.Message):
    __slots__ = ("series_index",)
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    def __init__(self, series_index: _Optional[int] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("series_index", "t0_coordinator_ns")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    T0_COORDINATOR_NS_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    t0_coordinator_ns: int
    def __init__(self, series_index: _Optional[int] = ..., t0_coordinator_ns: _Optional[int] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("series_index", "stop_ns", "reason")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STOP_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    stop_ns: int
    reason: StopReason
    def __init__(self, series_index: _Optional[int] = ..., stop_ns: _Optional[int] = ..., reason: _Optional[_Union[StopReason, str]] = ...) -> None: ...

class SeriesProgress(_message.Message):
    __slots__ = ("series_index", "issued", "completed", "now_ns")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    issued: int
    completed: int
    now_ns: int
    def __init__(self, series_index: _Optional[int] = ..., issued: _Optional[int] = ..., completed: _Optional[int] = ..., now_ns: _Optional[int] = ...) -> None: ...

class SeriesDone(_message.Message):
    __slots__ = ("series_index", "issued", "completed", "failed", "timed_out", "last_issue_ns", "last_batch_sequence", "ended_by", "errors", "all_issued", "report")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    LAST_ISSUE_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_BATCH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ALL_ISSUED_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    issued: int
    completed: int
    failed: int
    timed_out: int
    last_issue_ns: int
    last_batch_sequence: int
    ended_by: str
    errors: _containers.RepeatedCompositeFieldContainer[ErrorCount]
    all_issued: bool
    report: WorkerReport
    def __init__(self, series_index: _Optional[int] = ..., issued: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., timed_out: _Optional[int] = ..., last_issue_ns: _Optional[int] = ..., last_batch_sequence: _Optional[int] = ..., ended_by: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[ErrorCount, _Mapping]]] = ..., all_issued: _Optional[bool] = ..., report: _Optional[_Union[WorkerReport, _Mapping]] = ...) -> None: ...

class ErrorCount(_message.Message):
    __slots__ = ("code", "message", "count", "sut_index")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUT_INDEX_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    count: int
    sut_index: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., count: _Optional[int] = ..., sut_index: _Optional[int] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error", "exit_code")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    error: str
    exit_code: int
    def __init__(self, error: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("run_id", "exit")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    exit: bool
    def __init__(self, run_id: _Optional[str] = ..., exit: _Optional[bool] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("open", "records", "responses", "tokens", "file")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    open: BatchStream
    records: RecordBatch
    responses: ResponseBatch
    tokens: TokenBatch
    file: FileBatch
    def __init__(self, open: _Optional[_Union[BatchStream, _Mapping]] = ..., records: _Optional[_Union[RecordBatch, _Mapping]] = ..., responses: _Optional[_Union[ResponseBatch, _Mapping]] = ..., tokens: _Optional[_Union[TokenBatch, _Mapping]] = ..., file: _Optional[_Union[FileBatch, _Mapping]] = ...) -> None: ...

class BatchStream(_message.Message):
    __slots__ = ("run_id", "worker_id", "worker_index", "epoch")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_INDEX_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    worker_id: str
    worker_index: int
    epoch: int
    def __init__(self, run_id: _Optional[str] = ..., worker_id: _Optional[str] = ..., worker_index: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class RecordBatch(_message.Message):
    __slots__ = ("sequence", "series_index", "stream_index", "count", "columns", "crc32")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STREAM_INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    series_index: int
    stream_index: int
    count: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    crc32: int
    def __init__(self, sequence: _Optional[int] = ..., series_index: _Optional[int] = ..., stream_index: _Optional[int] = ..., count: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., crc32: _Optional[int] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "content", "same_as", "width")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SAME_AS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    content: bytes
    same_as: str
    width: int
    def __init__(self, name: _Optional[str] = ..., content: _Optional[bytes] = ..., same_as: _Optional[str] = ..., width: _Optional[int] = ...) -> None: ...

class ResponseBatch(_message.Message):
    __slots__ = ("sequence", "series_index", "stream_index", "count", "row", "length", "content", "crc32")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STREAM_INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    series_index: int
    stream_index: int
    count: int
    row: bytes
    length: bytes
    content: bytes
    crc32: int
    def __init__(self, sequence: _Optional[int] = ..., series_index: _Optional[int] = ..., stream_index: _Optional[int] = ..., count: _Optional[int] = ..., row: _Optional[bytes] = ..., length: _Optional[bytes] = ..., content: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class TokenBatch(_message.Message):
    __slots__ = ("sequence", "series_index", "stream_index", "count", "row", "length", "input_token_count", "counted_by", "arrived_ns", "crc32")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STREAM_INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTED_BY_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_NS_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    series_index: int
    stream_index: int
    count: int
    row: bytes
    length: bytes
    input_token_count: bytes
    counted_by: bytes
    arrived_ns: bytes
    crc32: int
    def __init__(self, sequence: _Optional[int] = ..., series_index: _Optional[int] = ..., stream_index: _Optional[int] = ..., count: _Optional[int] = ..., row: _Optional[bytes] = ..., length: _Optional[bytes] = ..., input_token_count: _Optional[bytes] = ..., counted_by: _Optional[bytes] = ..., arrived_ns: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class FileBatch(_message.Message):
    __slots__ = ("sequence", "series_index", "name", "offset", "content", "crc32")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    series_index: int
    name: str
    offset: int
    content: bytes
    crc32: int
    def __init__(self, sequence: _Optional[int] = ..., series_index: _Optional[int] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ..., content: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class BatchAck(_message.Message):
    __slots__ = ("sequence", "error")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    error: str
    def __init__(self, sequence: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

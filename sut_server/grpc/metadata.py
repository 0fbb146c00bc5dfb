"""KServe v2 messages that describe: server and model metadata, model config, statistics.

Model config speaks Triton's dialect: a batched model's dims leave out the batch dimension.
"""

from __future__ import annotations

from typing import Any, Final

from tritonclient.grpc import model_config_pb2, service_pb2

from sut_server.engines.model_stats import ModelFigures
from sut_server.errors import Code
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import TensorSpec

SERVER_NAME: Final = "sut-server"
NS_PER_MS: Final = 1_000_000


def server_metadata(version: str, *, shared_memory: bool = False) -> Any:
    """ServerMetadataResponse: name, version, and which extensions exist."""
    extensions = ["model_configuration", "statistics", "binary_tensor_data"]
    if shared_memory:
        extensions.append("system_shared_memory")
    return service_pb2.ServerMetadataResponse(
        name=SERVER_NAME, version=version, extensions=extensions
    )


def model_metadata(spec: ModelSpec) -> Any:
    """ModelMetadataResponse; -1 is a free length."""
    message = service_pb2.ModelMetadataResponse(
        name=spec.name, versions=[spec.version], platform=spec.platform
    )
    for specs, field in ((spec.inputs, message.inputs), (spec.outputs, message.outputs)):
        for tensor in specs:
            field.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return message


def model_config(
    spec: ModelSpec, max_batch: int, max_queue_delay_us: int, instance_count: int
) -> Any:
    """ModelConfigResponse with max_batch_size (0: no batch dimension), tensors and batching."""
    config = model_config_pb2.ModelConfig(
        name=spec.name,
        platform=spec.platform,
        max_batch_size=max_batch if spec.is_batched else 0,
    )
    for tensor in spec.inputs:
        config.input.add(
            name=tensor.name, data_type=_config_type(tensor), dims=_config_dims(tensor, spec)
        )
    for tensor in spec.outputs:
        config.output.add(
            name=tensor.name, data_type=_config_type(tensor), dims=_config_dims(tensor, spec)
        )
    if spec.is_decoupled:
        config.model_transaction_policy.decoupled = True
    config.instance_group.add(count=instance_count)
    if spec.is_stateful:
        config.sequence_batching.SetInParent()
    elif spec.is_batched:
        config.dynamic_batching.max_queue_delay_microseconds = max_queue_delay_us
    return service_pb2.ModelConfigResponse(config=config)


def model_statistics(spec: ModelSpec, figures: ModelFigures, wall_minus_monotonic_ns: int) -> Any:
    """ModelStatistics of one model; the offset turns its last instant into a time of day."""
    ok_count = figures.by_code.get(Code.OK, 0)
    last_wall_ns = figures.last_received_ns + wall_minus_monotonic_ns
    statistics = service_pb2.ModelStatistics(
        name=spec.name,
        version=spec.version,
        last_inference=last_wall_ns // NS_PER_MS if figures.received_count else 0,
        inference_count=figures.success_rows,
        execution_count=figures.batch_rows.count or ok_count,
    )
    sums = statistics.inference_stats
    _duration(sums.success, ok_count, figures.latency.total)
    _duration(sums.fail, figures.settled_count - ok_count, figures.failed_ns)
    # Each answered request queued and was computed, if for no time at all (the null model):
    # perf_analyzer takes a count of 0 for a model that served nothing.
    _duration(sums.queue, ok_count, figures.queue.total)
    _duration(sums.compute_infer, ok_count, figures.compute.total)
    # Reading and writing tensors is part of queue and latency here. Clients compare the three
    # counts of a request and stop if they differ (perf_analyzer), so the spans of 0 ns count too.
    _duration(sums.compute_input, ok_count, 0)
    _duration(sums.compute_output, ok_count, 0)
    for rows, batch in sorted(figures.batches.items()):
        entry = statistics.batch_stats.add(batch_size=rows)
        _duration(entry.compute_input, batch.execution_count, 0)
        _duration(entry.compute_infer, batch.execution_count, batch.compute_ns)
        _duration(entry.compute_output, batch.execution_count, 0)
    return statistics


def _duration(field: Any, count: int, total_ns: int) -> None:
    field.count = count
    field.ns = total_ns


def _config_type(tensor: TensorSpec) -> int:
    name = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    number: int = model_config_pb2.DataType.Value(f"TYPE_{name}")
    return number


def _config_dims(tensor: TensorSpec, spec: ModelSpec) -> tuple[int, ...]:
    return tensor.shape[1:] if spec.is_batched else tensor.shape

"""ModelInfer's messages: a checked request as arrays, and an answer as ready bytes.

Accepts raw and typed contents; answers raw. Every refusal names the tensor, what was wanted and
what came. Knows no connection, thread or clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tritonclient.grpc import service_pb2

from sut_server.errors import CallError, Code
from sut_server.messages.sequence_params import SequencePlace, sequence_place
from sut_server.messages.shared_memory import (
    OFFSET_KEY,
    REGION_KEY,
    SIZE_KEY,
    Regions,
    SharedBytes,
    place_of,
)
from sut_server.models.spec import ModelSpec
from sut_server.models.tensors import (
    CONTENTS_FIELDS,
    DTYPES,
    Array,
    Shape,
    TensorSpec,
    check_size,
    from_contents,
    from_raw,
    to_raw,
)

NAMES_SHOWN: Final = 8
FINAL_WANTED_KEY: Final = "triton_enable_empty_final_response"
FINAL_KEY: Final = "triton_final_response"


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request whose tensors fit the model. ``rows`` is 1 for a model without batch dimension."""

    request_id: str
    rows: int
    inputs: dict[str, Array]
    merge_key: tuple[Shape, ...]
    """Shapes without the batch dimension: requests with equal keys may share a batch."""
    wanted_outputs: tuple[str, ...]
    """Names the caller asked for; empty means all."""
    places: Mapping[str, SharedBytes] = field(default_factory=dict)
    """Outputs that go into a region of shared memory, by name: the bytes that they may fill."""
    sequence: SequencePlace | None = None
    """Which sequence it belongs to; only stateful models look."""
    wants_final: bool = False
    """Streamed answers say whether they are the last (Triton's ``triton_final_response``)."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Instants and spans of one request, in nanoseconds of this process's monotonic clock."""

    received_ns: int
    queue_ns: int
    compute_ns: int
    sent_ns: int


def decode_request(
    message: Any,
    spec: ModelSpec,
    max_rows: int,
    regions: Regions | None = None,
    raw: Sequence[bytes | memoryview] | None = None,
) -> InferRequest:
    """Check a ModelInferRequest against the model's tensors.

    Raises CallError: NOT_FOUND for another version, INVALID_ARGUMENT for anything that does not
    fit. ``max_rows`` is the largest batch that the model runs at once; ``regions`` the shared
    memory where tensors may lie, None where there is none. ``raw``: the raw contents, where they
    were taken out of the message.
    """
    if message.model_version not in ("", spec.version):
        raise CallError(
            Code.NOT_FOUND,
            f"model '{spec.name}' has version '{spec.version}', not '{message.model_version}'",
        )
    raw = message.raw_input_contents if raw is None else raw
    arrays = _input_arrays(message, raw, spec, regions)
    wanted_outputs = _wanted_outputs(message, spec)
    rows = _row_count(arrays, spec, max_rows)
    skipped = 1 if spec.is_batched else 0
    return InferRequest(
        request_id=message.id,
        rows=rows,
        inputs=arrays,
        merge_key=tuple(array.shape[skipped:] for array in arrays.values()),
        wanted_outputs=wanted_outputs,
        places=_output_places(message, regions),
        sequence=sequence_place(message.parameters) if message.parameters else None,
        wants_final=wants_final(message),
    )


def _input_arrays(
    message: Any, raw: Sequence[bytes | memoryview], spec: ModelSpec, regions: Regions | None
) -> dict[str, Array]:
    contents: Sequence[bytes | memoryview | SharedBytes] = raw
    if any(tensor.parameters for tensor in message.inputs):
        contents = _with_shared(message, raw, regions)
    if contents and len(contents) != len(message.inputs):
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"{len(message.inputs)} inputs but {len(contents)} raw_input_contents; "
            "use raw contents for all inputs or for none",
        )
    given = {tensor.name: position for position, tensor in enumerate(message.inputs)}
    wanted = [want.name for want in spec.inputs]
    if len(given) != len(message.inputs) or given.keys() != set(wanted):
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"model '{spec.name}' takes the inputs {wanted}, each once; "
            f"got {_names(message.inputs)}",
        )
    return {
        want.name: _input_array(
            message.inputs[given[want.name]], want, contents[given[want.name]] if contents else None
        )
        for want in spec.inputs
    }


def _names(tensors: Any) -> str:
    """Names for a refusal; a caller may send thousands."""
    shown = [tensor.name for tensor in tensors[:NAMES_SHOWN]]
    return f"{shown}" if len(shown) == len(tensors) else f"{shown} and {len(tensors)} in all"


def _with_shared(
    message: Any, raw: Sequence[bytes | memoryview], regions: Regions | None
) -> Sequence[bytes | memoryview | SharedBytes]:
    """Raw contents with those that lie in regions in their places among the inputs."""
    places = [place_of(f"input '{t.name}'", t.parameters) for t in message.inputs]
    shared = sum(place is not None for place in places)
    if not shared:
        return raw
    if len(raw) + shared != len(message.inputs):
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"{len(message.inputs)} inputs, {shared} of them in shared memory, but {len(raw)} "
            "raw_input_contents: the others must all come raw",
        )
    rest = iter(raw)
    return [
        next(rest) if place is None else _served(regions).find(f"input '{tensor.name}'", place)
        for tensor, place in zip(message.inputs, places, strict=True)
    ]


def _output_places(message: Any, regions: Regions | None) -> dict[str, SharedBytes]:
    """What each output may fill; none where all go into the answer."""
    places: dict[str, SharedBytes] = {}
    for tensor in message.outputs:
        what = f"output '{tensor.name}'"
        place = place_of(what, tensor.parameters) if tensor.parameters else None
        if place is not None:
            places[tensor.name] = _served(regions).find(what, place)
    return places


def _served(regions: Regions | None) -> Regions:
    if regions is None:
        text = "this server takes no tensors from shared memory; start it with --shared-memory"
        raise CallError(Code.INVALID_ARGUMENT, text)
    return regions


def _input_array(
    tensor: Any, want: TensorSpec, raw: bytes | memoryview | SharedBytes | None
) -> Array:
    shape = tuple(tensor.shape)
    if tensor.datatype != want.datatype:
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"input '{want.name}': type {want.datatype} wanted, got '{tensor.datatype}'",
        )
    if not want.accepts(shape):
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"input '{want.name}': shape {list(want.shape)} wanted, got {list(shape)}",
        )
    if isinstance(raw, SharedBytes):
        check_size(want.name, want.datatype, shape, len(raw))  # before so much is read
        raw = raw.read()
    if raw is not None:
        return from_raw(want.name, want.datatype, shape, raw)
    field = CONTENTS_FIELDS.get(want.datatype)
    if field is None:
        text = f"input '{want.name}': {want.datatype} must come as raw_input_contents"
        raise CallError(Code.INVALID_ARGUMENT, text)
    return from_contents(want.name, want.datatype, shape, getattr(tensor.contents, field))


def _row_count(arrays: Mapping[str, Array], spec: ModelSpec, max_rows: int) -> int:
    if not spec.is_batched:
        return 1
    counts = [array.shape[0] for array in arrays.values()]
    rows: int = counts[0]
    if counts.count(rows) != len(counts):
        text = f"the inputs' batch dimensions differ: {counts}"
        raise CallError(Code.INVALID_ARGUMENT, text)
    if not 1 <= rows <= max_rows:
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"batch of {rows}: model '{spec.name}' takes 1 to {max_rows} samples a request "
            "(sut-server --max-batch)",
        )
    return rows


def _wanted_outputs(message: Any, spec: ModelSpec) -> tuple[str, ...]:
    if not message.outputs:
        return ()
    known = {output.name for output in spec.outputs}
    wanted = tuple(output.name for output in message.outputs)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise CallError(
            Code.INVALID_ARGUMENT,
            f"model '{spec.name}' has the outputs {sorted(known)}, not {unknown[:NAMES_SHOWN]}",
        )
    return wanted


class ResponseEncoder:
    """Makes ModelInferResponse messages of one model out of parts that protobuf lets us join.

    The head (names, types, shapes) is serialised once for each set of shapes and kept.
    """

    MAX_HEADS: Final = 1024
    """Kept heads: batch sizes are few; variable lengths may not be, so the store is bounded."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._names = tuple(spec.name for spec in spec.outputs)
        self._heads: dict[tuple[tuple[str, Shape], ...], bytes] = {}

    def encode(
        self, request: InferRequest, outputs: Mapping[str, Array], timings: Timings | None
    ) -> list[bytes]:
        """Parts of the message for a request's own rows of the outputs.

        Raises CallError where an output does not fit the shared memory that it is to go into.
        """
        if request.places:
            return self._encode_placed(request, outputs, timings)
        names = request.wanted_outputs or self._names
        arrays = [(name, outputs[name]) for name in names]
        # Timings first: a reader that scans for them need not look past names and shapes.
        head = self._head(tuple([(name, array.shape) for name, array in arrays]))
        parts = [timing_parameters(timings), head] if timings is not None else [head]
        if request.request_id:
            encoded_id = request.request_id.encode()
            parts.append(_ID_TAG + varint(len(encoded_id)) + encoded_id)
        for _, array in arrays:
            raw = to_raw(array)
            parts.append(_RAW_TAG + varint(len(raw)))
            parts.append(raw)
        return parts

    def _encode_placed(
        self, request: InferRequest, outputs: Mapping[str, Array], timings: Timings | None
    ) -> list[bytes]:
        """Outputs with a place are written there; their bytes are not in the message."""
        datatypes = {spec.name: spec.datatype for spec in self._spec.outputs}
        message = service_pb2.ModelInferResponse(
            model_name=self._spec.name, model_version=self._spec.version, id=request.request_id
        )
        for name in request.wanted_outputs or self._names:
            array = outputs[name]
            raw = to_raw(array)
            said = message.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
            shared = request.places.get(name)
            if shared is None:
                message.raw_output_contents.append(raw)
                continue
            # Triton lists an empty content for a placed output: clients pair contents and outputs
            # by position.
            message.raw_output_contents.append(b"")
            place = shared.place
            if len(raw) > place.size:
                raise CallError(
                    Code.INVALID_ARGUMENT,
                    f"output '{name}': {len(raw)} bytes do not fit the {place.size} of its place "
                    "in shared memory",
                )
            shared.write(raw)
            said.parameters[REGION_KEY].string_param = place.region
            said.parameters[OFFSET_KEY].int64_param = place.offset
            said.parameters[SIZE_KEY].int64_param = len(raw)
        encoded: bytes = message.SerializeToString()
        return [encoded] if timings is None else [timing_parameters(timings), encoded]

    def _head(self, shapes: tuple[tuple[str, Shape], ...]) -> bytes:
        head = self._heads.get(shapes)
        if head is None:
            if len(self._heads) >= self.MAX_HEADS:
                self._heads.clear()
            head = self._heads[shapes] = self._make_head(shapes)
        return head

    def _make_head(self, shapes: Sequence[tuple[str, Shape]]) -> bytes:
        datatypes = {spec.name: spec.datatype for spec in self._spec.outputs}
        message = service_pb2.ModelInferResponse(
            model_name=self._spec.name, model_version=self._spec.version
        )
        for name, shape in shapes:
            message.outputs.add(name=name, datatype=datatypes[name], shape=shape)
        head: bytes = message.SerializeToString()
        return head


def wants_final(message: Any) -> bool:
    """Whether a request asks its streamed answers to say which is the last."""
    parameters = message.parameters
    return FINAL_WANTED_KEY in parameters and parameters[FINAL_WANTED_KEY].bool_param is True


def final_parameter(is_last: bool) -> bytes:
    """The serialised response parameter that says whether an answer of a stream is the last."""
    message = service_pb2.ModelInferResponse()
    message.parameters[FINAL_KEY].bool_param = is_last
    serialised: bytes = message.SerializeToString()
    return serialised


# Field numbers of ModelInferResponse, wire type 2: id = 3, raw_output_contents = 6.
_ID_TAG: Final = b"\x1a"
_RAW_TAG: Final = b"\x32"


def varint(number: int) -> bytes:
    """A protobuf varint of ``number`` >= 0."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(0x80 | (number & 0x7F))
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def timing_parameters(timings: Timings) -> bytes:
    """The serialised response parameters, each an int64 under its name in ``Timings``."""
    message = service_pb2.ModelInferResponse()
    parameters = message.parameters
    parameters["received_ns"].int64_param = timings.received_ns
    parameters["queue_ns"].int64_param = timings.queue_ns
    parameters["compute_ns"].int64_param = timings.compute_ns
    parameters["sent_ns"].int64_param = timings.sent_ns
    serialised: bytes = message.SerializeToString()
    return serialised


def checked_outputs(outputs: Mapping[str, object], spec: ModelSpec, rows: int) -> dict[str, Array]:
    """A model's own answer, checked before it is cut into responses.

    Raises CallError (INTERNAL) naming the output that is missing or has another shape or type.
    """
    checked: dict[str, Array] = {}
    for want in spec.outputs:
        array = outputs.get(want.name)
        if not hasattr(array, "dtype") or not hasattr(array, "shape"):
            text = f"model '{spec.name}' gave no array for its output '{want.name}'"
            raise CallError(Code.INTERNAL, text)
        checked[want.name] = _checked_output(array, want, spec, rows)
    return checked


def _checked_output(array: Any, want: TensorSpec, spec: ModelSpec, rows: int) -> Array:
    shape = tuple(array.shape)
    if not want.accepts(shape) or (spec.is_batched and shape[0] != rows):
        expected = [rows, *want.shape[1:]] if spec.is_batched else list(want.shape)
        raise CallError(
            Code.INTERNAL,
            f"model '{spec.name}' gave its output '{want.name}' the shape {list(shape)}, "
            f"declared {expected}",
        )
    is_text = want.datatype == "BYTES" and array.dtype.kind in "OSU"
    if not is_text and array.dtype != DTYPES[want.datatype]:
        raise CallError(
            Code.INTERNAL,
            f"model '{spec.name}' gave its output '{want.name}' the type {array.dtype}, "
            f"declared {want.datatype}",
        )
    typed: Array = array
    return typed

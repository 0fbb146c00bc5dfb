"""KServe v2 over HTTP/REST in front of the gRPC methods: JSON and binary tensors in and out.

Translates each request into the message of the same name and the answer back; decides nothing of
its own. Obvious before fast: who wants speed speaks gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.errors import Code, described
from sut_server.grpc.servicer import KSERVE, Servicer
from sut_server.http.connection import JSON_BYTES_MAX, HttpCall, HttpRequest
from sut_server.messages.sequence_params import END_KEY, ID_KEY, START_KEY
from sut_server.messages.shared_memory import OFFSET_KEY, REGION_KEY, SIZE_KEY
from sut_server.models.tensors import CONTENTS_FIELDS, DTYPES, element_count

_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_LENGTH: Final = "Inference-Header-Content-Length"
_STATUS: Final = {
    Code.CANCELLED: 503,
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.RESOURCE_EXHAUSTED: 503,
}
UNFIT: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a request that is none makes ``read_request`` raise."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A method's reply as HTTP; ``headers`` are further lines, each with its CRLF."""

    body: bytes
    content_type: str = _JSON
    status: int = 200
    headers: str = ""


Binary = bool | frozenset[str]
"""Outputs that are wanted as binary data: all, none, or by name."""

Translate = Callable[[Any], Reply]


class KserveHttpApi:
    """Answers KServe v2's paths for the models of a servicer."""

    def __init__(self, servicer: Servicer) -> None:
        self._servicer = servicer

    def handle(self, call: HttpCall, request: HttpRequest) -> None:
        """Answer one request, now or later."""
        parts = [unquote(part) for part in request.path.partition("?")[0].strip("/").split("/")]
        if parts[0] != "v2":
            _refuse(call, 404, f"there is no {request.path} here")
        elif parts[1:] == ["models", "stats"]:
            self._ask(call, "ModelStatistics", service_pb2.ModelStatisticsRequest(), _as_json)
        elif parts[1:] == ["cudasharedmemory", "unregister"]:
            asked = service_pb2.CudaSharedMemoryUnregisterRequest()
            self._ask(call, "CudaSharedMemoryUnregister", asked, _as_nothing)
        elif parts[1:2] == ["systemsharedmemory"]:
            self._shared_memory(call, request, parts[2:])
        elif parts[1:2] == ["models"] and len(parts) > 2:
            self._model(call, request, parts[2:])
        elif parts[1:] == []:
            self._ask(call, "ServerMetadata", service_pb2.ServerMetadataRequest(), _as_json)
        elif parts[1:] == ["health", "live"]:
            self._ask(call, "ServerLive", service_pb2.ServerLiveRequest(), _as_live)
        elif parts[1:] == ["health", "ready"]:
            self._ask(call, "ServerReady", service_pb2.ServerReadyRequest(), _as_ready)
        else:
            _refuse(call, 404, f"there is no {request.path} here")

    def _model(self, call: HttpCall, request: HttpRequest, parts: list[str]) -> None:
        model, rest = parts[0], parts[1:]
        version = ""
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        asked = {"name": model, "version": version}
        if rest == ["infer"]:
            self._infer(call, request, model, version)
        elif not rest:
            self._ask(call, "ModelMetadata", service_pb2.ModelMetadataRequest(**asked), _as_json)
        elif rest == ["ready"]:
            self._ask(call, "ModelReady", service_pb2.ModelReadyRequest(**asked), _as_ready)
        elif rest == ["config"]:
            self._ask(call, "ModelConfig", service_pb2.ModelConfigRequest(**asked), _as_config)
        elif rest == ["stats"]:
            question = service_pb2.ModelStatisticsRequest(**asked)
            self._ask(call, "ModelStatistics", question, _as_json)
        else:
            _refuse(call, 404, f"there is no {request.path} here")

    def _shared_memory(self, call: HttpCall, request: HttpRequest, parts: list[str]) -> None:
        """``[region/NAME/]status``, ``register`` and ``unregister``; without a name: of all."""
        name, what = "", parts[-1] if parts else ""
        if len(parts) == 3 and parts[0] == "region":
            name = parts[1]
        elif len(parts) != 1:
            what = ""
        wanted = {"status": "GET", "register": "POST", "unregister": "POST"}.get(what)
        if wanted is None:
            _refuse(call, 404, f"there is no {request.path} here")
        elif request.method != wanted:
            _refuse(call, 405, f"{request.path} wants {wanted}")
        elif what == "register":
            self._register(call, request, name)
        else:
            method = f"SystemSharedMemory{what.capitalize()}"
            asked = getattr(service_pb2, f"{method}Request")(name=name)
            self._ask(call, method, asked, _as_regions if what == "status" else _as_nothing)

    def _register(self, call: HttpCall, request: HttpRequest, name: str) -> None:
        try:
            said = _loaded(request.body)
            asked = service_pb2.SystemSharedMemoryRegisterRequest(
                name=name,
                key=said["key"],
                offset=said.get("offset", 0),
                byte_size=said["byte_size"],
            )
        except UNFIT as error:
            _refuse(call, 400, f"the request is not KServe v2's: {described(error)}")
            return
        self._ask(call, "SystemSharedMemoryRegister", asked, _as_nothing)

    def _infer(self, call: HttpCall, request: HttpRequest, model: str, version: str) -> None:
        if request.method != "POST":
            _refuse(call, 405, f"{request.path} wants POST")
            return
        try:
            message, binary = read_request(request.headers, request.body)
        except UNFIT as error:
            _refuse(call, 400, f"the request is not KServe v2's: {described(error)}")
            return
        message.model_name, message.model_version = model, version
        self._ask(call, "ModelInfer", message, partial(infer_answer, binary), request.received_ns)

    def _ask(
        self, call: HttpCall, method: str, message: Any, translate: Translate, received_ns: int = 0
    ) -> None:
        reply_type = getattr(service_pb2, f"{method}Response")
        if method != "ModelInfer":
            call.deflater = None  # clients inflate answers of models alone (tritonclient)
        inner = Call(_Sink(call, reply_type, translate), 0, received_ns)
        call.on_gone = inner.gone
        self._servicer.handle(inner, f"{KSERVE}{method}".encode(), message.SerializeToString())


class _Sink:
    """Where a call's one answer goes: the HTTP call that asked."""

    def __init__(self, call: HttpCall, reply_type: Any, translate: Translate) -> None:
        self._call = call
        self._reply_type = reply_type
        self._translate = translate

    def send(self, stream_id: int, parts: list[bytes]) -> None:
        """Nothing is streamed here."""

    def answer(self, stream_id: int, parts: list[bytes]) -> None:
        reply = self._translate(self._reply_type.FromString(b"".join(parts)))
        self._call.respond(reply.status, reply.content_type, reply.body, reply.headers)

    def refuse(self, stream_id: int, code: Code, text: str) -> None:
        _refuse(self._call, _STATUS.get(code, 500), text)

    def forget(self, stream_id: int) -> None:
        """Never answered: the caller's deadline ends it."""


def error_text(status: int, text: str) -> bytes:
    """A refusal as KServe v2 writes it."""
    return json.dumps({"error": text}).encode()


def _refuse(call: HttpCall, status: int, text: str) -> None:
    call.deflater = None  # clients read refusals as they are
    call.respond(status, _JSON, error_text(status, text))


def _loaded(text: bytes) -> Any:
    """A JSON object. Raises ValueError: nobody else is answered while a large one is read."""
    if len(text) > JSON_BYTES_MAX:
        raise ValueError(
            f"{len(text)} bytes of JSON, at most {JSON_BYTES_MAX} are taken: send large tensors "
            "as binary data"
        )
    return json.loads(text)


def _as_json(reply: Any) -> Reply:
    said = json_format.MessageToDict(
        reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return Reply(json.dumps(_with_numbers(said)).encode())


def _as_config(reply: Any) -> Reply:
    return _as_json(reply.config)


def _as_nothing(reply: Any) -> Reply:
    return Reply(b"")


def _as_regions(reply: Any) -> Reply:
    fields = ("name", "key", "offset", "byte_size")
    regions = [{field: getattr(one, field) for field in fields} for one in reply.regions.values()]
    return Reply(json.dumps(regions).encode())


def _as_live(reply: Any) -> Reply:
    return _health(reply.live)


def _as_ready(reply: Any) -> Reply:
    return _health(reply.ready)


def _health(is_well: bool) -> Reply:
    """Told by the status alone."""
    return Reply(b"", status=200 if is_well else 400)


def _with_numbers(said: Any) -> Any:
    """protobuf's JSON writes 64-bit numbers as text; KServe's and Triton's write numbers."""
    if isinstance(said, Mapping):
        keep = ("name", "version", "versions", "platform")
        return {key: one if key in keep else _with_numbers(one) for key, one in said.items()}
    if isinstance(said, list):
        return [_with_numbers(one) for one in said]
    if isinstance(said, str) and said.lstrip("-").isdigit():
        return int(said)
    return said


def read_request(headers: Mapping[str, str], body: bytes) -> tuple[Any, Binary]:
    """A ModelInferRequest without its model, and which outputs are wanted as binary data.

    ``headers``: names in lower case. Raises one of UNFIT for a bad one.
    """
    length = headers.get(_LENGTH.lower(), "")
    head_bytes = int(length) if length else len(body)
    if not 0 <= head_bytes <= len(body):
        raise ValueError(f"{_LENGTH} is {head_bytes}, the body has {len(body)} bytes")
    said = _loaded(body[:head_bytes])
    message = service_pb2.ModelInferRequest(id=str(said.get("id") or ""))
    offset = head_bytes
    for tensor in said["inputs"]:
        parameters = tensor.get("parameters") or {}
        size = parameters.get("binary_data_size")
        added = message.inputs.add(
            name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"]
        )
        if REGION_KEY in parameters:
            _name_region(added.parameters, parameters)
            continue
        if size is None:
            _fill(added, tensor["data"])
            continue
        if not 0 <= size <= len(body) - offset:
            raise ValueError(f"input {tensor['name']}: its {size} bytes are not all there")
        message.raw_input_contents.append(body[offset : offset + size])
        offset += size
    if offset != len(body):
        raise ValueError(f"{len(body) - offset} bytes belong to no input")
    _sequence(message.parameters, said.get("parameters") or {})
    wanted = said.get("outputs") or []
    is_binary = bool((said.get("parameters") or {}).get("binary_data_output"))
    binary = set()
    for output in wanted:
        added = message.outputs.add(name=output["name"])
        parameters = output.get("parameters") or {}
        if REGION_KEY in parameters:
            _name_region(added.parameters, parameters)
        if parameters.get("binary_data", is_binary):
            binary.add(output["name"])
    return message, frozenset(binary) if wanted else is_binary


def _name_region(parameters: Any, said: Mapping[str, Any]) -> None:
    """Where in shared memory a tensor lies, or goes."""
    parameters[REGION_KEY].string_param = said[REGION_KEY]
    parameters[OFFSET_KEY].int64_param = said.get(OFFSET_KEY, 0)
    parameters[SIZE_KEY].int64_param = said.get(SIZE_KEY, 0)


def _sequence(parameters: Any, said: Mapping[str, Any]) -> None:
    """The parameters of a sequence, with JSON's types."""
    named = said.get(ID_KEY, 0)
    if type(named) not in (int, str):
        raise ValueError(f"{ID_KEY} must be a number or text")
    if isinstance(named, str):
        parameters[ID_KEY].string_param = named
    elif named:
        parameters[ID_KEY].int64_param = named
    for key in (START_KEY, END_KEY):
        if said.get(key):
            parameters[key].bool_param = True


def _fill(tensor: Any, data: Any) -> None:
    """Typed contents from JSON, nested or flat."""
    field = CONTENTS_FIELDS.get(tensor.datatype)
    if field is None:
        raise ValueError(f"input {tensor.name}: {tensor.datatype} must come as binary data")
    if tensor.datatype == "BYTES":
        values = [str(one).encode() for one in np.asarray(data, dtype=object).ravel()]
    else:
        with np.errstate(over="ignore"):  # a number too large for its type is infinite
            array = np.asarray(data, dtype=DTYPES[tensor.datatype])
        if array.size != element_count(tensor.shape):  # before millions of them are copied
            raise ValueError(
                f"input {tensor.name}: {array.size} values do not fill {list(tensor.shape)}"
            )
        values = array.ravel().tolist()
    getattr(tensor.contents, field).extend(values)


def infer_answer(binary: Binary, reply: Any) -> Reply:
    """A ModelInferResponse as JSON, or as JSON and raw tensors."""
    outputs, raws = [], []
    for tensor, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
        said = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if REGION_KEY in tensor.parameters:
            pass  # Triton says nothing of where it lies, and its C++ client wants nothing
        elif binary is True or (binary and tensor.name in binary):
            said["parameters"] = {"binary_data_size": len(raw)}
            raws.append(raw)
        else:
            said["data"] = _numbers(tensor.datatype, raw)
        outputs.append(said)
    fields: dict[str, Any] = {"model_name": reply.model_name, "outputs": outputs}
    fields["model_version"] = reply.model_version or "1"
    if reply.id:
        fields["id"] = reply.id
    head = json.dumps(fields).encode()
    if not raws:
        return Reply(head)
    body = head + b"".join(raws)
    return Reply(body, _BINARY, headers=f"{_LENGTH}: {len(head)}\r\n")


def _numbers(datatype: str, raw: bytes) -> list[Any]:
    if datatype != "BYTES":
        numbers: list[Any] = np.frombuffer(raw, DTYPES[datatype]).tolist()
        return numbers
    found, offset = [], 0
    while offset < len(raw):
        end = offset + 4 + int.from_bytes(raw[offset : offset + 4], "little")
        found.append(raw[offset + 4 : end].decode(errors="replace"))
        offset = end
    return found

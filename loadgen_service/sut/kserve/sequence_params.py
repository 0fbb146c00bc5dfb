"""Requests of stateful models: a ready request with its place in a sequence written into it.

KServe v2's sequence extension, as Triton has it: the request parameters ``sequence_id``,
``sequence_start`` and ``sequence_end``. Tensors are not looked at and not serialised again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from tritonclient.grpc import service_pb2

from loadgen_service.sut.interface import Parts
from loadgen_service.sut.kserve.grpc_request import varint
from loadgen_service.sut.kserve.http_request import HEADER_LENGTH

IDS_KEPT: Final = 1 << 14
"""Sequences whose id need not be encoded again for each request: more than are usually live."""

_PREFIX_BYTES: Final = 5
_INT64_PARAM_TAG: Final = b"\x10"  # InferParameter.int64_param = 2, varint


def _flags(is_start: bool, is_end: bool) -> bytes:
    request = service_pb2.ModelInferRequest()
    request.parameters["sequence_start"].bool_param = is_start
    request.parameters["sequence_end"].bool_param = is_end
    return bytes(request.SerializeToString(deterministic=True))


_EITHER: Final = (False, True)
_FLAGS: Final = {(start, end): _flags(start, end) for start in _EITHER for end in _EITHER}


@lru_cache(IDS_KEPT)
def _id_field(sequence_id: int) -> bytes:
    """One entry of ModelInferRequest.parameters (field 4): a key (1) and a value (2)."""
    value = _INT64_PARAM_TAG + varint(sequence_id)
    entry = b"\x0a\x0bsequence_id\x12" + varint(len(value)) + value
    return b"\x22" + varint(len(entry)) + entry


def marked_grpc(parts: Parts, sequence_id: int, is_start: bool, is_end: bool) -> Parts:
    """A gRPC message with the parameters behind its other fields, which protobuf allows."""
    more = _id_field(sequence_id) + _FLAGS[is_start, is_end]
    if isinstance(parts, bytes):
        size = len(parts) - _PREFIX_BYTES + len(more)
        return b"\0%b%b%b" % (size.to_bytes(4, "big"), parts[_PREFIX_BYTES:], more)
    first = bytes(parts[0])
    size = int.from_bytes(first[1:_PREFIX_BYTES], "big") + len(more)
    prefix = b"\0" + size.to_bytes(4, "big")
    return (prefix + first[_PREFIX_BYTES:], *parts[1:], more)


def marked_http(parts: Parts, sequence_id: int, is_start: bool, is_end: bool) -> Parts:
    """A request of ``HttpInferBuilder`` with the parameters at the end of its JSON.

    Its own header lines say the length of the JSON and of the whole, so they are made anew.
    """
    first = parts if isinstance(parts, bytes) else bytes(parts[0])
    lines, _, body = first.partition(b"\r\n\r\n")
    said_length, content_length = (int(line.rpartition(b" ")[2]) for line in lines.split(b"\r\n"))
    more = b',"sequence_id":%d,"sequence_start":%b,"sequence_end":%b' % (
        sequence_id,
        b"true" if is_start else b"false",
        b"true" if is_end else b"false",
    )
    at = said_length - 2  # before the braces that close the parameters and the whole
    head = b"%b: %d\r\nContent-Length: %d\r\n\r\n" % (
        HEADER_LENGTH,
        said_length + len(more),
        content_length + len(more),
    )
    joined = b"".join((head, body[:at], more, body[at:]))
    return joined if isinstance(parts, bytes) else (joined, *parts[1:])

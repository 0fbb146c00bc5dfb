"""Raw contents taken out of a request are what protobuf finds in it."""

from __future__ import annotations

import platform
import random
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from host_tuning.malloc import keep_freed_memory
from tritonclient.grpc import service_pb2

from sut_server.messages.request_split import (
    FIELDS_MAX,
    LARGE_BYTES,
    SMALL_FIELDS_MAX,
    ModelInferRequest,
    split_raw,
)


def drawn_request(seed: int) -> service_pb2.ModelInferRequest:
    drawn = random.Random(seed)
    message = service_pb2.ModelInferRequest(model_name="m", model_version="1", id="an id")
    message.parameters["priority"].uint64_param = drawn.getrandbits(60)
    message.parameters["timeout"].double_param = drawn.random()
    for index in range(drawn.randrange(4)):
        tensor = message.inputs.add(name=f"in{index}", datatype="FP32", shape=[1, 2])
        if drawn.random() < 0.3:
            tensor.contents.fp32_contents.extend([0.5] * drawn.randrange(500))
        if drawn.random() < 0.7:
            message.raw_input_contents.append(
                drawn.randbytes(drawn.choice((0, 1, 127, 128, 70_000)))
            )
    message.outputs.add(name="out")
    return message


@pytest.mark.parametrize("seed", range(40))
def test_raw_contents_and_the_rest_make_the_message(seed: int) -> None:
    message = drawn_request(seed)
    data = message.SerializeToString()
    parts = split_raw(data)
    assert parts is not None
    rest = service_pb2.ModelInferRequest.FromString(parts.rest)
    assert not rest.raw_input_contents
    assert not rest.id
    rest.id = parts.request_id.decode()
    rest.raw_input_contents.extend(map(bytes, parts.raw))
    assert rest == message
    read = ModelInferRequest.FromString(data)
    assert list(map(bytes, read.raw)) == list(message.raw_input_contents)
    assert read.message.inputs == message.inputs


@pytest.mark.parametrize(
    ("size_bytes", "fields_max"), [(LARGE_BYTES, FIELDS_MAX), (0, SMALL_FIELDS_MAX)]
)
def test_a_request_of_many_parts_is_left_to_protobuf(size_bytes: int, fields_max: int) -> None:
    for count, is_cut in ((fields_max, False), (fields_max - 1, True)):
        contents = [bytes(size_bytes)] + [b""] * (count - 1)
        message = service_pb2.ModelInferRequest(raw_input_contents=contents)
        read = ModelInferRequest.FromString(message.SerializeToString())
        assert (read.cut is not None) is is_cut
        assert list(map(bytes, read.raw)) == contents
        assert read.request_id == ""


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_message_that_ends_too_soon_is_protobufs_to_refuse(cut: int) -> None:
    data = service_pb2.ModelInferRequest(
        model_name="m", raw_input_contents=[bytes(LARGE_BYTES)]
    ).SerializeToString()
    assert split_raw(data[:-cut]) is None
    with pytest.raises(DecodeError):
        ModelInferRequest.FromString(data[:-cut])


@pytest.mark.parametrize("seed", range(300))
def test_any_bytes_are_read_as_protobuf_reads_them(seed: int) -> None:
    drawn = random.Random(seed)
    data = bytearray(drawn_request(seed).SerializeToString())
    for _ in range(drawn.randrange(1, 4)):
        data[drawn.randrange(min(len(data), 200))] = drawn.randrange(256)
    try:
        wanted = service_pb2.ModelInferRequest.FromString(bytes(data))
    except DecodeError:
        wanted = None
    parts = split_raw(bytes(data))
    if parts is None:
        return
    try:
        rest = service_pb2.ModelInferRequest.FromString(parts.rest)
        rest.id = parts.request_id.decode()
    except (DecodeError, UnicodeDecodeError):
        assert wanted is None
        return
    assert wanted is not None
    assert list(map(bytes, parts.raw)) == list(wanted.raw_input_contents)
    wanted.ClearField("raw_input_contents")
    assert rest == wanted


def test_freed_memory_is_kept_and_used_again() -> None:
    """In a process of its own: what it asks for lasts."""
    code = """
import resource
from host_tuning.malloc import keep_freed_memory
keep_freed_memory(256 << 20)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def batch():
    return [bytes(600_000) for _ in range(40)]
batch()
before = faults()
for _ in range(20):
    batch()
print(faults() - before)
"""
    if platform.libc_ver()[0] != "glibc":
        assert not keep_freed_memory(256 << 20)
        return
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    pages_of_a_batch = 40 * 600_000 // 4096
    assert int(said.stdout) < pages_of_a_batch  # twenty times that where all is given back

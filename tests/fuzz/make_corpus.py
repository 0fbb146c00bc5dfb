"""Writes the seeds of every target: ``python tests/fuzz/make_corpus.py``. Found failures are put
beside them by hand, named ``found-*``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from fuzz_targets import HEADERS, SPEC, TARGETS
from grpc_wire.client import ClientConnection
from grpc_wire.compression import compressed_message, gzip_bytes
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.core.records.columns import REQUEST_COLUMNS, SentColumn, sent_columns
from loadgen_service.qsl.arena.file import MAGIC, TRAILER, TRAILER_MARK, write_note
from loadgen_service.qsl.tensors import TensorSpec
from loadgen_service.service.storage.journal import sealed_line
from loadgen_service.service.storage.segments import Segment
from sut_server.messages.infer import Timings, timing_parameters

CORPUS = Path(__file__).parent / "corpus"


def wire() -> dict[str, list[bytes]]:
    client, server = ClientConnection(), ServerConnection(streaming_paths={b"/s"})
    client.start()
    server.start()
    up = down = b""
    for key in range(-1, 4):
        if 0 <= key < 3:
            assert client.call(key, HEADERS, frame_message(b"asked" * 10))
        sent = b"".join(client.take_output())
        up += sent
        for event in server.receive(sent):
            if event[0] == 4:
                server.respond(event[1], frame_message(b"answered"))
        back = b"".join(server.take_output())
        down += back
        client.receive(back)
    foreign = Path(__file__).parent.parent / "grpc_wire" / "foreign"
    clients = [file.read_bytes() for file in sorted(foreign.glob("client_*.bin"))]
    servers = [file.read_bytes() for file in sorted(foreign.glob("server_*.bin"))]
    return {
        "wire_server": [b"\xff" + up, b"\x08" + up, *(b"\xff" + one for one in clients)],
        "wire_client": [b"\xff" + down, b"\x08" + down, *(b"\xff" + one for one in servers)],
    }


def compressed() -> dict[str, list[bytes]]:
    plain = [frame_message(b"asked" * 10), frame_message(bytes(2_000)), frame_message(b"")]
    mixed = compressed_message(plain[0]) + plain[1] + compressed_message(plain[1]) + plain[2]
    body = gzip_bytes(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')
    tensors = gzip_bytes(b'{"outputs":[{"name":"y","datatype":"INT8","shape":[2],"data":[1,2]}]}')
    return {
        "compressed_messages": [b"\xff" + mixed, b"\x04" + mixed],
        "compressed_answer": [b"\xff" + body, b"\x06" + tensors],
    }


def rest() -> dict[str, list[bytes]]:
    """KServe v2 over HTTP: binary tensors behind their JSON, and JSON alone."""
    made: dict[str, list[bytes]] = {}
    for target, field in (("rest_request", "inputs"), ("rest_answer", "outputs")):
        name = SPEC.inputs[0].name
        tensor = {"name": name, "datatype": "FP32", "shape": [1, 4]}
        binary = json.dumps({field: [tensor | {"parameters": {"binary_data_size": 16}}]}).encode()
        typed = json.dumps({field: [tensor | {"data": [[0.5, 1, 2, 3]]}], "id": "7"}).encode()
        made[target] = [bytes([len(binary)]) + binary + bytes(16), b"\0" + typed]
    return made


def batch_of(columns: list[SentColumn], count: int) -> pb.Batch:
    crc = zlib.crc32(b"".join(column.content for column in columns))
    given = [pb.Column(**column._asdict()) for column in columns]
    return pb.Batch(records=pb.RecordBatch(sequence=1, count=count, crc32=crc, columns=given))


def records() -> pb.Batch:
    whole = ((name, np.zeros(2, dtype)) for name, dtype in REQUEST_COLUMNS.items())
    return batch_of([SentColumn(name, column.tobytes()) for name, column in whole], 2)


def near_records() -> pb.Batch:
    whole = {name: np.zeros(4, dtype) for name, dtype in REQUEST_COLUMNS.items()}
    whole["row"] += np.arange(4)
    for number, name in enumerate(("scheduled_ns", "issued_ns", "first_response_ns")):
        whole[name] += np.arange(4) * (1 << 8 * number)
    return batch_of(sent_columns(whole), 4)


def segment() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        opened = Segment(path)
        opened.append(records().SerializeToString())
        opened.append(pb.Batch(responses=pb.ResponseBatch(count=0)).SerializeToString())
        opened.close()
        return path.read_bytes()


def arena() -> bytes:
    note = write_note([TensorSpec("a", "FP32", (2,))])
    start = len(MAGIC)
    rows = np.array([[0, start, start + 8], [1, start + 8, start + 16]], "<i8").tobytes()
    tail = TRAILER.pack(start + 16, 2, len(note), TRAILER_MARK)
    return MAGIC + bytes(16) + rows + note + tail


def infer() -> dict[str, list[bytes]]:
    request = service_pb2.ModelInferRequest(model_name=SPEC.name, id="7")
    for want in SPEC.inputs:
        shape = [1 if size < 0 else size for size in want.shape]
        request.inputs.add(name=want.name, datatype=want.datatype, shape=shape)
        request.raw_input_contents.append(bytes(4 * int(np.prod(shape))))
    timed = timing_parameters(Timings(1, 2, 3, 4)) + b"\x0a\x01m"
    return {"infer_request": [request.SerializeToString()], "infer_response": [timed]} | rest()


def recorded() -> list[bytes]:
    """Streams of real servers, each cut by its own first byte."""
    streams = Path(__file__).parents[1] / "data" / "sse"
    named = sorted(path for kind in ("vllm-0.32", "llama-cpp") for path in streams.glob(f"{kind}*"))
    return [bytes([7 + place]) + path.read_bytes() for place, path in enumerate(named)]


def texts() -> dict[str, list[bytes]]:
    chunk = {"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    stream = "".join(f"data: {json.dumps(one)}\n\n" for one in (chunk, usage)) + "data: [DONE]\n\n"
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3,
             "stream": True, "stream_options": {"include_usage": True}}  # fmt: skip
    body = json.dumps(asked).encode()
    post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    step = {"a": {"content": [1.0, 2.0], "shape": [1, 2]}, "b": ["x"]}
    coded = {"a": {"b64": "AAAAAAAAAAA=", "shape": [1, 2]}, "b": {"b64": "AAAAAA=="}}
    return {
        "sse": [b"\x03" + stream.encode(), b"\x01: c\r\ndata:a\rdata: b\r\n\r\n", *recorded()],
        "openai_answer": [
            b"\x20" + stream.encode(), b"\xff" + json.dumps(usage).encode(), *recorded(),
        ],
        "openai_request": [body, b'{"prompt": "a b", "max_tokens": null}'],
        "http_request": [b"\xff" + post + body, b"\x05GET /a HTTP/1.1\r\nHost: h\r\n\r\n" * 2],
        "conf": [b"# c\n*.Server.target_qps = 10\nm.*.min_duration = 600000\n", b"a.b.c=1 2\n"],
        "trace": [b"0\n0.5\n1e3\n", b"# ms\n1\n2\n"],
        "tokens": [
            b"a run,read aaaaaaaaaaaaaaaa\nb all bbbbbbbbbbbbbbbb until=2030-01-01\n", b"c" * 20,
        ],
        "journal": [
            sealed_line(0, {"event": "begun", "t0_ns": 5})
            + sealed_line(1, {"event": "series"})
            + b'{"eve'
        ],
        "prompts": [
            b'{"messages": [{"role": "user", "content": "a"}]}\n{"prompt": "b", "max_tokens": 5}\n'
        ],
        "input_data": [
            json.dumps({"data": [step, coded]}).encode(), json.dumps({"data": [[step]]}).encode(),
        ],
        "sequences": [
            json.dumps({"sequence": [{"inputs": step}, {"inputs": coded}]}).encode() + b"\n",
            b'{"sequence": [{"sample": 1}, {"sample": 0}]}\n\n{"sequence": [{"sample": 3}]}',
        ],
    }  # fmt: skip


def main() -> None:
    """Write ``corpus/TARGET/seed-N``."""
    batches = [batch.SerializeToString() for batch in (records(), near_records())]
    seeds = {**wire(), **compressed(), **infer(), **texts(), "segment": [segment()],
             "arena": [arena()], "batch": batches}  # fmt: skip
    assert set(seeds) == set(TARGETS), set(seeds) ^ set(TARGETS)
    for name, contents in seeds.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (folder / f"seed-{number}").write_bytes(content)
            TARGETS[name](content)
            print(f"{name}: {len(content)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Every parser of bytes from outside, as a function from bytes to nothing.

A target swallows what its parser may raise and lets everything else out: that is a finding.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from grpc_wire.client import ClientConnection
from grpc_wire.compression import InflatingDeframer
from grpc_wire.errors import MessageFault
from grpc_wire.events import DONE, MESSAGE, OPENED, REFUSED, REQUEST
from grpc_wire.headers import HeaderBlock, request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.core.plan.arrivals import parse_trace
from loadgen_service.core.settings import Settings
from loadgen_service.errors import LoadgenError
from loadgen_service.mlperf.conf.parser import parse_conf
from loadgen_service.qsl.arena.file import Arena
from loadgen_service.qsl.sources.perf_analyzer_json import open_input_data
from loadgen_service.qsl.sources.prompts import open_prompts
from loadgen_service.qsl.sources.sequence_file import read_sequence_file
from loadgen_service.qsl.tensors import TensorSpec
from loadgen_service.service.auth.token_book import parse_tokens
from loadgen_service.service.collect.collector import CorruptBatch, checked_rows
from loadgen_service.service.storage.journal import JOURNAL_NAME, entries_of, read_journal
from loadgen_service.service.storage.segment_reader import read_columns, read_responses, read_tokens
from loadgen_service.service.storage.segments import Segment, frames
from loadgen_service.sut.grpc.stream_reader import StreamReader
from loadgen_service.sut.http.compression import InflatingAnswer
from loadgen_service.sut.http.sse import SseReader
from loadgen_service.sut.kserve.http_request import HttpInferAnswer
from loadgen_service.sut.kserve.server_timings import find_timings
from loadgen_service.sut.openai.response import OpenAiAnswer
from sut_server.engines.engine import Desk
from sut_server.engines.null import NullEngine
from sut_server.engines.synthetic import simple_spec
from sut_server.errors import CallError
from sut_server.grpc.request_cache import RequestCache
from sut_server.http.connection import HttpConnection, HttpShared
from sut_server.http.kserve import UNFIT, read_request
from sut_server.http.openai import BadRequest, read_wish
from sut_server.messages.infer import decode_request
from sut_server.messages.request_split import ModelInferRequest, split_raw

HEADERS: HeaderBlock = request_headers(path="/s/m", authority="h:1")
FOLDER: Final = Path(tempfile.mkdtemp(prefix="loadgen-fuzz-"))
SPEC: Final = simple_spec("fuzzed", 4, 4)
ENGINE: Final = NullEngine(Desk(SPEC, lambda: 0))
WANTED: Final = [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (1,))]


def _file(data: bytes, name: str) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def _pieces(data: bytes) -> list[bytes]:
    """``data`` cut where its first byte says: parsers must not care how bytes arrive."""
    step = data[0] + 1 if data else 1
    return [data[at : at + step] for at in range(1, len(data), step)]


def wire_server(data: bytes) -> None:
    """The server half; every request is answered at once."""
    wire = ServerConnection(streaming_paths={b"/s"}, max_message_bytes=1 << 20)
    wire.start()
    for piece in _pieces(data):
        for event in wire.receive(piece):
            if event[0] == REQUEST:
                wire.respond(event[1], frame_message(event[3]))
            elif event[0] == OPENED:
                wire.finish(event[1], 12, "no")
        wire.take_output()
    wire.eof()


def wire_client(data: bytes) -> None:
    """The client half with up to three calls out; each is settled exactly once."""
    wire = ClientConnection(max_message_bytes=1 << 20)
    wire.start()
    opened: list[int] = []
    done: list[int] = []
    for piece in _pieces(data):
        done += [event[1] for event in wire.receive(piece) if event[0] in (DONE, REFUSED)]
        if len(opened) < 3 and wire.call(len(opened), HEADERS, frame_message(b"asked")):
            opened.append(len(opened))
        wire.take_output()
    done += [event[1] for event in wire.eof() if event[0] == DONE]
    assert sorted(done) == opened, (done, opened)


def compressed_messages(data: bytes) -> None:
    """Messages that may be gzip must not depend on how the bytes were cut, nor pass their bound."""
    found: list[list[bytes]] = []
    for pieces in ([data[1:]], _pieces(data)):
        deframer = InflatingDeframer(4_096, "gzip" if data[:1] != b"!" else "br")
        found.append([])
        with contextlib.suppress(MessageFault):
            for piece in pieces:
                found[-1] += deframer.feed(piece, 0, len(piece))
    at_once, in_pieces = found
    assert at_once == in_pieces[: len(at_once)], (at_once, in_pieces)
    assert all(len(message) <= 4_096 for message in in_pieces)


def compressed_answer(data: bytes) -> None:
    """An HTTP answer by gzip, kept and not kept, streamed and whole."""
    for keep in (False, True):
        for kind in (b"text/event-stream", b"application/json"):
            for inner in (HttpInferAnswer(keep), OpenAiAnswer(keep)):
                answer = InflatingAnswer(inner, max_bytes=4_096)
                answer.begin(200, {b"content-encoding": b"gzip", b"content-type": kind})
                for piece in _pieces(data):
                    answer.feed(piece)
                answer.end()
                code, kept, text, _ = answer.ending()
                assert code == 0 or text
                assert kept is None or not code


def sse(data: bytes) -> None:
    """Events must not depend on how the bytes were cut."""
    whole, cut = SseReader(), SseReader()
    with contextlib.suppress(ValueError):
        at_once = whole.feed(data[1:]) + whole.end()
        in_pieces = [event for piece in _pieces(data) for event in cut.feed(piece)] + cut.end()
        assert at_once == in_pieces, (at_once, in_pieces)


def openai_answer(data: bytes) -> None:
    """A streamed answer and a whole one, kept and counted."""
    for kind in (b"text/event-stream", b"application/json"):
        answer = OpenAiAnswer(keep=True, count=len)
        answer.begin(200 if data[:1] != b"!" else 500, {b"content-type": kind})
        for piece in _pieces(data):
            answer.feed(piece)
        answer.end()
        code, kept, text, _ = answer.ending()
        assert code == 0 or text
        assert kept is None or isinstance(json.loads(kept), dict)


def openai_request(data: bytes) -> None:
    """What ``sut-server`` is asked."""
    for chat in (False, True):
        with contextlib.suppress(BadRequest):
            read_wish(data, chat)


class _Transport:
    """Takes what is written."""

    closed = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing waits here: all requests are answered at once."""

    resume_reading = pause_reading


def http_request(data: bytes) -> None:
    """``sut-server``'s HTTP/1.1 port."""
    shared = HttpShared(lambda call, request: call.respond(200, "a/b", request.body), lambda: 0)
    connection, transport = HttpConnection(shared), _Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in _pieces(data):
        if not transport.closed:
            connection.data_received(piece)
    connection.connection_lost(None)


def infer_request(data: bytes) -> None:
    """A ModelInferRequest at ``sut-server``, by protobuf and with its raw contents cut out."""
    with contextlib.suppress(DecodeError, CallError):
        read = ModelInferRequest.FromString(data)
        checked = decode_request(read.message, SPEC, 8, None, read.raw)
        known = RequestCache()
        known.remember(read, ENGINE, checked)
        found = known.find(read)
        assert found is None or found.read(read) is not None
    parts = split_raw(data)
    with contextlib.suppress(DecodeError, CallError):
        if parts is not None:
            rest = service_pb2.ModelInferRequest.FromString(parts.rest)
            decode_request(rest, SPEC, 8, None, parts.raw)


def infer_response(data: bytes) -> None:
    """A ModelInferResponse at a worker: timings by search, messages of a stream joined."""
    timings = find_timings(data)
    assert timings is None or all(-1 <= one < 1 << 63 for one in timings)
    reader = StreamReader(lambda key: None, keep=True)
    said = reader.read([(MESSAGE, 1, data), (DONE, 1, 0, b"", "")])
    assert [event[1] for event in said if event[0] == DONE] == [1]


def rest_request(data: bytes) -> None:
    """A KServe v2 request over HTTP at ``sut-server``; the first byte is the head's length."""
    length = {"inference-header-content-length": str(data[0])} if data[:1] > b"\0" else {}
    with contextlib.suppress(CallError, *UNFIT):
        message, _ = read_request(length, data[1:])
        decode_request(message, SPEC, 8)


def rest_answer(data: bytes) -> None:
    """Its answer at a worker, kept."""
    answer = HttpInferAnswer(keep=True)
    length = {b"inference-header-content-length": b"%d" % data[0]} if data[:1] > b"\0" else {}
    answer.begin(200 if data[1:2] != b"!" else 500, length)
    answer.feed(data[1:])
    code, kept, text, _ = answer.ending()
    assert code == 0 or text
    assert kept is None or service_pb2.ModelInferResponse.FromString(kept) is not None


def conf(data: bytes) -> None:
    """user.conf and mlperf.conf."""
    parse_conf(data.decode("utf-8", "replace").splitlines())


def trace(data: bytes) -> None:
    """A trace of due times."""
    with contextlib.suppress(LoadgenError):
        times = parse_trace(data.decode("utf-8", "replace"))
        assert (np.diff(times) >= 0).all()


def tokens(data: bytes) -> None:
    """A service's token file."""
    with contextlib.suppress(LoadgenError):
        assert parse_tokens(data.decode("utf-8", "replace"), "f")


def segment(data: bytes) -> None:
    """A worker's durable batches: read, then opened again and continued."""
    path = _file(data, "segment")
    for read in (read_columns, read_tokens):
        with contextlib.suppress(LoadgenError, ValueError):
            read([(0, path)])
    with contextlib.suppress(LoadgenError, ValueError):
        list(read_responses([(0, path)]))
    before = list(frames(path))
    opened = Segment(path)
    opened.append(b"next")
    opened.close()
    assert list(frames(path)) == [*before, b"next"]


def batch(data: bytes) -> None:
    """A batch from a worker, at the collector."""
    with contextlib.suppress(DecodeError, CorruptBatch):
        parsed = pb.Batch.FromString(data)
        for name in ("records", "responses", "tokens", "file"):
            if parsed.WhichOneof("message") == name:
                checked_rows(getattr(parsed, name))


def journal(data: bytes) -> None:
    """A run's journal after a crash."""
    folder = FOLDER / "run"
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL_NAME).write_bytes(data)
    entries_of(read_journal(folder), "begun")


def arena(data: bytes) -> None:
    """A fetched or cached arena of samples, without its hash being compared."""
    with contextlib.suppress(LoadgenError):
        opened = Arena.open(_file(data, "arena"))
        for index in opened.sample_indexes.tolist()[:4]:
            opened.tensors(index)
        opened.close()


def prompts(data: bytes) -> None:
    """A file of prompts."""
    path = _file(data, "prompts.jsonl")
    with contextlib.suppress(LoadgenError):
        open_prompts(Settings(sut=["openai://h:1"], model="m", dataset=str(path)))


def input_data(data: bytes) -> None:
    """perf_analyzer's input files."""
    with contextlib.suppress(LoadgenError):
        open_input_data(_file(data, "input.json"), WANTED)


def sequences(data: bytes) -> None:
    """Files of sequences."""
    with contextlib.suppress(LoadgenError):
        played = read_sequence_file(_file(data, "sequences.jsonl"))
        played.require_within(4, "data")
        if played.steps:
            played.source(WANTED)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    one.__name__: one
    for one in (
        wire_server, wire_client, compressed_messages, compressed_answer, sse, openai_answer,
        openai_request, http_request, infer_request, infer_response, rest_request, rest_answer,
        conf, trace, tokens, segment, batch, journal, arena, prompts, input_data, sequences,
    )
}  # fmt: skip

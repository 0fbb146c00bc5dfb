"""``record_foreign.py NGHTTP2_SERVER`` records what peers of others send, for other tests.

Writes ``foreign/*.bin``. Servers: bench's C server on nghttp2 (the path of its program) and gRPC's
C-core; clients: h2load and C-core. Each sends or answers CALLS calls at once.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_wire.client import ClientConnection
from grpc_wire.events import DONE, REQUEST
from grpc_wire.headers import request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection

CALLS = 6
TURNS = 3
FOLDER = Path(__file__).parent / "foreign"
PATH = "/inference.GRPCInferenceService/ModelInfer"
HEADERS = request_headers(path=PATH, authority="localhost")
WAIT_S = 5.0


def record_server(port: int) -> bytes:
    """What a server sends to TURNS turns of CALLS calls."""
    wire, heard, settled = ClientConnection(), b"", 0
    wire.start()
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as link:
        link.sendall(b"".join(wire.take_output()))
        asked = 0
        while settled < TURNS * CALLS:
            read = link.recv(1 << 16)
            heard += read
            settled += sum(event[0] == DONE for event in wire.receive(read))
            if settled == asked < TURNS * CALLS and wire.room:
                for key in range(CALLS):
                    wire.call(key, HEADERS, frame_message(b"\x1a\x02id" + bytes(0)))
                asked += CALLS
            link.sendall(b"".join(wire.take_output()))
    return heard


@contextlib.contextmanager
def recording_server() -> Iterator[tuple[int, list[bytes]]]:
    """A port whose first connection is answered by our server half, and what came there."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = listener.accept()
        wire = ServerConnection()
        wire.start()
        link.sendall(b"".join(wire.take_output()))
        with contextlib.suppress(OSError):
            while read := link.recv(1 << 16):
                heard.append(read)
                for event in wire.receive(read):
                    if event[0] == REQUEST:
                        wire.respond(event[1], frame_message(bytes(event[3])))
                link.sendall(b"".join(wire.take_output()))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], heard
    thread.join(WAIT_S)
    listener.close()


def record_core_client() -> bytes:
    with (
        recording_server() as (port, heard),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_unary(PATH)
        for _ in range(TURNS):
            for future in [call.future(b"question") for _ in range(CALLS)]:
                assert future.result(WAIT_S) == b"question"
    return b"".join(heard)


def record_h2load() -> bytes:
    with recording_server() as (port, heard), tempfile.NamedTemporaryFile() as file:
        file.write(frame_message(b"question"))
        file.flush()
        flags = ["-n", str(TURNS * CALLS), "-c", "1", "-m", str(CALLS), "-d", file.name]
        types = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        subprocess.run(["h2load", *flags, *types, f"http://127.0.0.1:{port}{PATH}"], check=True)
    return b"".join(heard)


def record_core_server() -> bytes:
    method = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    service, name = PATH.strip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    heard = record_server(port)
    server.stop(None)
    return heard


def record_nghttp2_server(program: str) -> bytes:
    process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        return record_server(int(process.stdout.readline().rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "server_nghttp2.bin").write_bytes(record_nghttp2_server(sys.argv[1]))
    (FOLDER / "server_core.bin").write_bytes(record_core_server())
    (FOLDER / "client_core.bin").write_bytes(record_core_client())
    (FOLDER / "client_h2load.bin").write_bytes(record_h2load())

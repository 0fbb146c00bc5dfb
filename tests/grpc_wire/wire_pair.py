"""Two halves joined without sockets, and raw frames for the tests that break the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from grpc_wire import frames
from grpc_wire.client import ClientConnection
from grpc_wire.header_cache import ResponseReader
from grpc_wire.headers import HeaderBlock, encode_block, request_headers
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection

PATH = "/inference.GRPCInferenceService/ModelInfer"
HEADERS: HeaderBlock = request_headers(path=PATH, authority="127.0.0.1:8001")
ANSWER_FIELDS = [(":status", "200"), ("content-type", "application/grpc")]

Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def by_bytes(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


def output(connection: ClientConnection | ServerConnection) -> bytes:
    return b"".join(connection.take_output())


class Pair:
    """A client and a server whose bytes cross by ``exchange``; every event is kept."""

    def __init__(
        self,
        client: ClientConnection | None = None,
        server: ServerConnection | None = None,
        cut: Cut = whole,
    ) -> None:
        self.client = client or ClientConnection()
        self.server = server or ServerConnection()
        self.cut = cut
        self.client_events: list = []
        self.server_events: list = []
        self.on_request: Callable[[tuple], None] | None = None
        self.client.start()
        self.server.start()
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until neither side has any."""
        while True:
            up = output(self.client)
            for piece in self.cut(up):
                self._at_server(self.server.receive(piece))
            down = output(self.server)
            for piece in self.cut(down):
                self.client_events += self.client.receive(piece)
            if not up and not down:
                return

    def _at_server(self, events: list) -> None:
        self.server_events += events
        if self.on_request is not None:
            for event in events:
                self.on_request(event)

    def take_client_events(self) -> list:
        events, self.client_events = self.client_events, []
        return events

    def take_server_events(self) -> list:
        events, self.server_events = self.server_events, []
        return events


def ready_client(
    settings: dict[int, int] | None = None,
    make: type[ClientConnection] = ClientConnection,
    **options: int,
) -> ClientConnection:
    """A client that has the settings of a server that is then played by hand."""
    client = make(**options)
    client.start()
    client.receive(frames.settings_frame(settings or {}))
    client.take_output()
    return client


def ready_server(
    kind: type[ServerConnection] = ServerConnection,
    settings: dict[int, int] | None = None,
    **options: object,
) -> ServerConnection:
    """A server that has the preface and settings of a client that is then played by hand."""
    server = kind(**options)  # type: ignore[arg-type]
    server.start()
    server.receive(frames.PREFACE + frames.settings_frame(settings or {}))
    server.receive(frames.frame(frames.SETTINGS, frames.ACK, 0))
    server.take_output()
    return server


def opened(client: ClientConnection, count: int = 1, **options: bool) -> None:
    """Open calls 0, 1, ... on streams 1, 3, ..."""
    for key in range(count):
        assert client.call(key, HEADERS, frame_message(b"question"), **options)
    client.take_output()


def headers(
    stream_id: int, fields: list[tuple[str, str]], *, end: bool = False, flags: int = 0
) -> bytes:
    flags |= frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(frames.HEADERS, flags, stream_id, encode_block(fields))


def data(stream_id: int, content: bytes, *, end: bool = False) -> bytes:
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream_id, content)


def answer(stream_id: int, message: bytes = b"answer", code: int = 0) -> bytes:
    return (
        headers(stream_id, ANSWER_FIELDS)
        + data(stream_id, frame_message(message))
        + headers(stream_id, [("grpc-status", str(code))], end=True)
    )


def request(
    stream_id: int, message: bytes = b"question", fields: list[tuple[str, str]] | None = None
) -> bytes:
    return headers(stream_id, fields or request_fields()) + data(
        stream_id, frame_message(message), end=True
    )


def request_fields(**changed: str) -> list[tuple[str, str]]:
    """Fields of a request; ``method="GET"`` changes :method, ``content_type=...`` the type."""
    fields = {
        ":method": changed.get("method", "POST"),
        ":scheme": "http",
        ":path": changed.get("path", PATH),
        ":authority": "test",
        "te": "trailers",
        "content-type": changed.get("content_type", "application/grpc"),
    }
    return list(fields.items())


def read_frames(content: bytes) -> list[tuple[int, int, int, bytes]]:
    """Cut bytes into (type, flags, stream, payload); asserts that they end with a frame."""
    found = []
    while content:
        word, flags, stream_id = frames.FRAME_HEADER.unpack_from(content)
        length = word >> 8
        assert len(content) >= 9 + length
        found.append((word & 255, flags, stream_id, content[9 : 9 + length]))
        content = content[9 + length :]
    return found


def resets(content: bytes) -> dict[int, int]:
    """Stream -> error code of the RST_STREAM frames in ``content``."""
    return {
        stream_id: int.from_bytes(payload, "big")
        for kind, _, stream_id, payload in read_frames(content)
        if kind == frames.RST_STREAM
    }


def goaways(content: bytes) -> list[tuple[int, int, str]]:
    """(last stream, error code, text) of the GOAWAY frames in ``content``."""
    return [
        frames.read_goaway(payload)
        for kind, _, _, payload in read_frames(content)
        if kind == frames.GOAWAY
    ]


def statuses(content: bytes) -> dict[int, tuple[int | None, int | None, str]]:
    """Stream -> (HTTP status, gRPC code, text) of trailers-only answers."""
    reader = ResponseReader(64 << 10)
    found = {}
    for kind, flags, stream_id, payload in read_frames(content):
        if kind == frames.HEADERS and flags & frames.END_STREAM:
            response = reader.read(payload)
            found[stream_id] = (response.status, response.code, response.text)
    return found
